"""Angiograms as multi-frame DICOM files (X-Ray Angiographic Image Storage)."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, XRayAngiographicImageStorage

from ...files import replacing

_ROOT = "2.25"  # UIDs derived from a 128-bit number, DICOM PS3.5 B.2
_IMPLEMENTATION = UID(f"{_ROOT}.{int(hashlib.md5(b'phantom', usedforsecurity=False).hexdigest(), 16)}")


def write_xa(
    path: str | Path,
    frames: NDArray[np.uint8],
    frame_ms: float,
    pixel_mm: float,
    angles_deg: tuple[float, float] = (0.0, 0.0),
    distances_mm: tuple[float, float] = (1000.0, 750.0),
    photometric: str = "MONOCHROME2",
    bits: int = 8,
) -> None:
    """Write a sequence as a multi-frame XA image with uncompressed pixels, marked as synthetic.

    Equal arguments give equal bytes, unique identifiers included, which derive from the file's name and the pixels.

    Args:
        path: file to write.
        frames: ``(T, H, W)``, 8 bit, filled vessels dark.
        frame_ms: time between frames.
        pixel_mm: edge of a pixel on the detector.
        angles_deg: positioner primary (LAO positive) and secondary (cranial positive) angle.
        distances_mm: from the source to the detector and to the patient.
        photometric: "MONOCHROME2", or "MONOCHROME1", which stores every value inverted.
        bits: 8; or 9 to 16, which stores values that are ``2 ** (bits - 8)`` times as large in 16 bits.

    Raises:
        ValueError: If the frames are not ``(T, H, W)`` of 8 bit, or photometric or bits are others.
        OSError: If the file cannot be written.
    """
    if frames.ndim != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(f"frames must be (T, H, W) of uint8 and not empty, got {frames.shape} of {frames.dtype}")
    if photometric not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError(f"photometric must be MONOCHROME1 or MONOCHROME2, got {photometric!r}")
    if not 8 <= bits <= 16:
        raise ValueError(f"bits must be 8 to 16, got {bits}")
    stored = frames if bits == 8 else frames.astype("<u2") << (bits - 8)
    if photometric == "MONOCHROME1":
        stored = (2**bits - 1 - stored.astype("<u4")).astype(stored.dtype)
    pixels = stored.tobytes()
    digest = hashlib.md5(Path(path).name.encode() + pixels, usedforsecurity=False)
    file = _file(path, f"{_ROOT}.{int(digest.hexdigest(), 16)}")
    _describe_acquisition(file, len(frames), frame_ms, pixel_mm, angles_deg, distances_mm)
    _describe_pixels(file, stored, photometric, bits)
    file.PixelData = pixels + b"\0" * (len(pixels) % 2)
    file["PixelData"].VR = "OB" if bits == 8 else "OW"
    with replacing(path) as temporary:
        file.save_as(temporary)


def _file(path: str | Path, uid: str) -> FileDataset:
    """Return a data set with the modules on patient, study, series and equipment."""
    meta = FileMetaDataset()
    meta.FileMetaInformationGroupLength = 0  # pydicom enters the length
    meta.FileMetaInformationVersion = b"\0\1"
    meta.MediaStorageSOPClassUID = XRayAngiographicImageStorage
    meta.MediaStorageSOPInstanceUID = UID(uid)
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.ImplementationClassUID = _IMPLEMENTATION
    file = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128, is_implicit_VR=False)
    case = Path(path).name.split(".")[0][:64]
    file.SpecificCharacterSet = "ISO_IR 100"
    file.ImageType = ["DERIVED", "PRIMARY", "SINGLE PLANE"]
    file.SOPClassUID = XRayAngiographicImageStorage
    file.SOPInstanceUID = uid
    file.StudyInstanceUID, file.SeriesInstanceUID = (_derived(uid, kind) for kind in ("study", "series"))
    file.StudyDate, file.StudyTime, file.ContentDate, file.ContentTime = "20000101", "000000", "20000101", "000000"
    file.AccessionNumber, file.ReferringPhysicianName, file.StudyID = "", "", "1"
    file.Modality, file.Manufacturer, file.ManufacturerModelName = "XA", "synthetic", "coronary phantom"
    file.PatientName, file.PatientID = "PHANTOM^SYNTHETIC", case
    file.PatientBirthDate, file.PatientSex, file.PatientOrientation = "", "", ""
    file.SeriesNumber, file.InstanceNumber = 1, 1
    file.SeriesDescription = "synthetic coronary angiogram"
    file.ImageComments = "Synthetic image of a phantom, no patient data."
    return file


def _describe_acquisition(
    file: Dataset,
    count: int,
    frame_ms: float,
    pixel_mm: float,
    angles_deg: tuple[float, float],
    distances_mm: tuple[float, float],
) -> None:
    """Add the modules on cine, acquisition and positioner."""
    file.NumberOfFrames = count
    file.FrameIncrementPointer = 0x00181063  # Frame Time
    file.FrameTime = f"{frame_ms:.6g}"
    file.CineRate = file.RecommendedDisplayFrameRate = max(round(1000 / frame_ms), 1)
    file.StartTrim, file.StopTrim = 1, count
    file.RadiationSetting, file.KVP, file.BodyPartExamined = "GR", "75", "HEART"
    file.XRayTubeCurrent = file.ExposureTime = None  # required, but may be empty
    file.ContrastBolusAgent = "iodine"
    file.PositionerMotion = "STATIC"
    file.PositionerPrimaryAngle, file.PositionerSecondaryAngle = (f"{angle:.6g}" for angle in angles_deg)
    file.DistanceSourceToDetector, file.DistanceSourceToPatient = (f"{mm:.6g}" for mm in distances_mm)
    file.EstimatedRadiographicMagnificationFactor = f"{distances_mm[0] / distances_mm[1]:.6g}"
    file.ImagerPixelSpacing = [f"{pixel_mm:.8g}"] * 2


def _describe_pixels(file: Dataset, stored: NDArray[np.generic], photometric: str, bits: int) -> None:
    """Add the modules on pixels and their display."""
    _, file.Rows, file.Columns = stored.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, photometric
    file.BitsAllocated, file.BitsStored, file.HighBit = 8 * stored.itemsize, bits, bits - 1
    file.PixelRepresentation = 0
    file.PixelIntensityRelationship = "DISP"
    file.WindowCenter, file.WindowWidth = str(2 ** (bits - 1)), str(2**bits)
    file.LossyImageCompression = "00"


def _derived(uid: str, kind: str) -> str:
    """Return a further unique identifier that belongs to ``uid``."""
    return f"{_ROOT}.{int(hashlib.md5(f'{uid} {kind}'.encode(), usedforsecurity=False).hexdigest(), 16)}"
