"""Centerlines as files that other programs read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..files import replacing
from .branch import BRANCH_LABELS, Branch


def write_vtp(path: str | Path, branches: Sequence[Branch]) -> None:
    """Write branches (RAS) as VTK poly-data in LPS, one polyline per branch.

    VMTK and 3D Slicer read the radius from the point array ``MaximumInscribedSphereRadius``. Cell arrays:
    ``BranchLabel`` (id of ImageCAS-X) and ``Parent`` (cell index, -1 at an ostium).

    Args:
        path: file to write, usually ``*.vtp``.
        branches: branches in RAS mm.

    Raises:
        ValueError: If there is no branch.
    """
    if not branches:
        raise ValueError(f"{str(path)!r}: a centerline file needs at least one branch, got none")
    points = np.concatenate([b.points for b in branches]) * [-1, -1, 1]  # RAS -> LPS
    counts = [len(b.points) for b in branches]
    point_data = _array("MaximumInscribedSphereRadius", np.concatenate([b.radius_mm for b in branches]), "Float64")
    cell_data = _array("BranchLabel", np.array([b.label for b in branches]), "Int32") + _array(
        "Parent", np.array([b.parent for b in branches]), "Int32"
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
        path: file to write.
        branches: branches in RAS mm.
    """
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
    with replacing(path) as temporary:
        temporary.write_text(json.dumps({"frame": "RAS", "unit": "mm", "branches": table}), encoding="ascii")


def _array(name: str, values: NDArray[np.generic], kind: str) -> str:
    """Return one VTK XML array in text form."""
    components = f' NumberOfComponents="{values.shape[1]}"' if values.ndim == 2 else ""
    form = "%.5f" if kind.startswith("Float") else "%d"
    text = " ".join(form % v for v in values.ravel())
    return f'<DataArray type="{kind}" Name="{name}"{components} format="ascii">{text}</DataArray>\n'
