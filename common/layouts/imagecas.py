"""ImageCAS, 1000 contrast CTs, and ImageCAS-X, new labels and centerlines of 800 of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

from .case import PUBLISHED, Case, Collection, files_in, folders_in, section_of, with_own_names

_PART = re.compile(r"(?:(.+)\.)?(img|label)\.nii(?:\.gz)?", re.IGNORECASE)  # N.img.nii.gz, or img.nii.gz in a folder N
_COPY = re.compile(r"\s*\(\d+\)$")  # the mail distribution has some patients twice, the second folder ends in "(1)"
_FILE_LISTS = ("train", "val", "test")
X_LABEL = ".coronary.nii.gz"


def is_imagecas(root: Path) -> str | None:
    """Say by what a folder is that of ImageCAS: of Kaggle, flat or in groups, or a folder for each patient."""
    images, labels = _parts(root)
    both = images.keys() & labels.keys()
    return f"{len(both)} pairs such as {_shown(root, images[min(both)])}" if both else None


def collect_imagecas(root: Path, _masks: Path) -> Collection:
    """List ImageCAS; its splits are those of ``imageCAS_data_split.xlsx``, where that lies in or beside the folder.

    Raises:
        ImportError: If there is such a file, and ``openpyxl`` to read it is missing.
        ValueError: If it cannot be read.
    """
    images, labels = _parts(root)
    found = Collection([])
    cases = [
        Case(name, image, labels[folder, name], group=_COPY.sub("", name))
        for (folder, name), image in images.items()
        if (folder, name) in labels
    ]
    found.cases = with_own_names(cases, found.notes)
    found.unmatched = [
        _shown(root, path)
        for parts, others in ((images, labels), (labels, images))
        for key, path in parts.items()
        if key not in others
    ]
    book = next((path for folder in (root, root.parent) for path in files_in(folder) if _is_split(path)), None)
    if book is None:
        found.notes.append("no imageCAS_data_split.xlsx in the folder or the one above: no published split")
        return found
    found.splits = _splits(book, found.cases)
    if not found.splits:
        found.notes.append(f"{book.name} names none of these cases: no published split")
    return found


def is_imagecas_x(root: Path) -> str | None:
    """Say by what a folder is that of ImageCAS-X."""
    labels = [path for path in files_in(root / "segmentations") if path.name.endswith(X_LABEL)]
    return f"{len(labels)} files segmentations/N{X_LABEL}" if labels else None


def collect_imagecas_x(root: Path, _masks: Path) -> Collection:
    """List ImageCAS-X; its split is that of ``filelist/{train,val,test}.txt``, without what exclude.txt names.

    The labels are 1 to 14 for the branches. Their centerlines are VTK files, in LPS.

    Raises:
        ValueError: If ``volumes/``, which has to come from ImageCAS, has no scan of a label.
    """
    labels = {path.name.removesuffix(X_LABEL): path for path in files_in(root / "segmentations")}
    volumes = {path.name.split(".img.nii")[0]: path for path in files_in(root / "volumes") if ".img.nii" in path.name}
    both = [name for name in labels if name in volumes]
    if not both:
        raise ValueError(
            f"{root / 'volumes'} holds no scan of a label: ImageCAS-X ships labels alone; put ImageCAS's N.img.nii.gz "
            "there, or links to them"
        )
    cases = []
    for name in both:
        lines = tuple(
            line
            for side in ("left", "right")
            if (line := root / "centerlines" / f"{name}.coronary_{side}_centerline.vtk").is_file()
        )
        extras = {"branches": labels[name]} | ({"centerlines": lines, "centerline_frame": "lps"} if lines else {})
        cases.append(Case(name, volumes[name], labels[name], group=name, extras=extras))
    unmatched = [_shown(root, path) for side in (labels, volumes) for name, path in side.items() if name not in both]
    listed = {name: _listed(root / "filelist" / f"{name}.txt") for name in (*_FILE_LISTS, "exclude")}
    split = {
        name: section
        for part in _FILE_LISTS
        for name in listed[part]
        if name not in listed["exclude"] and (section := section_of(part))
    }
    notes = ["labels 1 to 14 are branches of the lumen"]
    if not split:
        notes.append("no filelist/train.txt, val.txt, test.txt: no published split")
    return Collection(cases, {PUBLISHED: split} if split else {}, unmatched, notes)


def _parts(root: Path) -> tuple[dict[tuple[str, str], Path], dict[tuple[str, str], Path]]:
    """Return the images and the labels by the folder and name of their case."""
    parts: dict[str, dict[tuple[str, str], Path]] = {"img": {}, "label": {}}
    for folder in (root, *folders_in(root)):
        for path in files_in(folder):
            if match := _PART.fullmatch(path.name):
                parts[match[2].lower()][folder.name, match[1] or folder.name] = path
    return parts["img"], parts["label"]


def _is_split(path: Path) -> bool:
    return path.suffix.lower() == ".xlsx" and "split" in path.name.lower()


def _splits(book: Path, cases: Sequence[Case]) -> dict[str, dict[str, str]]:
    """Return the splits of the sheet that knows the most of the cases.

    The workbook has a sheet by patient, as the mail distribution names its folders, and one by the numbers of Kaggle.
    """
    names = {case.name for case in cases}
    best: dict[str, dict[str, str]] = {}
    known = 0
    for rows in _sheets(book):
        table = _table(rows)
        number = len(names & {name for split in table.values() for name in split})
        if number > known:
            best, known = table, number
    return {split: {name: s for name, s in sections.items() if name in names} for split, sections in best.items()}


def _table(rows: Iterable[Sequence[Any]]) -> dict[str, dict[str, str]]:
    """Return the section of each case in each column "Split-n", below the row that has "FileName"."""
    splits: dict[int, str] = {}
    first = 0
    found: dict[str, dict[str, str]] = {}
    for row in rows:
        words = ["" if value is None else str(value).strip() for value in row]
        if "filename" in [word.lower() for word in words]:
            first = [word.lower() for word in words].index("filename")
            splits = {column: word for column, word in enumerate(words) if word.lower().startswith("split")}
            found = {word: {} for word in splits.values()}
        elif len(words) > first and words[first]:
            for column, split in splits.items():
                if column < len(words) and (section := section_of(words[column])):
                    found[split][words[first].removesuffix(".0")] = section
    return found


def _sheets(book: Path) -> list[list[Sequence[Any]]]:
    """Return the rows of each sheet of a workbook."""
    try:
        openpyxl = import_module("openpyxl")
    except ImportError as error:
        raise ImportError(
            f"{book}: reading the published splits needs the package openpyxl: pip install openpyxl (or move the file "
            "away and draw a split with --test and --validation)"
        ) from error
    try:
        content = openpyxl.load_workbook(book, read_only=True, data_only=True)
        sheets = [list(sheet.iter_rows(values_only=True)) for sheet in content.worksheets]
        content.close()
    except (OSError, KeyError, ValueError, BadZipFile) as error:
        raise ValueError(f"cannot read {book}; is it complete? Copy it again (the reader says: {error})") from error
    return sheets


def _listed(path: Path) -> set[str]:
    """Return the cases that a file names, one a line."""
    return set(path.read_text(encoding="utf-8").split()) if path.is_file() else set()


def _shown(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()
