"""Centerlines as voxels: the input channel of a network, on whatever grid it looks at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .branch import Branch

_STEP = (
    0.5  # voxels between samples of a line: neighbours then touch, and no voxel with a fair share of it is passed by
)


def round_half_up(values: ArrayLike) -> NDArray[np.int64]:
    """Round to the nearest integer, halves upwards: 0.5 to 1, 2.5 to 3, -0.5 to 0; ``numpy.round`` goes to the even.

    Args:
        values: any shape.

    Returns:
        Integers of the same shape.
    """
    values = np.asarray(values, dtype=np.float64)
    below = np.floor(values)
    return np.asarray(below + (values - below >= 0.5), dtype=np.int64)  # not floor(v + 0.5): that sum is rounded too


def to_voxels(points_mm: NDArray[np.float64], affine: ArrayLike) -> NDArray[np.float64]:
    """Voxel coordinates of points in RAS mm.

    Args:
        points_mm: ``(N, 3)``.
        affine: voxel to RAS mm, ``(4, 4)``.

    Returns:
        ``(N, 3)``; a voxel's centre has integer coordinates.
    """
    inverse = np.linalg.inv(np.asarray(affine, dtype=np.float64))
    return np.asarray(points_mm @ inverse[:3, :3].T + inverse[:3, 3])


def line_voxels(branches: Sequence[Branch], shape: Sequence[int], affine: ArrayLike) -> NDArray[np.int64]:
    """Voxels that the lines between the consecutive points of each branch run through, without holes.

    Each line is sampled twice per voxel and rounded half up, so that successive voxels touch at a face, an edge or a
    corner. What lies outside the grid is left out: a patch shows a part of the tree. Only lines near the grid are
    sampled, so a patch costs little however large the tree is.

    Args:
        branches: in RAS mm.
        shape: voxels of the grid, ``(X, Y, Z)``.
        affine: voxel to RAS mm of that grid, ``(4, 4)``.

    Returns:
        ``(N, 3)``, each voxel once.

    Raises:
        ValueError: If shape and affine are not those of a volume.
    """
    size, matrix = _checked(shape, affine)
    return _inside(_near_voxels(branches, matrix, np.full(3, -0.5), size - 0.5), size)


def draw_centerline(
    branches: Sequence[Branch], shape: Sequence[int], affine: ArrayLike, radius_mm: float = 0.0
) -> NDArray[np.uint8]:
    """Draw a centerline: :func:`line_voxels` as a volume.

    Args:
        branches: in RAS mm; none draws nothing.
        shape: voxels of the grid, ``(X, Y, Z)``.
        affine: voxel to RAS mm of that grid, ``(4, 4)``.
        radius_mm: all voxels whose centres are this near to one of the line are drawn too; 0 keeps the line thin.

    Returns:
        0 and 1, of the given shape.

    Raises:
        ValueError: If the radius is negative, or shape and affine are not those of a volume.
    """
    if radius_mm < 0:
        raise ValueError(f"radius_mm must be at least 0, got {radius_mm}")
    size, matrix = _checked(shape, affine)
    volume = np.zeros(tuple(shape), dtype=np.uint8)
    ball = _ball(radius_mm, matrix)
    reach = np.abs(ball).max(axis=0)  # a line outside the grid can have its tube inside
    voxels = _near_voxels(branches, matrix, -reach - 0.5, size + reach - 0.5)
    for offset in ball:
        volume[tuple(_inside(voxels + offset, size).T)] = 1
    return volume


def _checked(shape: Sequence[int], affine: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return shape and affine as arrays, if they are those of a volume."""
    matrix = np.asarray(affine, dtype=np.float64)
    if len(shape) != 3 or matrix.shape != (4, 4):
        raise ValueError(
            f"a centerline needs the grid of a volume: a shape of 3 axes and an affine of (4, 4), "
            f"got {tuple(shape)} and {matrix.shape}"
        )
    return np.asarray(shape, dtype=np.int64), matrix


def _inside(voxels: NDArray[np.int64], size: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those voxels that lie in the grid."""
    return voxels[((voxels >= 0) & (voxels < size)).all(axis=1)]


def _near_voxels(
    branches: Sequence[Branch], affine: NDArray[np.float64], low: NDArray[Any], high: NDArray[Any]
) -> NDArray[np.int64]:
    """Voxels under the lines that come near the box from ``low`` to ``high``, ``(N, 3)``, each once."""
    if not branches:
        return np.zeros((0, 3), dtype=np.int64)
    points = to_voxels(np.concatenate([branch.points for branch in branches]), affine)
    ends = np.cumsum([len(branch.points) for branch in branches]) - 1  # the last point of each branch
    start = np.delete(np.arange(len(points)), ends)
    first, last = points[start], points[start + 1]
    near = ((np.maximum(first, last) >= low) & (np.minimum(first, last) <= high)).all(axis=1)
    first, last = first[near], last[near]
    step = last - first

    samples = np.maximum(np.ceil(np.abs(step).max(axis=1, initial=0) / _STEP).astype(int), 1)  # on each line
    line = np.repeat(np.arange(len(first)), samples)
    number = np.arange(len(line)) - np.repeat(np.cumsum(samples) - samples, samples)  # 0, 1, ... on each line
    along = first[line] + step[line] * (number / samples[line])[:, None]
    return np.unique(round_half_up(np.concatenate([along, last])), axis=0)


def _ball(radius_mm: float, affine: NDArray[np.float64]) -> NDArray[np.int64]:
    """Offsets in voxels, ``(N, 3)``, that are at most ``radius_mm`` long; the zero offset among them."""
    matrix = affine[:3, :3]
    # the rows of the inverse bound each index on a ball of any sheared grid; the factor forgives rounding
    reach = (radius_mm * (1 + 1e-6) * np.linalg.norm(np.linalg.inv(matrix), axis=1)).astype(int)
    grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(grid[np.linalg.norm(grid @ matrix.T, axis=1) <= radius_mm * (1 + 1e-6)])
