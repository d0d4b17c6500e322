"""Centerlines as tables of numbers: CSV with a header, and the vessels of the Rotterdam challenge (CAT08)."""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..files import replacing
from .branch import BRANCH_LABELS, Branch
from .graphs import OTHER
from .joining import joined
from .tree import check_vessels, leaves

COLUMNS = ("branch", "label", "parent", "parent_point", "x_ras_mm", "y_ras_mm", "z_ras_mm", "radius_mm")
"""The columns that we write; the names of the coordinates declare their frame."""


def read_csv(path: Path) -> tuple[list[Branch], str | None]:
    """Read a table with one point in a line, in the order along the vessel.

    The header names the columns, in any order and case: ``x y z`` (or as in ``COLUMNS``, with the frame, ``ras`` or
    ``lps``), and where known ``radius_mm`` (or ``radius``, ``r``), ``branch``, ``label`` (id or name), ``parent`` and
    ``parent_point``. Separators are commas, semicolons or tabs. Without ``parent``, a branch that begins on another one
    is its child, see :func:`.joining.joined`.

    Args:
        path: the file.

    Returns:
        Branches in the frame of the file, and that frame if its header tells it. Radii are 0 without their column.

    Raises:
        ValueError: If columns are missing, or a field is no number.
    """
    header, rows = _rows(path)
    axes = [_column(header, rf"{axis}(_ras|_lps)?(_mm)?") for axis in "xyz"]
    if None in axes:
        raise ValueError(
            f"{path} must have the columns x, y, z in its first line, got {', '.join(header) or 'nothing'}"
        )
    points = np.stack([_numbers(path, header, rows, column) for column in axes], axis=1)
    radius = _numbers(path, header, rows, _column(header, r"r|radius(_mm)?"))
    branch = _numbers(path, header, rows, _column(header, "branch"))
    parent = _column(header, "parent")
    parents = _numbers(path, header, rows, parent, -1)
    places = _numbers(path, header, rows, _column(header, "parent_point"), -1)
    label = _column(header, "label")
    branches = []
    for number in dict.fromkeys(branch.tolist()):
        chosen = branch == number
        first = int(np.argmax(chosen))
        name = rows[first][label] if label is not None else ""
        branches.append(
            Branch(points[chosen], radius[chosen], _label_id(name), int(parents[first]), int(places[first]))
        )
    if parent is None:
        branches = joined(branches, str(path))
    frames = {part for column in axes if column is not None for part in header[column].split("_")} & {"ras", "lps"}
    return branches, frames.pop() if len(frames) == 1 else None


def write_csv(path: str | Path, branches: Sequence[Branch]) -> None:
    """Write branches (RAS mm) as a table with one point in a line, with the columns ``COLUMNS``.

    Args:
        path: file to write, usually ``*.csv``.
        branches: branches in RAS mm.

    Raises:
        ValueError: If they are no tree, or none.
    """
    check_vessels(branches, str(path))
    with replacing(path) as temporary, temporary.open("w", encoding="ascii", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for index, branch in enumerate(branches):
            for point, radius in zip(branch.points, branch.radius_mm, strict=True):
                numbers = [f"{value:.4f}" for value in (*point, radius)]
                writer.writerow([index, branch.label, branch.parent, branch.parent_point, *numbers])


def read_cat08(path: Path) -> list[Branch]:
    """Read one vessel of the Rotterdam challenge, ``reference.txt`` or a submission: ``x y z`` and perhaps ``r``.

    Args:
        path: the file; further columns (the observers' uncertainty) are passed over.

    Returns:
        One branch in the frame of the file, which is the world of MetaImage, LPS mm. Radii are 0 without their column.

    Raises:
        ValueError: If a line is no row of three or more numbers.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        table = np.array([line.split() for line in lines], np.float64).reshape(len(lines), -1 if lines else 0)
    except ValueError as error:  # of the text's encoding, too
        raise ValueError(f"{path} must hold numbers in columns, x y z radius: {error}") from error
    if table.shape[1] < 3:
        raise ValueError(
            f"{path} must hold lines of x y z radius, got {table.shape[0]} lines of {table.shape[1]} numbers"
        )
    return [Branch(table[:, :3], table[:, 3] if table.shape[1] > 3 else np.zeros(len(table)), OTHER)]


def write_cat08(path: str | Path, branches: Sequence[Branch]) -> None:
    """Write one vessel (RAS) as a ``reference.txt`` of the Rotterdam challenge: ``x y z radius`` in LPS mm.

    Args:
        path: file to write, usually ``*.txt``.
        branches: branches in RAS mm with one path from root to end; of a tree, take the paths of
            :func:`.tree.root_to_leaf` one by one.

    Raises:
        ValueError: If there is not exactly one vessel.
    """
    check_vessels(branches, str(path))
    if len(branches) != 1:
        raise ValueError(
            f"{path}: the format of CAT08 holds one vessel, but the centerline has {len(leaves(branches))} ends in "
            f"{len(branches)} branches; write the branches of common.centerline.tree.root_to_leaf one by one, or "
            "choose .vtp, .json, .csv, .gml or .mrk.json"
        )
    table = np.column_stack([branches[0].points * [-1, -1, 1], branches[0].radius_mm])
    with replacing(path) as temporary:
        np.savetxt(temporary, table, fmt="%.4f")


def _label_id(text: str) -> int:
    """Return the branch id that a number or a name such as ``LAD`` stands for, that of "other" for anything else."""
    for number, name in BRANCH_LABELS.items():
        if text.strip().lower() in (str(number), name.lower()):
            return number
    return OTHER


def _rows(path: Path) -> tuple[list[str], list[list[str]]]:
    """The names of the columns in lower case, and the other lines."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no text file: {error}") from error
    separator = max(",;\t", key=text.partition("\n")[0].count)
    rows = [row for row in csv.reader(text.splitlines(), delimiter=separator) if any(field.strip() for field in row)]
    if len(rows) < 2:
        raise ValueError(f"{path} holds no point of a centerline: it must have a header line and a line for each point")
    return [name.strip().lower() for name in rows[0]], rows[1:]


def _column(header: list[str], pattern: str) -> int | None:
    return next((index for index, name in enumerate(header) if re.fullmatch(pattern, name)), None)


def _numbers(
    path: Path, header: list[str], rows: list[list[str]], column: int | None, missing: float = 0
) -> NDArray[np.float64]:
    """A column as numbers."""
    if column is None:
        return np.full(len(rows), float(missing))
    try:
        return np.array([float(row[column]) for row in rows])
    except (ValueError, IndexError) as error:
        raise ValueError(f"{path}: the column {header[column]!r} must hold a number in every line: {error}") from error
