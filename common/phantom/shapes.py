"""Signed distances of the few solids that a phantom is built from: ellipsoids, tubes and their smooth unions.

Distances are in mm, negative inside. They are exact on the surface and close to it, which is all that anti-aliased
painting needs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Ellipsoid:
    """An axis-aligned egg: an ellipsoid whose third axis may have different lengths to both sides.

    Attributes:
        center: centre in mm, ``(3,)``.
        semi_axes_mm: half lengths along the three axes, the third for coordinates above the centre.
        lower_mm: half length along the third axis below the centre; None means the same as above.
    """

    center: tuple[float, float, float]
    semi_axes_mm: tuple[float, float, float]
    lower_mm: float | None = None

    def distance(self, points: Array) -> Array:
        """Return approximate signed distances of ``points``, ``(N, 3)`` mm, as ``(N,)`` mm."""
        p = points - np.asarray(self.center, np.float32)
        upper = np.float32(self.semi_axes_mm[2])
        third = upper if self.lower_mm is None else np.where(p[:, 2] > 0, upper, np.float32(self.lower_mm))
        a, b = (np.float32(v) for v in self.semi_axes_mm[:2])
        u, v, w = p[:, 0] / a, p[:, 1] / b, p[:, 2] / third
        level = np.sqrt(u * u + v * v + w * w)
        slope = np.sqrt((u / a) ** 2 + (v / b) ** 2 + (w / third) ** 2)
        return np.asarray(level * (level - 1) / np.maximum(slope, 1e-4), np.float32)


@dataclass(frozen=True)
class Tube:
    """A polyline with a radius at every point, its ends rounded.

    Attributes:
        points: ``(N, 3)`` mm.
        radii_mm: ``(N,)`` mm.
    """

    points: NDArray[np.float64]
    radii_mm: NDArray[np.float64]

    def distance(self, points: Array) -> Array:
        """Return signed distances of ``points``, ``(N, 3)`` mm, as ``(N,)`` mm."""
        result = np.full(len(points), np.inf, np.float32)
        starts = self.points.astype(np.float32)
        radii = self.radii_mm.astype(np.float32)
        for start, end, r0, r1 in zip(starts[:-1], starts[1:], radii[:-1], radii[1:], strict=True):
            axis = end - start
            p = points - start
            t = np.clip((p @ axis) / max(float(axis @ axis), 1e-9), 0, 1)
            p -= t[:, None] * axis
            np.minimum(result, np.sqrt(np.einsum("ij,ij->i", p, p)) - (r0 + t * (r1 - r0)), out=result)
        return result


def tube(*stations: tuple[float, float, float, float]) -> Tube:
    """Return the tube through ``stations``, each x, y, z and radius in mm."""
    table = np.asarray(stations, np.float64)
    return Tube(table[:, :3], table[:, 3])


def smooth_union(first: Array, second: Array, width_mm: float) -> Array:
    """Return the signed distance of a union whose crease is filled over about ``width_mm``."""
    overlap = np.maximum(width_mm - np.abs(first - second), 0) / width_mm
    return np.asarray(np.minimum(first, second) - overlap * overlap * (width_mm / 4), np.float32)
