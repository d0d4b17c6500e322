"""Dilation by a radius in mm."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def dilate_mm(mask: NDArray[np.bool_], radius_mm: float, spacing: Sequence[float]) -> NDArray[np.bool_]:
    """All voxels whose centre is at most ``radius_mm`` from one of the mask, whatever the shape of a voxel.

    Made for sparse masks: a skeleton becomes a tube, at a cost that follows the skeleton and not the volume.

    Args:
        mask: ``(H, W)`` or ``(X, Y, Z)``.
        radius_mm: radius of the ball in mm, at least 0; 0 returns a copy.
        spacing: mm per voxel, one for each axis.

    Returns:
        Mask of the same shape.

    Raises:
        ValueError: If the radius is negative, or the spacing is not one positive number per axis.
    """
    if radius_mm < 0:
        raise ValueError(f"radius_mm must be at least 0, got {radius_mm}")
    if len(spacing) != mask.ndim or min(spacing) <= 0:
        raise ValueError(
            f"spacing must be {mask.ndim} positive numbers for a mask of {mask.shape}, got {tuple(spacing)}"
        )
    steps = np.asarray(spacing, float)
    # A radius that is a multiple of the spacing would else depend on rounding.
    reach = (radius_mm * (1 + 1e-6) / steps).astype(int)
    ball = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1).reshape(-1, mask.ndim)
    ball = ball[((ball * steps) ** 2).sum(1) <= (radius_mm * (1 + 1e-6)) ** 2]

    dilated = mask.copy()
    points = np.argwhere(mask)
    for offset in ball:
        moved = points + offset
        inside = ((moved >= 0) & (moved < mask.shape)).all(1)
        dilated[tuple(moved[inside].T)] = True
    return dilated
