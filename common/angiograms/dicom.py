"""DICOM X-ray angiograms: pixels by ITK's GDCM, which decodes every common compression, tags by pydicom."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from monai.utils import optional_import
from numpy.typing import NDArray
from pydicom.errors import InvalidDicomError

from .pictures import one_channel

itk, _ = optional_import("itk")  # raises a helpful message at its first use where it is absent

MAX_VARIATION = 0.2  # of the frame time within a run, beyond which "15 frames a second" would mislead
UNKNOWN_ANGLES = (float("nan"), float("nan"))


class DicomTags(NamedTuple):
    """What is kept of the tags of an X-ray angiogram; zero, NaN or empty where the file does not say it.

    Attributes:
        bits: bits stored of a pixel.
        pixel_bytes: bytes that the pixels of all frames take; 0 where they are compressed.
        signed: whether pixels are signed.
        frames: number of frames.
        rows: of a frame.
        columns: of a frame.
        frame_ms: time from frame to frame.
        pixel_mm: edge of a pixel, at the detector where the file says it.
        angles_deg: primary (LAO positive) and secondary (CRA positive) angle of the C-arm.
        intensity: Pixel Intensity Relationship, such as ``LIN``, ``LOG`` or ``DISP``.
        series: Series Instance UID.
        instance: Instance Number.
    """

    bits: int
    pixel_bytes: int
    signed: bool
    frames: int
    rows: int
    columns: int
    frame_ms: float
    pixel_mm: float
    angles_deg: tuple[float, float]
    intensity: str
    series: str
    instance: int | None


def read_tags(path: Path, allow_uneven_time: bool = False) -> DicomTags:
    """Return the tags of a DICOM file without reading its pixels.

    Args:
        path: DICOM file.
        allow_uneven_time: report the median of frame times that vary by more than 20 % instead of raising.

    Raises:
        ValueError: If the file is no DICOM, describes no image, or its frame times vary too much.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
    except InvalidDicomError as error:
        raise ValueError(f"{path} is no DICOM file; is it complete, and of the format that its name says?") from error
    if not (header.get("Rows") and header.get("Columns") and header.get("BitsStored")):
        raise ValueError(f"{path} describes no image (a report or a directory?); give the file of the angiogram")
    spacing = header.get("ImagerPixelSpacing") or header.get("PixelSpacing") or [0.0]
    instance = header.get("InstanceNumber")
    return DicomTags(
        bits=int(header.BitsStored),
        pixel_bytes=_pixel_bytes(header),
        signed=header.get("PixelRepresentation") == 1,
        frames=int(header.get("NumberOfFrames") or 1),
        rows=int(header.Rows),
        columns=int(header.Columns),
        frame_ms=_frame_ms(header, path, allow_uneven_time),
        pixel_mm=float(spacing[0]),
        angles_deg=(_angle(header, "Primary"), _angle(header, "Secondary")),
        intensity=str(header.get("PixelIntensityRelationship") or ""),
        series=str(header.get("SeriesInstanceUID") or ""),
        instance=None if instance is None else int(instance),
    )


def read_pixels(path: Path, tags: DicomTags) -> NDArray[np.float32]:
    """Read the frames of one DICOM file.

    Args:
        path: XA or other grey DICOM file of one or more frames, compressed or not.
        tags: its tags.

    Returns:
        Frames ``(T, H, W)``, 0 to ``2 ** bits - 1``, with dark vessels: GDCM inverts ``MONOCHROME1`` as
        ``2 ** bits - 1 - value``. Signed values are shifted up by ``2 ** (bits - 1)``. A rescale slope and intercept
        are undone: vendors differ in them, and they mean nothing here.

    Raises:
        ValueError: If the pixels are missing or incomplete, or have colours.
        RuntimeError: If GDCM cannot decode the pixels.
    """
    if tags.pixel_bytes and (stored := _stored_bytes(path)) < tags.pixel_bytes:  # GDCM would go on into other memory
        raise ValueError(
            f"{path} is incomplete: {tags.frames} frames need {tags.pixel_bytes} bytes, but it has {stored}; copy or "
            "export it again"
        )
    io = itk.GDCMImageIO.New()
    io.SetFileName(str(path))
    io.ReadImageInformation()
    if io.GetNumberOfComponents() > 1:
        frames = one_channel(np.asarray(itk.imread(str(path), imageio=io)), path).astype(np.float32)
    else:
        frames = np.asarray(itk.imread(str(path), pixel_type=itk.F, imageio=io))
    slope, intercept = io.GetRescaleSlope(), io.GetRescaleIntercept()
    if (slope, intercept) != (1.0, 0.0):
        frames = np.rint((frames - intercept) / slope)
    if tags.signed:
        frames = frames + 2.0 ** (tags.bits - 1)
    return np.asarray(frames, dtype=np.float32).reshape(tags.frames, *frames.shape[-2:])


def order_frames(folder: Path, files: Sequence[Path]) -> list[tuple[Path, DicomTags]]:
    """Return single-frame DICOM files of one series, and their tags, by Instance Number.

    Raises:
        ValueError: If they are of several series or have several frames, or lack or share an Instance Number.
    """
    tagged = [(file, read_tags(file)) for file in files]
    for file, tags in tagged:
        if tags.frames > 1:
            raise ValueError(
                f"{folder} holds {len(files)} DICOM files, of which {file.name} is a sequence by itself; give "
                f"{folder} as the folder of images (dataset_dir), then each file is a case, or one file (--image)"
            )
    count = len({tags.series for _, tags in tagged})
    if count > 1:
        raise ValueError(f"{folder} holds DICOM files of {count} series; give each series a folder of its own")
    by_number = {tags.instance: (file, tags) for file, tags in tagged}
    if None in by_number or len(by_number) < len(files):
        raise ValueError(
            f"{folder}: the order of its {len(files)} DICOM files is unknown, as they lack or share an Instance Number "
            "(0020,0013); export the series again"
        )
    return [by_number[number] for number in sorted(number for number in by_number if number is not None)]


def _pixel_bytes(header: pydicom.Dataset) -> int:
    """Return the bytes that the pixels take; 0 where they are compressed."""
    syntax = header.file_meta.get("TransferSyntaxUID")
    if syntax is not None and (syntax.is_compressed or syntax.is_deflated):
        return 0
    values = header.Rows * header.Columns * int(header.get("NumberOfFrames") or 1) * header.get("SamplesPerPixel", 1)
    return int(values * header.get("BitsAllocated", 8) // 8)


def _stored_bytes(path: Path) -> int:
    """Return how many bytes of uncompressed pixels a file has."""
    element = pydicom.dcmread(path, specific_tags=["PixelData"]).get("PixelData")
    return len(element or b"")


def _angle(header: pydicom.Dataset, name: str) -> float:
    """Return an angle of the C-arm; NaN where the tag is absent or empty."""
    value = header.get(f"Positioner{name}Angle")
    return float("nan") if value in (None, "") else float(value)


def _frame_ms(header: pydicom.Dataset, path: Path, allow_uneven: bool) -> float:
    """Return the time from frame to frame; 0 where no tag tells it."""
    if header.get("FrameTime"):
        return float(header.FrameTime)
    vector: Sequence[float] | float = header.get("FrameTimeVector") or []
    steps = np.atleast_1d(np.asarray(vector, dtype=np.float64))[1:]  # the first frame has no predecessor
    if len(steps) and steps.min() > 0:
        if not allow_uneven and steps.max() - steps.min() > MAX_VARIATION * np.median(steps):
            raise ValueError(
                f"{path}: the time between frames varies from {steps.min():g} to {steps.max():g} ms (Frame Time "
                "Vector): a model of motion would be misled. Split the run where its frame rate changes, or, to "
                "take it as it is, set allow_uneven_time of LoadAngiogramd"
            )
        return float(np.median(steps))
    for tag in ("CineRate", "RecommendedDisplayFrameRate"):
        if header.get(tag):
            return 1000.0 / float(header[tag].value)
    return 0.0
