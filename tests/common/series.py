"""DICOM series for tests."""

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

LPS = np.diag([-1.0, -1.0, 1.0])


def write_series(folder, voxels, affine, names=None):
    """Write RAS voxels as one DICOM file for each slice along Z; ``names`` are numbers for the files' names."""
    folder.mkdir()
    lps = LPS @ affine[:3]
    spacing = np.linalg.norm(lps[:, :3], axis=0)
    study, series, frame = (generate_uid() for _ in range(3))
    for k, number in enumerate(names or range(voxels.shape[2])):
        item = Dataset()
        item.file_meta = FileMetaDataset()
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.SOPClassUID = item.file_meta.MediaStorageSOPClassUID = CTImageStorage
        item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        item.StudyInstanceUID, item.SeriesInstanceUID, item.FrameOfReferenceUID = study, series, frame
        item.PatientID, item.PatientName, item.Modality, item.InstanceNumber = "p7", "Heart^Test", "CT", k + 1
        item.ImageOrientationPatient = [f"{value:.9f}" for value in (lps[:, :2] / spacing[:2]).T.ravel()]
        item.ImagePositionPatient = [f"{value:.9f}" for value in lps[:, 3] + k * lps[:, 2]]
        item.PixelSpacing = [float(spacing[1]), float(spacing[0])]
        item.Columns, item.Rows = voxels.shape[:2]
        item.SamplesPerPixel, item.PhotometricInterpretation = 1, "MONOCHROME2"
        item.BitsAllocated = item.BitsStored = 16
        item.HighBit, item.PixelRepresentation = 15, 1
        item.RescaleSlope, item.RescaleIntercept = 1, 0
        item.PixelData = voxels[:, :, k].T.astype(np.int16).tobytes()
        item.save_as(folder / f"{number:03d}.dcm", enforce_file_format=True)
    return folder
