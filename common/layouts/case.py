"""What the folder of a data set holds: its cases, and what the publishers say about them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

SECTION_OF = {"train": "training", "val": "validation", "test": "test"}  # by how the name of a part begins or ends
PUBLISHED = "published"  # name of a split where there is one only


@dataclass(frozen=True)
class Case:
    """One image with what belongs to it.

    Attributes:
        name: tells it from the other cases.
        image: file, or folder of a DICOM series or of frames.
        label: mask of the vessels; None where the data set has none, only centerlines.
        group: patient, where the folder tells which cases are of one.
        extras: further items of its entry in the data list: "centerline" and "branches" (a path each), "centerlines"
            and "structures" (several), "centerline_frame" (a word).
    """

    name: str
    image: Path
    label: Path | None
    group: str | None = None
    extras: dict[str, Any] = field(default_factory=dict)

    @property
    def centerlines(self) -> tuple[Path, ...]:
        """Its centerline files."""
        one = self.extras.get("centerline")
        return (*(() if one is None else (one,)), *self.extras.get("centerlines", ()))


@dataclass
class Collection:
    """What a folder holds.

    Attributes:
        cases: each labelled image, in the order of the list.
        splits: by name the publishers' splits, each a section by the name of the case; empty where there is none. What
            is in no section the publishers leave out.
        unmatched: files without partner.
        notes: what else the user should know.
    """

    cases: list[Case]
    splits: dict[str, dict[str, str]] = field(default_factory=dict)
    unmatched: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Layout(NamedTuple):
    """One way in which a data set is stored.

    Attributes:
        description: how it looks, for the user.
        recognise: says by what a folder looks so, in words; None where it does not.
        collect: lists a folder, and writes masks that have to be made to a second one.
    """

    description: str
    recognise: Callable[[Path], str | None]
    collect: Callable[[Path, Path], Collection]


def section_of(folder: str) -> str | None:
    """Return the section that the name of a folder or file stands for."""
    name = folder.lower()
    return next((s for word, s in SECTION_OF.items() if name.startswith(word) or name.endswith(word)), None)


def natural(name: str) -> list[tuple[int, str]]:
    """Key that sorts 2 before 10."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def folders_in(root: Path) -> list[Path]:
    """Return the visible folders in ``root``, 2 before 10."""
    found = (entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    return sorted(found, key=lambda entry: natural(entry.name))


def files_in(folder: Path) -> list[Path]:
    """Return the visible files in ``folder``, 2 before 10; none where there is no such folder."""
    if not folder.is_dir():
        return []
    found = (entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith("."))
    return sorted(found, key=lambda entry: natural(entry.name))


def with_own_names(cases: Sequence[Case], notes: list[str]) -> list[Case]:
    """Return the cases with the folder before the names that come more than once, and say so in ``notes``."""
    seen: dict[str, int] = {}
    for case in cases:
        seen[case.name] = seen.get(case.name, 0) + 1
    twice = [name for name, number in seen.items() if number > 1]
    if twice:
        notes.append(
            f"the same name in several folders: {', '.join(twice[:10])}; these cases are named by their folder"
        )
    return [
        replace(case, name=f"{case.image.parent.name}_{case.name}") if case.name in twice else case for case in cases
    ]
