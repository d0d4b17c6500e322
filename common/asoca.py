"""The ASOCA data set as it is unpacked: its cases as a data list, so that nobody has to write one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

GROUPS = ("Normal", "Diseased")
SPLIT_FOLDERS = {"train": "training", "val": "validation", "test": "test"}
CENTERLINES = (("Centerlines", ".vtp"), ("Centerlines_graphs", ".GML"), ("Centerlines_graphs", ".gml"))
FRAME = "asoca_vtp"  # of the centerlines, which are neither LPS nor RAS


def asoca_sections(root: str | Path) -> dict[str, list[dict[str, Any]]] | None:
    """Return the cases of an ASOCA folder by section.

    ``<root>/{Normal,Diseased}/{CTCA,Annotations,Centerlines}/<case>.nrrd|.vtp``, as the challenge ships it, or the same
    below ``train``, ``val`` and ``test``. The challenge publishes no split of its 40 annotated cases; without such
    folders every fifth case of each group is for the test and the one before it for validation: 24, 8 and 8 cases.

    Args:
        root: folder to look at.

    Returns:
        Lists of "image", "label", "case" and, where there is a file, "centerline" with its "centerline_frame", with
        paths relative to ``root``; sections without a case are left out. None if this is no such folder. Scans without
        annotation, such as the challenge's own test set, are left out. A case has the name of its file, behind that of
        its group if it does not begin with it; one without a number is for training.

    Raises:
        ValueError: If the folder has scans and none of them is annotated.
    """
    root = Path(root)
    if any((root / group / "CTCA").is_dir() for group in GROUPS):
        cases = [case for group in GROUPS for case in _cases(root, root / group)]
        sections: dict[str, list[dict[str, Any]]] = {name: [] for name in SPLIT_FOLDERS.values()}
        for case in cases:
            sections[_section_of(case["case"])].append(case)
    else:
        folders = {name: root / folder for folder, name in SPLIT_FOLDERS.items()}
        sections = {
            name: [case for group in GROUPS for case in _cases(root, folder / group)]
            for name, folder in folders.items()
        }
    filled = {name: cases for name, cases in sections.items() if cases}
    if not filled and any(_scans(root / split / group) for split in ("", *SPLIT_FOLDERS) for group in GROUPS):
        raise ValueError(
            f"{root} is ASOCA without Annotations/, so that no scan has a label: <group>/Annotations/<case>.nrrd must "
            "lie beside <group>/CTCA/<case>.nrrd"
        )
    return filled or None


def _cases(root: Path, group: Path) -> list[dict[str, Any]]:
    """Return the annotated cases of one group, in the order of their numbers."""
    cases = []
    for image in _scans(group):
        label = group / "Annotations" / image.name
        if label.is_file():
            name = image.stem if image.stem.startswith(group.name) else f"{group.name}_{image.stem}"
            case = {"image": _relative(image, root), "label": _relative(label, root), "case": name}
            files = (group / folder / f"{image.stem}{suffix}" for folder, suffix in CENTERLINES)
            centerline = next((file for file in files if file.is_file()), None)
            if centerline is not None:
                case |= {"centerline": _relative(centerline, root), "centerline_frame": FRAME}
            cases.append(case)
    return cases


def _scans(group: Path) -> list[Path]:
    """Return the scans of one group, in the order of their numbers."""
    return sorted((group / "CTCA").glob("*.nrrd"), key=lambda path: (_number(path.stem), path.stem))


def _section_of(case: str) -> str:
    return {0: "test", 4: "validation"}.get(_number(case) % 5, "training") if re.search(r"\d", case) else "training"


def _number(name: str) -> int:
    """Return the last number in a name; 0 where there is none."""
    numbers = re.findall(r"\d+", name)
    return int(numbers[-1]) if numbers else 0


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()
