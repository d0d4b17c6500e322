"""Reading an angiogram, a still or a sequence, from whatever file or folder it comes in."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import UnidentifiedImageError

from .. import loading
from ..grids import NIFTI_SUFFIXES
from .dicom import UNKNOWN_ANGLES, DicomTags, order_frames, read_pixels, read_tags
from .headers import check_one_size, nifti_axes
from .pictures import read_picture
from .sources import SUFFIXES, is_angiogram_file, is_dicom, missing_frames, sequence_files

DAMAGED = (*loading.DAMAGED, SyntaxError, UnidentifiedImageError)  # the last two are pillow's


class Angiogram(NamedTuple):
    """A still or a sequence, contrast-filled vessels dark, with what its file says about it.

    Attributes:
        frames: ``(T, H, W)`` in the scale of the file: 0 to ``2 ** bits - 1``.
        format: ``image`` (PNG and the like), ``nifti``, ``dicom`` or ``folder`` (of image files).
        bits: bits that the values are stored in; 0 where unknown.
        numbers: place of each frame in the source, from 0.
        source_frames: frames that the source has, of which ``frames`` may be a selection.
        pixel_mm: edge of a pixel at the detector (DICOM) or as the NIfTI header has it; 0.0 where unknown.
        frame_ms: time from frame to frame; 0.0 where unknown.
        angles_deg: primary (LAO positive) and secondary (CRA positive) angle of the C-arm; NaN where unknown.
        frame_axis: axis of a NIfTI file that its frames lie along: 3 in ``(W, H, 1, T)``, else 2.
        affine: of the axes ``(W, H, T)`` in RAS, ``(4, 4)``: that of a NIfTI file; else pixels of the DICOM size,
            or 1 mm, from the origin leftwards and backwards, as ITK and 3D Slicer place pictures.
        intensity: DICOM's Pixel Intensity Relationship, such as ``LIN`` or ``LOG``; empty where unknown.
        remark: what the user should know about the source; empty if nothing.
    """

    frames: NDArray[np.float32]
    format: str
    bits: int
    numbers: tuple[int, ...]
    source_frames: int
    pixel_mm: float = 0.0
    frame_ms: float = 0.0
    angles_deg: tuple[float, float] = UNKNOWN_ANGLES
    frame_axis: int = 2
    affine: NDArray[np.float64] = np.diag([-1.0, -1.0, 1.0, 1.0])
    intensity: str = ""
    remark: str = ""


def read_angiogram(path: str | Path, frame: int | None = None, allow_uneven_time: bool = False) -> Angiogram:
    """Read an angiogram.

    Args:
        path: PNG, PGM, BMP, JPEG or TIFF file; NIfTI file of axes ``(W, H)``, ``(W, H, T)`` or ``(W, H, 1, T)``; DICOM
            file of one or more frames; folder of numbered image files; or folder of single-frame DICOM files.
        frame: read this frame alone, counted from 0.
        allow_uneven_time: take a sequence whose frame time varies by more than 20 %, and report its median.

    Returns:
        The angiogram with its frames in order of time.

    Raises:
        FileNotFoundError: If ``path`` leads nowhere.
        ValueError: If it cannot be read, or is no grey image; says what to do.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file or folder {path}")
    if not (path.is_dir() or is_angiogram_file(path)):
        raise ValueError(f"{path} is not a supported angiogram; supported are DICOM and {', '.join(SUFFIXES)}")
    try:
        if path.is_dir():
            return _read_folder(path, frame, allow_uneven_time)
        if is_dicom(path):
            return _read_dicom(path, frame, allow_uneven_time)
        return (_read_nifti if path.name.lower().endswith(NIFTI_SUFFIXES) else _read_picture)(path, frame)
    except DAMAGED as error:
        if isinstance(error, ValueError) and str(path) in str(error):  # ours, which says what to do
            raise
        reason = " ".join(str(error).split())
        raise ValueError(
            f"cannot read {path}; is it complete, and of the format that its name says? Copy or export it again (the "
            f"reader says: {reason})"
        ) from error


def _read_picture(path: Path, frame: int | None) -> Angiogram:
    """Read a still."""
    pixels, bits = read_picture(path)
    return Angiogram(pixels[None], "image", bits, _chosen(path, 1, frame), 1)


def _read_nifti(path: Path, frame: int | None) -> Angiogram:
    """Read NIfTI of axes ``(W, H)``, ``(W, H, T)`` or ``(W, H, 1, T)``."""
    image: Any = nibabel.load(path)
    width, height, count = nifti_axes(image.shape, path)
    if image.get_data_dtype().fields or image.get_data_dtype().kind == "c":
        raise ValueError(f"{path} is a colour or complex image; export it as a grey image")
    numbers = _chosen(path, count, frame)
    frame_axis = 3 if len(image.shape) > 3 and image.shape[2] == 1 else 2
    proxy = image.dataobj
    if frame is not None and count > 1:  # reads no more of the file than it must
        proxy = proxy[(*[slice(None)] * frame_axis, slice(frame, frame + 1))]
    frames = np.asarray(proxy, dtype=np.float32).reshape(width, height, len(numbers), order="F").transpose(2, 1, 0)
    return Angiogram(
        np.ascontiguousarray(frames),
        "nifti",
        bits=8 if image.get_data_dtype() == np.uint8 and _is_unscaled(image) else 0,
        numbers=numbers,
        source_frames=count,
        pixel_mm=_pixel_mm(image),
        frame_ms=_frame_ms(image) if frame_axis == 3 else 0.0,
        frame_axis=frame_axis,
        affine=np.asarray(image.affine, dtype=np.float64),
    )


def _read_dicom(path: Path, frame: int | None, allow_uneven_time: bool) -> Angiogram:
    """Read one DICOM file."""
    tags = read_tags(path, allow_uneven_time or frame is not None)
    numbers = _chosen(path, tags.frames, frame)
    pixels = read_pixels(path, tags)
    return _with_tags(pixels if frame is None else pixels[frame : frame + 1], numbers, tags.frames, tags)


def _read_folder(path: Path, frame: int | None, allow_uneven_time: bool) -> Angiogram:
    """Read a folder of pictures or of DICOM files."""
    files = sequence_files(path)
    if is_dicom(files[0]):
        return _read_dicom_folder(path, files, frame, allow_uneven_time)
    numbers = _chosen(path, len(files), frame)
    stills = [read_angiogram(files[number]) for number in numbers]  # so that an error names the file
    bits = max(still.bits for still in stills)
    return Angiogram(_stack(stills, path), "folder", bits, numbers, len(files), remark=missing_frames(files))


def _read_dicom_folder(path: Path, files: list[Path], frame: int | None, allow_uneven_time: bool) -> Angiogram:
    """Read a folder of one DICOM file, or of single-frame DICOM files."""
    if len(files) == 1:
        return _read_dicom(files[0], frame, allow_uneven_time)
    ordered = order_frames(path, files)
    numbers = _chosen(path, len(ordered), frame)
    stills = [read_angiogram(ordered[number][0], 0) for number in numbers]
    return _with_tags(_stack(stills, path), numbers, len(ordered), ordered[0][1])


def _with_tags(pixels: NDArray[np.float32], numbers: tuple[int, ...], count: int, tags: DicomTags) -> Angiogram:
    """Return DICOM frames with what is kept of their tags."""
    edge = tags.pixel_mm or 1.0
    return Angiogram(
        pixels,
        "dicom",
        tags.bits,
        numbers,
        count,
        pixel_mm=tags.pixel_mm,
        frame_ms=tags.frame_ms,
        angles_deg=tags.angles_deg,
        affine=np.diag([-edge, -edge, 1.0, 1.0]),
        intensity=tags.intensity,
    )


def _stack(stills: list[Angiogram], folder: Path) -> NDArray[np.float32]:
    """Return the frames of one size as ``(T, H, W)``."""
    check_one_size((still.frames.shape[1:] for still in stills), folder)
    return np.concatenate([still.frames for still in stills])


def _chosen(path: Path, count: int, frame: int | None) -> tuple[int, ...]:
    """Return the numbers of the frames to read."""
    if frame is None:
        return tuple(range(count))
    if not 0 <= frame < count:
        raise ValueError(f"{path} has {count} frames, from 0 to {count - 1}; there is no frame {frame}")
    return (frame,)


def _is_unscaled(image: Any) -> bool:
    """Say whether a NIfTI image holds its stored values."""
    return (image.dataobj.slope, image.dataobj.inter) == (1.0, 0.0)


def _pixel_mm(image: Any) -> float:
    """Return the pixel edge of a NIfTI image; 0 where it is the 1 mm that stands for an unknown one."""
    width, height = (float(edge) for edge in image.header.get_zooms()[:2])
    return 0.0 if width == 1.0 == height else width


def _frame_ms(image: Any) -> float:
    """Return the frame time of a NIfTI image ``(W, H, 1, T)``; 0 where it has no unit."""
    return float(image.header.get_zooms()[3]) * {"sec": 1e3, "msec": 1.0, "usec": 1e-3}.get(
        image.header.get_xyzt_units()[1], 0.0
    )
