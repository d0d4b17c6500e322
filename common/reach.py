"""Searches from voxel to voxel of a sparse mask: depth, largest neighbour, steps from a set.

All work on lists over the n voxels of the mask, numbered from 1 in C order; entry 0 stands for the outside.
``voxels``, ``(n + 1,)``, holds the place of each in the flattened volume, ``numbers``, ``(v,)``, the number at each
place (0: not in the mask; the volume has a margin of it). ``steps`` lead from a place to its 8 or 26 neighbours.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def depths(voxels: NDArray[np.int64], numbers: NDArray[np.int32], steps: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the steps from each voxel to the outside, ``(n + 1,)``: 1 at the surface, 0 outside."""
    depth = np.zeros(len(voxels), np.int32)
    inner = np.arange(1, len(voxels))
    depth[1:] = level = 1
    while len(inner):
        places = voxels[inner]
        lowest = depth[inner]
        for step in steps:
            np.minimum(lowest, depth[numbers[places + step]], out=lowest)
        inner = inner[lowest == level]
        level += 1
        depth[inner] = level
    return depth


def largest_around(
    values: NDArray[np.int32],
    chosen: NDArray[np.int64],
    voxels: NDArray[np.int64],
    numbers: NDArray[np.int32],
    steps: NDArray[np.int64],
) -> NDArray[np.int32]:
    """Return the largest of ``values``, ``(n + 1,)``, at and around each of the ``chosen`` voxels, ``(m,)``."""
    places = voxels[chosen]
    largest = values[chosen]
    for step in steps:
        np.maximum(largest, values[numbers[places + step]], out=largest)
    return largest


def distances(
    kept: NDArray[np.bool_], voxels: NDArray[np.int64], numbers: NDArray[np.int32], steps: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return 1 + the steps within the mask from the ``kept`` voxels, ``(n + 1,)``; 0 where none can be reached."""
    distance = np.zeros(len(voxels), np.int32)
    spread(distance, np.flatnonzero(kept), voxels, numbers, steps)
    return distance


def spread(
    distance: NDArray[np.int32],
    front: NDArray[np.int64],
    voxels: NDArray[np.int64],
    numbers: NDArray[np.int32],
    steps: NDArray[np.int64],
) -> None:
    """Lower ``distance``, ``(n + 1,)`` with 0 for unknown, to 1 + the steps from the voxels ``front``, where less."""
    level = 1
    while len(front):
        distance[front] = level
        level += 1
        around = numbers[voxels[front][:, None] + steps]
        known = distance[around]
        front = np.unique(around[(around > 0) & ((known == 0) | (known > level))])
