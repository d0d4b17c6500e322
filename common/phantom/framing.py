"""Where a scan looks: spacing, field of view and orientation matrix, as scanners write them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from .canvas import ScanGrid

ORIENTATIONS = ("LPS", "LAS", "RAS", "LPI")
"""Drawn orders of the stored axes; letters name the side that an axis points to, as in nibabel."""

_MARGIN_MM = np.array([25.0, 20.0, 12.0])
_DIRECTIONS = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}


def draw_grid(
    points: NDArray[np.float64],
    rng: np.random.Generator,
    shape: tuple[int, int, int] | None = None,
    spacing: tuple[float, float, float] | None = None,
    orientation: str | None = None,
    in_plane_mm: tuple[float, float] = (0.33, 0.45),
    between_mm: Sequence[float] = (0.4, 0.45, 0.5),
    tilted: bool = True,
) -> ScanGrid:
    """Draw the voxel grid of a scan of the heart.

    Args:
        points: centerline points of the coronary arteries in RAS mm, ``(N, 3)``.
        rng: source of all randomness; the same draws are made whatever the other arguments are.
        shape: voxels along the stored axes; None for a field of view that holds the heart.
        spacing: mm per voxel along the stored axes; None draws from ``in_plane_mm`` and ``between_mm``.
        orientation: three letters for the directions of the stored axes; None draws one.
        in_plane_mm: range of the drawn spacing in the slice.
        between_mm: drawn distances of the slices.
        tilted: turn every third scan by a few degrees; otherwise slices are axial.

    Returns:
        The grid; a volume smaller than the heart is placed to hold as much of the arteries as possible.
    """
    in_plane, between = float(np.round(rng.uniform(*in_plane_mm), 3)), float(rng.choice(between_mm))
    drawn = str(rng.choice(ORIENTATIONS, p=[0.5, 0.2, 0.2, 0.1]))
    tilt_deg = rng.normal(0, 3, 3) if rng.random() < 0.35 else np.zeros(3)
    jitter = rng.uniform(-4, 4, 3)
    letters = orientation or drawn
    axes = np.stack([_DIRECTIONS[v][1] * np.eye(3)[_DIRECTIONS[v][0]] for v in letters], axis=1)
    axes = Rotation.from_euler("xyz", tilt_deg * tilted, degrees=True).as_matrix() @ axes
    world = [_DIRECTIONS[v][0] for v in letters]
    sizes = np.array([(in_plane, in_plane, between)[k] for k in world] if spacing is None else spacing, np.float64)
    turned = points @ axes
    low, high = turned.min(axis=0), turned.max(axis=0)
    if shape is None:
        x, y, z = np.ceil((high - low + 2 * _MARGIN_MM[world]) / sizes / 8).astype(int) * 8
        shape = (int(x), int(y), int(z))
    edges = (np.array(shape) - 1) * sizes
    center = _best_center(turned, edges) + np.where(edges > high - low + 16, jitter, 0)  # no two scans centred alike
    affine = np.eye(4)
    affine[:3, :3] = axes * sizes
    affine[:3, 3] = axes @ (center - edges / 2)
    return ScanGrid(shape, affine)


def _best_center(points: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the centre of the box with these edges that holds most points."""
    low, high = points.min(axis=0), points.max(axis=0)
    middle = (low + high) / 2
    candidates = np.where(edges >= high - low, middle, np.clip(points[::8], low + edges / 2, high - edges / 2))
    inside = np.array([(np.abs(points - c) <= edges / 2).all(axis=1).sum() for c in candidates])
    return np.asarray(candidates[int(np.argmax(inside))])
