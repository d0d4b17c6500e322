"""Data lists for training and evaluation, and the images of a folder for inference; all checked before work starts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .asoca import asoca_sections
from .grids import VOLUME_SUFFIXES, Grid, case_name, describe_difference, dicom_series, read_grid

SECTIONS = ("training", "validation", "test")
FILE_KEYS = ("image", "label", "centerline", "predicted_centerline", "branches", "heart")  # what in an entry is a path
FILES_KEYS = ("views", "centerlines", "structures")  # a list of paths; views are renderings of one anatomy on one grid
Sections = dict[str, list[dict[str, Any]]]  # the cases of a data list by section
LAYOUT = (
    'it must be a JSON file such as {"training": [{"image": "images/1.nii.gz", "label": "labels/1.nii.gz"}, ...], '
    '"validation": [...], "test": [...]}, with paths relative to the file'
)


def load_data_list(
    path: str | Path, section: str, check_geometry: bool = True, spatial_dims: int = 3
) -> list[dict[str, Any]]:
    """Return the cases of one section of a Decathlon data list, with whole paths.

    Args:
        path: the data list, ``dataset.json``; where it is absent, its folder may be that of ASOCA as it is unpacked
            (see :func:`.asoca.asoca_sections`).
        section: ``training``, ``validation`` or ``test``.
        check_geometry: compare the shape and affine of image and label; reads headers only.
        spatial_dims: axes that every image must have.

    Returns:
        One dictionary for each case: what its entry says, the files as whole paths, and ``case``, its name.

    Raises:
        FileNotFoundError: If the list or a file it names is absent.
        ValueError: If the list is not such JSON, a folder of ASOCA has no annotations, the section is absent or empty,
            a case comes twice or in two sections, or image and label do not lie on one another.
    """
    path = Path(path)
    asoca = None if path.is_file() else asoca_sections(path.parent)
    sections = read_sections(path) if asoca is None else _complete(asoca, path, case_name)
    check_unique(sections, path)
    source = path if asoca is None else f"the folder {path.parent}, read as ASOCA,"
    cases = cases_of(sections, section, source)
    for case in cases:
        check_files(case, path)
        if check_geometry:
            _check_geometry(case, spatial_dims)
    return cases


def list_images(source: str | Path) -> list[dict[str, str]]:
    """Return the cases to segment in a folder, sorted by name, or the one case of a file.

    Args:
        source: an image file; a folder of image files and DICOM folders (one series each); or one DICOM folder.

    Returns:
        ``{"image": path, "case": name}`` for each case.

    Raises:
        FileNotFoundError: If ``source`` is absent or holds no image.
        ValueError: If it is a file of another format, or two images have the same case name.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"there is no file or folder {source}; give an image or a folder of images")
    if source.is_file():
        if not _is_volume(source):
            raise ValueError(f"{source} is not a supported image; supported are {', '.join(VOLUME_SUFFIXES)}")
        images = [source]
    else:
        images = [entry for entry in sorted(source.iterdir()) if _is_volume(entry) or _is_series(entry)]
        if not images and _is_series(source):
            images = [source]
    if not images:
        raise FileNotFoundError(_nothing_in(source))
    return unique_cases(images, source, case_name)


def unique_cases(images: Sequence[Path], source: Path, name_of: Callable[[Path], str]) -> list[dict[str, str]]:
    """Return ``{"image": path, "case": name}`` for each image of a folder.

    Args:
        images: their paths.
        source: the folder, for the error.
        name_of: gives the case of an image.

    Raises:
        ValueError: If two images have the same case name.
    """
    cases: dict[str, Path] = {}
    for image in images:
        name = name_of(image)
        if name in cases:
            raise ValueError(f"{cases[name].name} and {image.name} in {source} are both case {name!r}; rename one")
        cases[name] = image
    return [{"image": str(image), "case": name} for name, image in cases.items()]


def read_sections(path: Path, name_of: Callable[[str], str] = case_name) -> Sections:
    """Read a Decathlon data list: its sections, with whole paths and the name of each case.

    Args:
        path: the data list.
        name_of: gives the case of an image path whose entry has no "case".

    Raises:
        FileNotFoundError: If the list is absent.
        ValueError: If it is not such JSON.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no data list {path}; {LAYOUT}")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:  # both broken JSON and bytes that are no text
        raise ValueError(f"cannot read {path}: {error}; {LAYOUT}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds a {type(content).__name__}; {LAYOUT}")
    sections = {name: content[name] for name in SECTIONS if name in content}
    for name, entries in sections.items():
        if not isinstance(entries, list):
            raise ValueError(f"the section {name!r} of {path} is a {type(entries).__name__}, not a list; {LAYOUT}")
    return _complete(sections, path, name_of)


def cases_of(sections: Sections, section: str, source: str | Path) -> list[dict[str, Any]]:
    """Return the cases of a section.

    Args:
        sections: of one data list.
        section: name of one of them.
        source: what an error calls the list.

    Raises:
        ValueError: If the section is absent or empty.
    """
    if section not in sections:
        raise ValueError(f"{source} has no section {section!r}, only {sorted(sections)}; {LAYOUT}")
    if not sections[section]:
        raise ValueError(f"the section {section!r} of {source} is empty; add cases to it")
    return sections[section]


def check_unique(sections: Sections, path: Path, identity: Sequence[str] = ("image",)) -> None:
    """Raise a ``ValueError`` if an image or a case name comes twice, in one section or in two.

    Args:
        sections: of the data list ``path``.
        path: named by the error.
        identity: keys that together say which image an entry means.
    """
    for keys in (identity, ("case",)):
        seen: dict[tuple[Any, ...], str] = {}
        for section, case in ((section, case) for section, entries in sections.items() for case in entries):
            value = tuple(case.get(key) for key in keys)
            if value not in seen:
                seen[value] = section
            elif seen[value] == section:
                raise ValueError(
                    f"case {case['case']!r} comes twice in {section!r} of {path}; remove one entry, or, where the "
                    'files differ, give each its own "case" name'
                )
            else:
                raise ValueError(
                    f"case {case['case']!r} is in {seen[value]!r} and in {section!r} of {path}, so its score would "
                    'say nothing; remove one entry, or, where the files differ, give each its own "case" name'
                )


def check_files(case: dict[str, Any], path: Path) -> None:
    """Raise unless a case of the data list ``path`` has a label and all its files exist.

    Raises:
        FileNotFoundError: If a file is absent.
        ValueError: If there is no label.
    """
    if "label" not in case:
        raise ValueError(f'case {case["case"]!r} of {path} has no "label"; add it, or use inference, which needs none')
    files = [(key, case[key]) for key in FILE_KEYS if isinstance(case.get(key), str)]
    for key, file in [*files, *((name, path) for name in FILES_KEYS for path in case.get(name, []))]:
        if not Path(file).exists():
            raise FileNotFoundError(
                f"case {case['case']!r} of {path}: there is no {key} {file}; paths are relative to the data list"
            )


def _complete(sections: Mapping[str, Sequence[Any]], path: Path, name_of: Callable[[str], str]) -> Sections:
    """Complete each entry of the list ``path``."""
    return {name: [_resolve(entry, path, name, name_of) for entry in entries] for name, entries in sections.items()}


def _resolve(entry: Any, path: Path, section: str, name_of: Callable[[str], str]) -> dict[str, Any]:
    """Complete one entry: whole paths and a case name."""
    if isinstance(entry, str):  # the Decathlon writes its unlabelled test images so
        entry = {"image": entry}
    if not isinstance(entry, dict) or not isinstance(entry.get("image"), str):
        raise ValueError(f'an entry of {section!r} in {path} has no "image": {entry!r}; {LAYOUT}')
    case = dict(entry)
    for key in FILE_KEYS:
        if isinstance(case.get(key), str):
            case[key] = str((path.parent / case[key]).resolve())
    for key in FILES_KEYS:
        if key in case:
            files = _paths(case[key], key, path, section)
            case[key] = [str((path.parent / file).resolve()) for file in files]
    case["case"] = str(entry.get("case", name_of(case["image"])))
    return case


def _paths(value: Any, key: str, path: Path, section: str) -> list[str]:
    """Return ``value`` if it is a list of paths."""
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f'"{key}" of an entry of {section!r} in {path} must be a list of paths, got {value!r}')
    return value


def _check_geometry(case: dict[str, Any], spatial_dims: int) -> None:
    """Raise unless image and label are of ``spatial_dims`` axes and lie on one another."""
    image, label = (_grid_of(case, key) for key in ("image", "label"))
    if len(image.shape) != spatial_dims:
        raise ValueError(
            f"case {case['case']!r}: {case['image']} has the shape {image.shape}, but images with {spatial_dims} axes "
            "are needed; remove the case or export the whole volume"
        )
    difference = describe_difference(image, label)
    if difference:
        raise ValueError(
            f"case {case['case']!r}: {case['label']} does not lie on {case['image']}: {difference}; is it the label of "
            "this case? Else resample it (nearest neighbour) to the image's grid"
        )


def _grid_of(case: dict[str, Any], key: str) -> Grid:
    """Read one grid of a case; the error names the case."""
    try:
        return read_grid(case[key])
    except ValueError as error:
        raise ValueError(f"case {case['case']!r}: {error}") from error


def _is_volume(entry: Path) -> bool:
    """Say whether ``entry`` is a visible file with the suffix of a supported format."""
    return entry.is_file() and not entry.name.startswith(".") and entry.name.lower().endswith(VOLUME_SUFFIXES)


def _is_series(entry: Path) -> bool:
    """Say whether ``entry`` is a visible folder with DICOM slices directly in it."""
    return entry.is_dir() and not entry.name.startswith(".") and bool(dicom_series(entry))


def _nothing_in(folder: Path) -> str:
    """Explain what was looked for in ``folder``."""
    hint = ""
    if (folder / "dataset.json").is_file():
        hint = f"; it is a data set for training: give {folder / 'images'} to segment its images"
    return (
        f"there is no image to segment in {folder}: looked for files {', '.join(VOLUME_SUFFIXES)} and for folders of "
        f"DICOM slices, directly in it{hint}"
    )
