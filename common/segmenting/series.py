"""The images of a folder: DICOM series, their phases, X-ray runs, volumes and folders of frames; one is chosen."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pydicom
from pydicom import Dataset
from pydicom.errors import InvalidDicomError

from ..angiograms.sources import is_dicom_file, is_frame_file
from ..grids import VOLUME_SUFFIXES

MAX_FILES = 50_000  # looked through; a folder with more is hardly that of one study
MAX_LISTED = 60
MIN_SLICES = 8  # fewer are scouts, bolus tracking or dose reports
X_RAY = ("XA", "RF")
MULTI_FRAME_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PHASES = {  # tags that tell the phases of one series apart, and how a phase is called
    "NominalPercentageOfCardiacPhase": "phase {} %",
    "TriggerTime": "trigger time {} ms",
    "TemporalPositionIdentifier": "temporal position {}",
    "AcquisitionNumber": "acquisition {}",
}


class Series(NamedTuple):
    """One image.

    Attributes:
        files: its files: slices, frames, or the one file.
        header: DICOM tags of the first file; None where it is no DICOM.
        phase: what tells it apart from other phases of its series; empty where there is one.
    """

    files: tuple[Path, ...]
    header: Dataset | None = None
    phase: str = ""

    @property
    def uids(self) -> tuple[str, ...]:
        """Series Instance UID, and of a run in one file its SOP Instance UID."""
        names = ["SeriesInstanceUID"] + ["SOPInstanceUID"] * (len(self.files) == 1)
        return tuple(str(self.header.get(name)) for name in names) if self.header is not None else ()

    @property
    def unfit(self) -> str:
        """Why it is not what a user means by the scan; empty where it may be."""
        if self.header is None:
            return ""
        modality, kinds = self.header.get("Modality"), self.header.get("ImageType") or ()
        if modality not in ("CT", *X_RAY) or not self.header.get("Rows"):
            return "neither CT nor X-ray"
        if "LOCALIZER" in kinds or str(self.header.get("SOPClassUID")).startswith(SECONDARY_CAPTURE):
            return "a localizer" if "LOCALIZER" in kinds else "a screenshot"
        few = modality == "CT" and len(self.files) < MIN_SLICES and not self.header.get("NumberOfFrames")
        return "few slices" if few else ""

    def __str__(self) -> str:
        """Describe it in a line: name, number and size of slices or frames, kernel, phase."""
        if self.header is None:
            return str(self.files[0]) if len(self.files) == 1 else f"{self.files[0].parent} ({len(self.files)} frames)"
        name = self.header.get("SeriesDescription") or "without description"
        number = self.header.get("SeriesNumber")
        parts = [
            f"{name}{'' if number is None else f' (series {number})'}: {self.header.get('Modality', 'no modality')}"
        ]
        parts += _slices(self) if self.header.get("Modality") == "CT" else _frames(self)
        return ", ".join(part for part in [*parts, self.phase] if part)


class Found(NamedTuple):
    """The one image to segment: a path from which a bundle reads it alone, its tags if it is DICOM, what was chosen."""

    path: Path
    header: Dataset | None
    said: str


def find_image(path: Path, wanted: int | str | None, temporary: Path) -> Found:
    """Find the image that a user means.

    Args:
        path: a file or a folder.
        wanted: which of the images in a folder, see :func:`choose`.
        temporary: a folder of links is made in it where an image shares its folder with others.

    Raises:
        FileNotFoundError: If a folder holds no image.
        ValueError: If the file is one slice of a CT, or which image of the folder is meant is not known.
    """
    if path.is_dir():
        images = images_in(path)
        image = choose(images, path, wanted)
        number = images.index(image) + 1
        said = f"Of {len(images)} images in {path}, number {number}: {image}." if len(images) > 1 else ""
        return Found(_path_of(image, f"{path.resolve().name}_{number}", temporary), image.header, said)
    if wanted is not None:
        raise ValueError(f"series {wanted} was asked for, but {path} is a file; give the folder of the series")
    header = read_header(path) if is_dicom_file(path) else None
    if header is not None and header.get("Modality") == "CT" and not header.get("NumberOfFrames"):
        raise ValueError(f"{path} is one slice of a CT; give its folder, {path.parent}")
    return Found(path, header, "")


def images_in(folder: Path) -> list[Series]:
    """Return the images in a folder and in those below it.

    Pictures count only where there is neither DICOM nor a volume: a CD of a study has them as thumbnails.

    Args:
        folder: looked through with all folders in it, hidden ones left out.

    Raises:
        FileNotFoundError: If there is no image.
        ValueError: If there are too many files for one study.
    """
    files = list(_files_below(folder))
    scans = [file for file in files if is_dicom_file(file)]
    found = [*_dicom_images(scans), *(Series((file,)) for file in files if is_volume_file(file))]
    if not found:
        frames = defaultdict(list)
        for file in filter(is_frame_file, files):
            frames[file.parent].append(file)
        found = [Series(tuple(pictures)) for pictures in frames.values()]
    if not found:
        raise FileNotFoundError(
            f"there is no image among the {len(files)} files in {folder}: looked for DICOM, "
            f"{', '.join(VOLUME_SUFFIXES)} and pictures (PNG, BMP, ...); is it unpacked?"
        )
    return found


def choose(images: Sequence[Series], folder: Path, wanted: int | str | None = None) -> Series:
    """Return the image to segment.

    Args:
        images: those of the folder, as :func:`images_in` lists them.
        folder: named by the error.
        wanted: number of an image from 1, or a UID of it; None for the only one that can be meant.

    Raises:
        ValueError: If there is no such image, or several can be meant; lists them by number.
    """
    if wanted is not None:
        number = int(wanted) if str(wanted).isdigit() else 0
        named = [image for place, image in enumerate(images, 1) if place == number or str(wanted) in image.uids]
        problem = f"series {wanted} names {len(named) or 'none'} of {len(images)} images in {folder}"
    else:
        named = [image for image in images if not image.unfit] or list(images)
        problem = f"{folder} holds {len(named)} images that can be meant"
    if len(named) == 1:
        return named[0]
    lines = [f"  {place}  {image}{image.unfit and f' [{image.unfit}]'}" for place, image in enumerate(images, 1)]
    if len(lines) > MAX_LISTED:
        lines[MAX_LISTED:] = [f"  and {len(lines) - MAX_LISTED} more"]
    raise ValueError("\n".join([f"{problem}; choose one with --series NUMBER (or its UID):", *lines]))


def is_volume_file(path: Path) -> bool:
    """Say whether a file has the suffix of a volume format."""
    return path.is_file() and path.name.lower().endswith(VOLUME_SUFFIXES)


def read_header(path: Path) -> Dataset:
    """Read the tags of a DICOM file, its pixels left out.

    Raises:
        ValueError: If it is no DICOM file.
    """
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, EOFError) as error:
        raise ValueError(f"{path} is no complete DICOM file; copy or export it again") from error


def _files_below(folder: Path) -> Iterable[Path]:
    """Yield the visible files below a folder in the order of their names."""
    count = 0
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        count += len(names)
        if count > MAX_FILES:
            raise ValueError(f"{folder} holds more than {MAX_FILES} files; give the folder of the scan itself")
        yield from (Path(place) / name for name in sorted(names) if not name.startswith("."))


def _path_of(image: Series, name: str, temporary: Path) -> Path:
    """Return a path from which a bundle reads exactly this image: a file, its folder, or a folder of links."""
    if len(image.files) == 1 and (image.header is None or image.header.get("Modality") != "CT"):
        return image.files[0]
    parents = {file.parent for file in image.files}
    beside = {path for parent in parents for path in parent.iterdir() if path.is_dir() or _is_image(path)}
    if len(parents) == 1 and beside <= set(image.files):
        return parents.pop()
    links = temporary / name
    links.mkdir()
    for number, file in enumerate(image.files):
        (links / f"{number:05d}.dcm").symlink_to(file.resolve())
    return links


def _is_image(path: Path) -> bool:
    return is_dicom_file(path) or is_frame_file(path) or is_volume_file(path)


def _dicom_images(files: Iterable[Path]) -> list[Series]:
    """Return the images that DICOM files hold, by series number."""
    groups: dict[tuple[str, ...], list[tuple[Path, Dataset]]] = defaultdict(list)
    for file in files:
        header = read_header(file)
        axes = (np.round(np.asarray(header.get("ImageOrientationPatient") or [], float), 2) + 0.0).tolist()  # no -0.0
        several = int(header.get("NumberOfFrames") or 1) > 1
        single = header.get("SOPInstanceUID") if several or not header.get("Rows") else ""
        keys = (header.get("SeriesInstanceUID"), header.get("Rows"), header.get("Columns"), axes, single)
        groups[tuple(map(str, keys))].append((file, header))
    series = [part for group in groups.values() for part in _phases(group)]
    return sorted(series, key=lambda one: (int(one.header.get("SeriesNumber") or 0) if one.header else 0, one.files[0]))


def _phases(group: list[tuple[Path, Dataset]]) -> list[Series]:
    """Split the slices of a series that lie at the same places: several phases of the heart, or a repetition."""
    group = sorted(group, key=lambda item: (int(item[1].get("InstanceNumber") or 0), item[0]))
    places = [_place(header) for _, header in group]
    if None in places or len(set(places)) == len(places):
        return [Series(tuple(file for file, _ in group), group[0][1])]
    for tag, words in PHASES.items():
        parts = defaultdict(list)
        for item in group:
            parts[str(item[1].get(tag))].append(item)
        if len(parts) > 1 and all(len({_place(header) for _, header in part}) == len(part) for part in parts.values()):
            return [_part(part, words.format(value)) for value, part in parts.items()]
    seen: Counter[float | None] = Counter()
    turns = defaultdict(list)
    for item, place in zip(group, places, strict=True):
        seen[place] += 1
        turns[seen[place]].append(item)
    return [_part(part, f"repetition {turn} of {len(turns)}") for turn, part in turns.items()]


def _part(group: list[tuple[Path, Dataset]], phase: str) -> Series:
    return Series(tuple(file for file, _ in group), group[0][1], phase)


def _place(header: Dataset) -> float | None:
    """Return where a slice lies along the normal of its plane, in mm; None where the tags do not say it."""
    position, axes = header.get("ImagePositionPatient"), header.get("ImageOrientationPatient")
    if not position or not axes:
        return None
    axes = np.asarray(axes, float)
    return round(float(np.dot(np.cross(axes[:3], axes[3:]), np.asarray(position, float))), 3)


def _slices(image: Series) -> list[str]:
    """Describe the slices of a CT series."""
    header = image.header or Dataset()
    places = [_place(one) for one in (read_header(file) for file in (image.files[0], image.files[-1]))]
    count = len(image.files)
    thickness = header.get("SliceThickness")
    step = ""
    if count > 1 and None not in places:
        step = f" every {abs(float(places[1] or 0) - float(places[0] or 0)) / (count - 1):.3g} mm"
    elif thickness:
        step = f" of {float(thickness):.3g} mm"
    pixel = header.get("PixelSpacing")
    kernel = header.get("ConvolutionKernel")
    kernel = kernel if isinstance(kernel, str) or kernel is None else "/".join(map(str, kernel))
    return [
        f"{count} slice{'s' * (count != 1)}{step}",
        f"pixels of {float(pixel[0]):.3g} mm" if pixel else "",
        f"kernel {kernel}" if kernel else "",
    ]


def _frames(image: Series) -> list[str]:
    """Describe the frames of an X-ray run, or of whatever it is."""
    header = image.header or Dataset()
    count = int(header.get("NumberOfFrames") or len(image.files))
    angles = [header.get(f"Positioner{name}Angle") for name in ("Primary", "Secondary")]
    return [
        f"{count} frame{'s' * (count != 1)} of {header.get('Rows')} x {header.get('Columns')} pixels",
        "" if None in angles or "" in angles else f"C-arm at {float(angles[0]):.0f} and {float(angles[1]):.0f} degrees",
        image.files[0].name if len(image.files) == 1 else "",
    ]
