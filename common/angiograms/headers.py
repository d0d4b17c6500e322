"""The size of an angiogram, read from headers alone, so that data lists are checked in no time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from PIL import Image, UnidentifiedImageError

from ..grids import NIFTI_SUFFIXES, read_grid
from .dicom import order_frames, read_tags
from .pictures import check_one_page
from .sources import is_dicom, sequence_files


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
        ValueError: If the header cannot be read or is not that of frames, or the files of a folder are not one sequence
            of one size.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no angiogram {path}")
    if path.is_dir():
        return _folder_size(path)
    if path.name.lower().endswith(NIFTI_SUFFIXES):
        return _nifti_size(path)
    return _dicom_size(path) if is_dicom(path) else _picture_size(path)


def nifti_axes(shape: Sequence[int], path: Path) -> tuple[int, int, int]:
    """Return ``(W, H, T)`` of a NIfTI file of axes ``(W, H)``, ``(W, H, T)`` or ``(W, H, 1, T)``.

    Args:
        shape: of the file; further axes of length 1 are none.
        path: the file, for the error.

    Raises:
        ValueError: If it has other axes.
    """
    axes = list(shape)
    while len(axes) > 3 and axes[-1] == 1:
        axes.pop()
    if len(axes) == 4 and axes[2] == 1:
        del axes[2]
    if len(axes) not in (2, 3):
        raise ValueError(f"{path}: an angiogram has the axes (W, H), (W, H, T) or (W, H, 1, T), got {tuple(shape)}")
    return axes[0], axes[1], axes[2] if len(axes) == 3 else 1


def check_one_size(sizes: Iterable[tuple[int, ...]], folder: Path) -> None:
    """Raise a ``ValueError`` unless the frames in a folder have one size ``(H, W)``."""
    different = sorted(set(sizes))
    if len(different) > 1:
        raise ValueError(
            f"{folder}: the frames of a sequence have one size (H, W), but there are {', '.join(map(str, different))}; "
            "give each sequence a folder of its own"
        )


def _folder_size(path: Path) -> FrameSize:
    files = sequence_files(path)
    if len(files) == 1:
        return read_size(files[0])
    if is_dicom(files[0]):
        order_frames(path, files)  # refuses what is not one sequence
    sizes = [read_size(file) for file in files]
    check_one_size([tuple(size[1:]) for size in sizes], path)
    return sizes[0]._replace(frames=len(files))


def _nifti_size(path: Path) -> FrameSize:
    width, height, frames = nifti_axes(read_grid(path).shape, path)
    return FrameSize(frames, height, width)


def _picture_size(path: Path) -> FrameSize:
    try:
        with Image.open(path) as picture:
            check_one_page(picture, path)
            return FrameSize(1, picture.height, picture.width)
    except (UnidentifiedImageError, OSError, SyntaxError) as error:  # the last is pillow's for broken PNG
        raise ValueError(f"cannot read the header of {path}; is it complete? (the reader says: {error})") from error


def _dicom_size(path: Path) -> FrameSize:
    try:
        tags = read_tags(path, allow_uneven_time=True)
    except (EOFError, OSError) as error:
        raise ValueError(
            f"cannot read the header of {path}; is it a complete DICOM image? (the reader says: {error})"
        ) from error
    return FrameSize(tags.frames, tags.rows, tags.columns)
