"""Voxel grids in patient space, and painting of solids into them with anti-aliased borders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .shapes import Array

COARSE_MM = 1.7
"""Step at which signed distances are sampled before they are interpolated to voxels."""


@dataclass(frozen=True)
class ScanGrid:
    """Voxels of a scan.

    Attributes:
        shape: voxels along the stored axes.
        affine: voxel index to RAS mm, ``(4, 4)``, as NIfTI stores it.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]

    @property
    def spacing(self) -> NDArray[np.float64]:
        """Edge lengths of a voxel in mm, ``(3,)``."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def factors(self) -> tuple[int, int, int]:
        """Voxels per coarse step along each axis."""
        x, y, z = (max(1, round(COARSE_MM / v)) for v in self.spacing)
        return x, y, z

    def to_patient(self, index: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map voxel indices ``(N, 3)`` to RAS mm."""
        return np.asarray(index @ self.affine[:3, :3].T + self.affine[:3, 3], np.float64)

    def to_index(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map RAS mm ``(N, 3)`` to voxel indices."""
        return np.asarray((points - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T, np.float64)

    def coarse_shape(self) -> tuple[int, int, int]:
        """Points of the coarse grid along each axis; its last point lies on or behind the last voxel."""
        x, y, z = (-(-(n - 1) // f) + 1 for n, f in zip(self.shape, self.factors, strict=True))
        return x, y, z

    def coarse_points(self) -> NDArray[np.float64]:
        """Return the points of the coarse grid in RAS mm, ``(N, 3)``, in C order."""
        axes = [np.arange(n) * f for n, f in zip(self.coarse_shape(), self.factors, strict=True)]
        index = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
        return self.to_patient(index.astype(np.float64))

    def refine(self, coarse: Array, box: tuple[slice, slice, slice]) -> Array:
        """Interpolate a coarse field linearly at the voxels of ``box``."""
        result = coarse
        for axis in range(3):
            n, f = coarse.shape[axis], self.factors[axis]
            at = np.arange(box[axis].start, box[axis].stop) / f
            low = np.minimum(at.astype(int), max(n - 2, 0))
            first, last = int(low[0]), int(min(low[-1] + 2, n))
            weights = np.zeros((len(at), last - first), np.float32)
            rows = np.arange(len(at))
            weights[rows, low - first] = 1 - (at - low)
            if n > 1:
                weights[rows, low - first + 1] += at - low
            part = np.take(result, np.arange(first, last), axis=axis)
            result = np.moveaxis(np.tensordot(weights, part, axes=(1, axis)), 0, axis)
        return np.asarray(result, np.float32)

    def box(self, coarse: Array, limit_mm: float) -> tuple[slice, slice, slice] | None:
        """Return the voxels around all coarse points whose distance is below ``limit_mm``, or None."""
        inside = coarse < limit_mm
        slices = []
        for axis in range(3):
            hit = np.flatnonzero(inside.any(axis=tuple(k for k in range(3) if k != axis)))
            if not len(hit):
                return None
            low, high = max(int(hit[0]) - 1, 0), int(hit[-1]) + 1
            f = self.factors[axis]
            slices.append(slice(low * f, min(high * f + 1, self.shape[axis])))
        return slices[0], slices[1], slices[2]


class Canvas:
    """An image that solids are painted into, later ones over earlier ones, and a label map beside it.

    Args:
        grid: the voxels.
        background_hu: value to begin with.
    """

    def __init__(self, grid: ScanGrid, background_hu: float) -> None:
        self.grid = grid
        self.image = np.full(grid.shape, background_hu, np.float32)
        self.labels = np.zeros(grid.shape, np.uint8)
        self.edge_mm = float(grid.spacing.mean())

    def paint(self, distance: Array, hu: float | Array, label: int | None = None, opacity: float = 1.0) -> None:
        """Paint a solid.

        Args:
            distance: its signed distance on the coarse grid, ``coarse_shape`` in C order, mm.
            hu: its value, or a coarse field of values.
            label: value to set in the label map where the solid fills at least half a voxel; None leaves it.
            opacity: how much of what lies behind is replaced, in [0, 1].
        """
        coarse = distance.reshape(self.grid.coarse_shape())
        box = self.grid.box(coarse, 2 * COARSE_MM)
        if box is None:
            return
        cover = self.grid.refine(coarse, box)
        cover *= -1 / self.edge_mm
        cover += 0.5
        np.clip(cover, 0, 1, out=cover)
        if label is not None:
            self.labels[box][cover >= 0.5] = label
        if opacity < 1:
            cover *= opacity
        value = hu if isinstance(hu, (int, float)) else self.grid.refine(hu.reshape(coarse.shape), box)
        view = self.image[box]
        cover *= value - view
        view += cover
