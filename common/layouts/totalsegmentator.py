"""TotalSegmentator: a folder for each case, with its CT and a mask for each structure."""

from __future__ import annotations

import csv
from pathlib import Path

from ..grids import NIFTI_SUFFIXES, case_name
from .case import Case, Collection, files_in, folders_in, section_of

LABEL = "coronary_arteries"
HEART = ("heart", "aorta", "pulmonary_artery", "pulmonary_vein", "atrial_appendage", "superior_vena_cava")
_IMAGE = "ct"


def is_totalsegmentator(root: Path) -> str | None:
    """Say by what a folder is that of TotalSegmentator's data set, or of its masks beside scans ``ct.nii.gz``."""
    cases = [f for f in folders_in(root) if _named(f, _IMAGE) and (_named(f, LABEL) or (f / "segmentations").is_dir())]
    return f"{len(cases)} folders such as {cases[0].name}/ with ct.nii.gz and masks" if cases else None


def collect_totalsegmentator(root: Path, _masks: Path) -> Collection:
    """List the cases with a mask of the coronary arteries; those of heart and great vessels are their structures.

    The split is that of ``meta.csv``.

    Raises:
        ValueError: If no case has a mask of the coronary arteries.
    """
    found = Collection([])
    for folder in folders_in(root):
        image = _named(folder, _IMAGE)
        label = _named(folder / "segmentations", LABEL) or _named(folder, LABEL)
        if image is None:
            continue
        if label is None:
            found.unmatched.append(f"{folder.name}/{image.name}")
            continue
        structures = tuple(path for path in files_in(label.parent) if path != label and path.name.startswith(HEART))
        extras = {"structures": structures} if structures else {}
        found.cases.append(Case(folder.name, image, label, group=folder.name, extras=extras))
    if not found.cases:
        raise ValueError(
            f"no case in {root} has segmentations/{LABEL}.nii.gz: TotalSegmentator's data set has none; make them with "
            f"its task {LABEL} (TotalSegmentator -i ct.nii.gz -o segmentations -ta {LABEL})"
        )
    found.notes.append(f"labels of TotalSegmentator's task {LABEL} are predictions, unless a person corrected them")
    split = _split(root / "meta.csv")
    if split:
        found.splits["meta.csv"] = split
    return found


def _named(folder: Path, name: str) -> Path | None:
    """Return the NIfTI file of that name."""
    return next((path for path in files_in(folder) if _is_nifti(path) and case_name(path) == name), None)


def _is_nifti(path: Path) -> bool:
    return path.name.lower().endswith(NIFTI_SUFFIXES)


def _split(path: Path) -> dict[str, str]:
    """Return the section of each case that ``meta.csv`` names."""
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8-sig", errors="replace")
    separator = max(";,\t", key=text.partition("\n")[0].count)
    rows = csv.DictReader(text.splitlines(), delimiter=separator)
    return {
        row["image_id"]: section
        for row in rows
        if row.get("image_id") and (section := section_of(row.get("split") or ""))
    }
