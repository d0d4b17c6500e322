"""Lines through voxel centres made smooth, with equal steps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d


def arc_length(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance along a line ``(N, 3)`` from its first point, ``(N,)``."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def resample(points: NDArray[np.float64], step_mm: float) -> NDArray[np.float64]:
    """Return points at equal distances of about ``step_mm`` along a line, the first and the last among them."""
    arc = arc_length(points)
    at = np.linspace(0, arc[-1], max(2, round(arc[-1] / step_mm) + 1))
    return np.stack([np.interp(at, arc, points[:, axis]) for axis in range(3)], axis=1)


def smooth(points: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Smooth a line of equal steps with a Gaussian of ``sigma`` steps; both ends stay where they are."""
    width = int(np.ceil(4 * sigma))
    padded = np.pad(points, ((width, width), (0, 0)), mode="reflect", reflect_type="odd")
    return np.asarray(gaussian_filter1d(padded, sigma, axis=0, mode="nearest")[width:-width])
