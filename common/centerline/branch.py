"""Ordered centerlines in mm: branches with radii, names and parents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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
