"""The size of an angiogram, read from headers alone, so that data lists are checked in no time."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pydicom
from PIL import Image, UnidentifiedImageError
from pydicom.errors import InvalidDicomError

from ..grids import NIFTI_SUFFIXES, read_grid
from .sources import dicom_files, frame_files, is_dicom, is_frame_file


class FrameSize(NamedTuple):
    """How large an angiogram is: its frames, and the rows and columns of each."""

    frames: int
    height: int
    width: int


def read_size(path: str | Path) -> FrameSize:
    """Read the size of an angiogram from its header.

    Args:
        path: an image file (PNG, PGM, BMP, JPEG, TIFF), a NIfTI file with the axes ``(W, H)``, ``(W, H, T)`` or
            ``(W, H, 1, T)``, a DICOM file, or a folder with one file for each frame.

    Raises:
        FileNotFoundError: If it is absent.
        ValueError: If the header cannot be read, or is not that of frames.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no angiogram {path}")
    if path.is_dir():
        return _folder_size(path)
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        return _nifti_size(path)
    return _dicom_size(path) if is_dicom(path) else _picture_size(path)


def _folder_size(path: Path) -> FrameSize:
    pictures = any(map(is_frame_file, path.iterdir()))
    files = [] if pictures else dicom_files(path)
    if files:
        return read_size(files[0])._replace(frames=sum(read_size(file).frames for file in files))
    files = frame_files(path)
    return read_size(files[0])._replace(frames=len(files))


def _nifti_size(path: Path) -> FrameSize:
    shape = read_grid(path).shape
    if len(shape) == 4 and shape[2] == 1:
        shape = (*shape[:2], shape[3])
    if len(shape) not in (2, 3):
        raise ValueError(f"{path} has the shape {shape}; an angiogram is (W, H), (W, H, T) or (W, H, 1, T)")
    return FrameSize(shape[2] if len(shape) == 3 else 1, shape[1], shape[0])


def _picture_size(path: Path) -> FrameSize:
    try:
        with Image.open(path) as picture:
            return FrameSize(getattr(picture, "n_frames", 1), picture.height, picture.width)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:  # the last is pillow's for broken PNG
        raise ValueError(f"cannot read the header of {path}; is it complete? (the reader says: {error})") from error


def _dicom_size(path: Path) -> FrameSize:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        return FrameSize(int(header.get("NumberOfFrames") or 1), int(header.Rows), int(header.Columns))
    except (InvalidDicomError, AttributeError, EOFError, OSError) as error:
        raise ValueError(
            f"cannot read the header of {path}; is it a complete DICOM image? (the reader says: {error})"
        ) from error
