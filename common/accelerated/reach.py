"""Searches from voxel to voxel of a sparse mask: the functions of the module of the same name outside this folder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiling import kernel


@kernel
def depths(voxels: NDArray[np.int64], numbers: NDArray[np.int32], steps: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return the steps from each voxel to the outside, ``(n + 1,)``: 1 at the surface, 0 outside."""
    depth = np.ones(len(voxels), np.int32)
    depth[0] = 0
    inner = np.arange(1, len(voxels))
    level = 1
    while len(inner):
        count = 0
        for number in inner:
            enclosed = True
            for step in steps:
                if depth[numbers[voxels[number] + step]] < level:
                    enclosed = False
                    break
            if enclosed:
                inner[count] = number
                count += 1
        inner = inner[:count]
        level += 1
        for number in inner:
            depth[number] = level
    return depth


@kernel
def largest_around(
    values: NDArray[np.int32],
    chosen: NDArray[np.int64],
    voxels: NDArray[np.int64],
    numbers: NDArray[np.int32],
    steps: NDArray[np.int64],
) -> NDArray[np.int32]:
    """Return the largest of ``values``, ``(n + 1,)``, at and around each of the ``chosen`` voxels, ``(m,)``."""
    largest = values[chosen]
    for row in range(len(chosen)):
        place = voxels[chosen[row]]
        for step in steps:
            largest[row] = max(largest[row], values[numbers[place + step]])
    return largest


@kernel
def distances(
    kept: NDArray[np.bool_], voxels: NDArray[np.int64], numbers: NDArray[np.int32], steps: NDArray[np.int64]
) -> NDArray[np.int32]:
    """Return 1 + the steps within the mask from the ``kept`` voxels, ``(n + 1,)``; 0 where none can be reached."""
    distance = np.zeros(len(voxels), np.int32)
    distance[kept] = level = 1
    rest = np.flatnonzero(distance == 0)[1:]
    reached = True
    while reached:  # to ask the rest in memory order is 10 times faster than to go on from the last that were reached
        reached = False
        count = 0
        for number in rest:
            near = False
            for step in steps:
                if distance[numbers[voxels[number] + step]] == level:
                    near = True
                    break
            if near:
                distance[number] = level + 1
                reached = True
            else:
                rest[count] = number
                count += 1
        rest = rest[:count]
        level += 1
    return distance


@kernel
def spread(
    distance: NDArray[np.int32],
    front: NDArray[np.int64],
    voxels: NDArray[np.int64],
    numbers: NDArray[np.int32],
    steps: NDArray[np.int64],
) -> None:
    """Lower ``distance``, ``(n + 1,)`` with 0 for unknown, to 1 + the steps from the voxels ``front``, where less."""
    distance[front] = level = 1
    reached = np.empty(64 + 2 * len(front), np.int64)
    while len(front):
        level += 1
        count = 0
        for voxel in front:
            for step in steps:
                number = numbers[voxels[voxel] + step]
                if number > 0 and (distance[number] == 0 or distance[number] > level):
                    distance[number] = level
                    if count == len(reached):
                        reached = np.concatenate((reached, np.empty_like(reached)))
                    reached[count] = number
                    count += 1
        front = reached[:count].copy()
