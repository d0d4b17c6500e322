"""Ordered centerlines in mm with radii, branch names and parents, and the files that other programs read them from."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .files import replacing

BRANCH_LABELS: Mapping[int, str] = {
    1: "LM",
    2: "LAD",
    3: "LCx",
    4: "D1",
    5: "D2",
    6: "OM1",
    7: "OM2",
    8: "IM",
    9: "RCA",
    10: "R-PDA",
    11: "R-PLA",
    12: "L-PDA",
    13: "L-PLA",
    14: "other",
}
"""The branch ids of ImageCAS-X."""


@dataclass(frozen=True)
class Branch:
    """One vessel from its origin to its end.

    Attributes:
        points: centerline in mm, ``(N, 3)``, N >= 2, ordered away from the ostium; RAS unless said otherwise.
        radius_mm: lumen radius at every point, ``(N,)``.
        label: branch id, a key of ``BRANCH_LABELS``.
        parent: index of the parent branch in its list, -1 for a branch that leaves the aorta. A parent comes first.
        parent_point: index of the parent's point that this branch leaves from; -1 without parent.
    """

    points: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    label: int
    parent: int = -1
    parent_point: int = -1

    @property
    def arc_mm(self) -> NDArray[np.float64]:
        """Distance along the branch from its first point, ``(N,)`` mm."""
        return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(self.points, axis=0), axis=1))])

    @property
    def length_mm(self) -> float:
        """Length of the branch in mm."""
        return float(self.arc_mm[-1])


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
