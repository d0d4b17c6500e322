"""Lines moved from voxels to the middle of the vessel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from scipy.spatial import KDTree

Line = NDArray[np.float64]


def centred(lines: Sequence[Line], mask_points: NDArray[np.float64], pitch: float) -> list[Line]:
    """Move every point to the middle of its cross-section of the mask.

    Thinning ends on a voxel, up to one beside the middle. Each voxel of the mask belongs to the point nearest to it;
    the mean of these voxels' offsets across the line is how far the point lies off the middle. One voxel and a few
    points are a small cross-section, so the offsets are averaged along the line with a Gaussian.

    Args:
        lines: all lines of the mask, smooth, ``(N, 3)`` mm each.
        mask_points: centres of the mask's voxels, ``(M, 3)`` mm.
        pitch: standard deviation of the Gaussian in points.

    Returns:
        The moved lines.
    """
    points = np.concatenate(lines)
    tangents = np.concatenate([_tangents(line) for line in lines])
    _, nearest = KDTree(points, leafsize=32).query(mask_points)
    offsets = mask_points - points[nearest]
    offsets = offsets - np.sum(offsets * tangents[nearest], axis=1, keepdims=True) * tangents[nearest]
    count = np.bincount(nearest, minlength=len(points)).astype(np.float64)
    sums = np.stack([np.bincount(nearest, offsets[:, axis], minlength=len(points)) for axis in range(3)], axis=1)
    result, start = [], 0
    for line in lines:
        part = slice(start, start + len(line))
        weight = gaussian_filter1d(count[part], pitch, mode="nearest")
        shift = gaussian_filter1d(sums[part], pitch, axis=0, mode="nearest") / np.maximum(weight, 1e-9)[:, None]
        result.append(line + shift)
        start = part.stop
    return result


def _tangents(line: Line) -> NDArray[np.float64]:
    """Return the unit tangents of a line, ``(N, 3)``."""
    along = np.gradient(line, axis=0)
    return np.asarray(along / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9))
