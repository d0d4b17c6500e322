"""A signed distance sampled once on a coarse grid, so that thousands of small look-ups are cheap."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates, spline_filter

from .shapes import Array


class SurfaceGrid:
    """A smooth surface around the heart, sampled from a signed distance in the heart frame.

    Args:
        distance: signed distance of ``(N, 3)`` points in mm.
        scale: size of the heart relative to the average.
        step_mm: grid step; the surface is smooth at this scale.
    """

    def __init__(self, distance: Callable[[Array], Array], scale: float, step_mm: float = 4.0) -> None:
        self.low = np.array([-64.0, -56.0, -52.0]) * scale
        self.step_mm = step_mm
        high = np.array([64.0, 58.0, 100.0]) * scale
        axes = [np.arange(a, b + step_mm, step_mm, dtype=np.float32) for a, b in zip(self.low, high, strict=True)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
        values = distance(grid.reshape(-1, 3)).reshape(grid.shape[:3])
        self.coefficients = spline_filter(values, order=3, output=np.float64)

    def __call__(self, points: NDArray[np.float32]) -> Array:
        """Return interpolated signed distances of heart-frame points, ``(N, 3)`` mm, as ``(N,)`` mm."""
        index = ((points - self.low) / self.step_mm).T
        return np.asarray(
            map_coordinates(self.coefficients, index, order=3, mode="nearest", prefilter=False), np.float32
        )
