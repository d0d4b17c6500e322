"""What counts as an angiogram on disk: file suffixes, folders of frames, case names, and the cases of a folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from ..datasets import unique_cases
from ..grids import NIFTI_SUFFIXES

IMAGE_SUFFIXES = (".png", ".pgm", ".bmp", ".jpg", ".jpeg", ".tif", ".tiff")
DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
SUFFIXES = (*NIFTI_SUFFIXES, *IMAGE_SUFFIXES, *DICOM_SUFFIXES)
_MAGIC = b"DICM"  # at byte 128 of every DICOM file; scanners often write files without a suffix
_NUMBER = re.compile(r"\d+")


def list_angiograms(source: str | Path, sequence: bool = False) -> list[dict[str, str]]:
    """Return the cases to segment in a folder, sorted by name, or the one case of a file.

    Args:
        source: an image file; or a folder, in which each image file is a case, and each folder of frame files or of
            single-frame DICOM files too.
        sequence: a folder ``source`` is one case itself, its files are the frames.

    Returns:
        ``{"image": path, "case": name}`` for each case.

    Raises:
        FileNotFoundError: If ``source`` is absent or holds no image.
        ValueError: If it is a file of another format, or two images have the same case name.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"there is no file or folder {source}; give an angiogram or a folder of angiograms")
    if source.is_file():
        if not is_angiogram_file(source):
            raise ValueError(f"{source} is not a supported image; supported are DICOM and {', '.join(SUFFIXES)}")
        images = [source]
    elif sequence:
        images = [source.resolve()] if _holds_frames(source) else []  # its name, also of "."
    else:
        images = [image for image in sorted(source.iterdir()) if is_angiogram_file(image) or _holds_frames(image)]
    if not images:
        raise FileNotFoundError(_nothing_in(source))
    return unique_cases(images, source, angiogram_case_name)


def angiogram_case_name(path: str | Path) -> str:
    """Return the file name of ``path`` without its known suffix; the name of a folder is kept whole."""
    path = Path(path)
    if not path.is_dir():
        for suffix in SUFFIXES:
            if path.name.lower().endswith(suffix):
                return path.name[: -len(suffix)]
    return path.name


def is_angiogram_file(path: str | Path) -> bool:
    """Say whether ``path`` is a visible file with the suffix of a supported format, or DICOM without a suffix."""
    path = Path(path)
    if not path.is_file() or path.name.startswith("."):
        return False
    return path.name.lower().endswith(SUFFIXES) or (path.name.upper() != "DICOMDIR" and is_dicom(path))


def is_dicom(path: str | Path) -> bool:
    """Say whether a file is DICOM, by its suffix or, since scanners often leave that out, by its first bytes."""
    path = Path(path)
    if path.name.lower().endswith(SUFFIXES):
        return path.name.lower().endswith(DICOM_SUFFIXES)
    with path.open("rb") as file:
        return file.read(132)[128:] == _MAGIC


def sequence_files(folder: str | Path) -> list[Path]:
    """Return the files of the one sequence in a folder: its DICOM files by name, or its frame files in their order.

    Raises:
        ValueError: If it holds both or neither, or the frame files are not those of one numbered sequence.
    """
    scans = dicom_files(folder)
    if not scans:
        return frame_files(folder)
    if any(map(is_frame_file, Path(folder).iterdir())):
        raise ValueError(f"{folder} holds both DICOM files and pictures; leave those of one sequence in it")
    return scans


def frame_files(folder: str | Path) -> list[Path]:
    """Return the frame files of one sequence in their order: 2 comes before 10.

    Args:
        folder: holds image files that are named alike but for a number, the last one in their names.

    Raises:
        ValueError: If there is no image file, or the names are not those of one numbered sequence.
    """
    folder = Path(folder)
    files = [file for file in folder.iterdir() if is_frame_file(file)]
    if not files:
        raise ValueError(f"the folder {folder} holds no frames: looked for {', '.join(IMAGE_SUFFIXES)} directly in it")
    if len(files) == 1:
        return files
    numbered: dict[int, Path] = {}
    pattern = _pattern(files[0])
    for file in sorted(files):
        number = _number(file)
        if number is None or _pattern(file) != pattern:
            raise ValueError(
                f"{files[0].name} and {file.name} in {folder} are not frames of one sequence, whose names differ in "
                "their last number only; give each sequence a folder of its own, and number its frames"
            )
        if number in numbered:
            raise ValueError(f"{numbered[number].name} and {file.name} in {folder} are both frame {number}; remove one")
        numbered[number] = file
    return [numbered[number] for number in sorted(numbered)]


def missing_frames(files: Sequence[Path]) -> str:
    """Return a warning about the numbers that are missing within a sequence of :func:`frame_files`; else nothing."""
    numbers = [number for number in map(_number, files) if number is not None]
    missing = [number for low, high in pairwise(numbers) for number in range(low + 1, min(high, low + 6))]
    if not missing:
        return ""
    return (
        f"the folder has frames {numbers[0]} to {numbers[-1]}, but not {', '.join(map(str, missing[:5]))}"
        f"{' and others' if len(missing) > 5 else ''}; the motion jumps there: add them if they exist"
    )


def is_frame_file(path: Path) -> bool:
    """Say whether ``path`` is a visible image file such as PNG."""
    return path.is_file() and not path.name.startswith(".") and path.name.lower().endswith(IMAGE_SUFFIXES)


def dicom_files(folder: str | Path) -> list[Path]:
    """Return the visible DICOM files directly in ``folder``, sorted by name."""
    return sorted(file for file in Path(folder).iterdir() if is_dicom_file(file))


def is_dicom_file(path: Path) -> bool:
    """Say whether ``path`` is a visible DICOM file."""
    return is_angiogram_file(path) and is_dicom(path)


def _holds_frames(path: Path) -> bool:
    """Say whether ``path`` is a visible folder with frame files or DICOM files directly in it."""
    if not path.is_dir() or path.name.startswith("."):
        return False
    return any(is_frame_file(file) or is_dicom_file(file) for file in path.iterdir())


def _number(file: Path) -> int | None:
    """Return the last number in a file name; None where there is none."""
    numbers = _NUMBER.findall(file.stem)
    return int(numbers[-1]) if numbers else None


def _pattern(file: Path) -> str:
    """Return a file name without its last number and suffix."""
    places = list(_NUMBER.finditer(file.stem))
    return f"{file.stem[: places[-1].start()]}#{file.stem[places[-1].end() :]}" if places else file.stem


def _nothing_in(folder: Path) -> str:
    """Explain what was looked for in ``folder``."""
    hint = ""
    if (folder / "dataset.json").is_file():
        hint = f"; it is a data set for training: give {folder / 'images'} to segment its images"
    return (
        f"there is no angiogram in {folder}: looked for DICOM and {', '.join(SUFFIXES)} files, and for folders of "
        f"frames, directly in it{hint}"
    )
