"""Centerlines as files that other programs read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..files import replacing
from .branch import BRANCH_LABELS, Branch
from .gml_files import write_gml
from .json_files import write_markups
from .table_files import write_cat08, write_csv
from .tree import check_tree, check_vessels


def write_centerline(path: str | Path, branches: Sequence[Branch]) -> None:
    """Write branches in the format that the suffix of ``path`` names.

    Args:
        path: file to write: ``.vtp``, ``.gml``, ``.csv``, ``.mrk.json``, ``.json``, or ``.txt`` for a single vessel.
        branches: branches in RAS mm.

    Raises:
        ValueError: If the suffix is another one, or the format cannot hold these branches.
        OSError: If the file cannot be written.
    """
    writer_of(path)(path, branches)


def writer_of(path: str | Path) -> Callable[[str | Path, Sequence[Branch]], None]:
    """Return the writer for the suffix of ``path``; raise a ``ValueError`` that lists the suffixes if there is none."""
    for suffix, writer in WRITERS.items():
        if Path(path).name.lower().endswith(suffix):
            return writer
    raise ValueError(f"{path}: the suffix of a centerline file must be one of {', '.join(WRITERS)}")


def write_vtp(path: str | Path, branches: Sequence[Branch]) -> None:
    """Write branches (RAS) as VTK poly-data in LPS, one polyline per branch.

    VMTK and 3D Slicer read the radius from the point array ``MaximumInscribedSphereRadius``. Cell arrays:
    ``BranchLabel`` (id of ImageCAS-X), ``Parent`` (cell index, -1 at an ostium) and ``ParentPoint`` (which of the
    parent's points the branch leaves from, -1 at an ostium). The file is text, so that writing it does not need VTK.

    Args:
        path: file to write, usually ``*.vtp``.
        branches: branches in RAS mm.

    Raises:
        ValueError: If they are no tree, or none.
    """
    check_vessels(branches, str(path))
    points = np.concatenate([b.points for b in branches]) * [-1, -1, 1]  # RAS -> LPS
    counts = [len(b.points) for b in branches]
    point_data = _array("MaximumInscribedSphereRadius", np.concatenate([b.radius_mm for b in branches]), "Float64")
    cells = {"BranchLabel": "label", "Parent": "parent", "ParentPoint": "parent_point"}
    cell_data = "".join(
        _array(name, np.array([getattr(b, field) for b in branches]), "Int32") for name, field in cells.items()
    )
    lines = _array("connectivity", np.arange(sum(counts)), "Int64") + _array("offsets", np.cumsum(counts), "Int64")
    none = _array("connectivity", np.array([], int), "Int64") + _array("offsets", np.array([], int), "Int64")
    empty = "".join(f"<{kind}>{none}</{kind}>" for kind in ("Verts", "Strips", "Polys"))
    text = (
        '<?xml version="1.0"?>\n<!-- coordinates: LPS, mm -->\n'
        '<VTKFile type="PolyData" version="1.0" byte_order="LittleEndian" header_type="UInt64">\n<PolyData>\n'
        f'<Piece NumberOfPoints="{sum(counts)}" NumberOfVerts="0" NumberOfLines="{len(counts)}" NumberOfStrips="0" '
        'NumberOfPolys="0">\n'
        f'<PointData Scalars="MaximumInscribedSphereRadius">{point_data}</PointData>\n'
        f"<CellData>{cell_data}</CellData>\n"
        f"<Points>{_array('Points', points, 'Float64')}</Points>\n<Lines>{lines}</Lines>\n{empty}\n"
        "</Piece>\n</PolyData>\n</VTKFile>\n"
    )
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="ascii")


def write_json(path: str | Path, branches: Sequence[Branch]) -> None:
    """Write branches (RAS mm) as JSON that declares its frame and unit.

    Args:
        path: file to write, usually ``*.json``.
        branches: branches in RAS mm; none is a legal, empty centerline.

    Raises:
        ValueError: If they are no tree.
    """
    check_tree(branches, str(path))
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(centerline_record(branches)), encoding="ascii")


def centerline_record(branches: Sequence[Branch]) -> dict[str, Any]:
    """Return what :func:`write_json` writes, for records that hold a centerline among other things."""
    table = [
        {
            "label": b.label,
            "name": BRANCH_LABELS.get(b.label, str(b.label)),
            "parent": b.parent,
            "parent_point": b.parent_point,
            "points": np.round(b.points, 4).tolist(),
            "radius_mm": np.round(b.radius_mm, 4).tolist(),
        }
        for b in branches
    ]
    return {"frame": "RAS", "unit": "mm", "branches": table}


WRITERS: Mapping[str, Callable[[str | Path, Sequence[Branch]], None]] = {
    ".vtp": write_vtp,
    ".gml": write_gml,
    ".csv": write_csv,
    ".txt": write_cat08,
    ".mrk.json": write_markups,
    ".json": write_json,
}
"""Writers by suffix, a longer suffix before its own end."""


def _array(name: str, values: NDArray[np.generic], kind: str) -> str:
    """Return one VTK XML array in text form."""
    components = f' NumberOfComponents="{values.shape[1]}"' if values.ndim == 2 else ""
    form = "%.5f" if kind.startswith("Float") else "%d"
    text = " ".join(form % v for v in values.ravel())
    return f'<DataArray type="{kind}" Name="{name}"{components} format="ascii">{text}</DataArray>\n'
