"""The folders of two challenges: ASOCA (labels) and CAT08 (centerlines)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..asoca import GROUPS, SPLIT_FOLDERS, asoca_sections
from .case import Case, Collection, files_in, folders_in

BY_NUMBER = "every fifth case of a group for test, the one before it for validation (none is published)"


def is_asoca(root: Path) -> str | None:
    """Say by what a folder is that of ASOCA."""
    places = [
        f"{split}/{group}/CTCA".removeprefix("/")
        for split in ("", *SPLIT_FOLDERS)
        for group in GROUPS
        if (root / split / group / "CTCA").is_dir()
    ]
    return " and ".join(places[:2]) if places else None


def collect_asoca(root: Path, _masks: Path) -> Collection:
    """List ASOCA; see :func:`..asoca.asoca_sections` for the split.

    Raises:
        ValueError: If no scan is annotated.
    """
    sections = asoca_sections(root) or {}
    cases = [_asoca_case(root, entry) for entries in sections.values() for entry in entries]
    split = {entry["case"]: section for section, entries in sections.items() for entry in entries}
    folders = any((root / name).is_dir() for name in SPLIT_FOLDERS)
    known = {path for case in cases for path in (case.image, case.label)}
    unmatched = [
        path.relative_to(root).as_posix()
        for name in ("", *SPLIT_FOLDERS)
        for group in GROUPS
        for part in ("CTCA", "Annotations")
        for path in files_in(root / name / group / part)
        if path.suffix == ".nrrd" and path not in known
    ]
    unlabelled = sum(1 for group in GROUPS for _ in (root / group).glob("Testset*/*.nrrd"))
    notes = [f"{unlabelled} scans of the challenge's test have no labels: left out"] if unlabelled else []
    return Collection(cases, {"folders" if folders else BY_NUMBER: split}, unmatched, notes)


def is_cat08(root: Path) -> str | None:
    """Say by what a folder is that of CAT08, the Rotterdam challenge."""
    folders = _cat08_folders(root)
    return f"{len(folders)} folders such as {folders[0].name} with image*.mhd" if folders else None


def collect_cat08(root: Path, _masks: Path) -> Collection:
    """List the scans of CAT08 that have reference centerlines; there are no labels."""
    found = Collection([], notes=["CAT08 has centerlines and no labels: no bundle trains on it"])
    without = []
    for folder in _cat08_folders(root):
        lines = tuple(path for vessel in folders_in(folder) if (path := vessel / "reference.txt").is_file())
        if lines:
            extras = {"centerlines": lines, "centerline_frame": "lps"}
            found.cases.append(Case(folder.name, _cat08_image(folder), None, group=folder.name, extras=extras))
        else:
            without.append(folder.name)
    if without:
        found.notes.append(f"{len(without)} scans have no vessel*/reference.txt: left out")
    return found


def _asoca_case(root: Path, entry: dict[str, Any]) -> Case:
    """Return the case of an entry that :func:`asoca_sections` made."""
    extras = {"centerline": root / entry["centerline"]} if "centerline" in entry else {}
    if extras:
        extras["centerline_frame"] = entry["centerline_frame"]
    return Case(entry["case"], root / entry["image"], root / entry["label"], group=entry["case"], extras=extras)


def _cat08_folders(root: Path) -> list[Path]:
    return [folder for folder in folders_in(root) if folder.name.startswith("dataset") and any(_cat08_images(folder))]


def _cat08_image(folder: Path) -> Path:
    return _cat08_images(folder)[0]


def _cat08_images(folder: Path) -> list[Path]:
    return [path for path in files_in(folder) if path.name.startswith("image") and path.suffix == ".mhd"]
