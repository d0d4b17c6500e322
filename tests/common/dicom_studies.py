"""DICOM files as scanners write them, for tests."""

from itertools import count

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

UIDS = (f"1.2.826.0.1.3680043.10.3.{number}" for number in count(1))
AXIAL = [1, 0, 0, 0, 1, 0]


def write_slice(path, pixels, place_mm, spacing=(1.0, 1.0), **tags):
    """Write one CT slice of Hounsfield units ``(rows, columns)``; tags by keyword, None removes one."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, next(UIDS)
    data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.826.0.1.3680043.10.4", "1.2.826.0.1.3680043.10.4.1"
    data.Modality, data.ImageType = "CT", ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.SeriesNumber = 1
    data.ImageOrientationPatient, data.ImagePositionPatient = AXIAL, [0, 0, place_mm]
    data.PixelSpacing = list(spacing)
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept = 1, 0
    data.PixelData = pixels.astype("<i2").tobytes()
    data["PixelData"].VR = "OW"
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)
    return path


def write_series(folder, volume, slice_mm=1.0, spacing=(1.0, 1.0), prefix="", first=1, **tags):
    """Write a CT series of a volume ``(slices, rows, columns)``; slice ``i`` lies at ``i * slice_mm``."""
    return [
        write_slice(
            folder / f"{prefix}{number:03d}.dcm",
            pixels,
            index * slice_mm,
            spacing,
            InstanceNumber=number,
            **tags,
        )
        for index, (number, pixels) in enumerate(zip(range(first, first + len(volume)), volume, strict=True))
    ]


def blank(slices):
    return np.zeros((slices, 4, 4))
