"""Searches from voxel to voxel of a sparse mask: the functions of the module of the same name outside this folder."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiling import kernel


@kernel
def neighbours_of(places: NDArray[np.int64], steps: NDArray[np.int64]) -> NDArray[np.int32]:
    """Find the neighbours of voxels: their numbers, ``(n + 1, number of steps)``; 0 for none and in row 0."""
    columns = len(steps)
    table = np.zeros((len(places) + 1, columns), np.int32)
    reached = np.zeros(columns // 2, np.int64)  # places ascend, so each search goes on where it was
    for number in range(len(places)):
        for column in range(columns // 2):
            wanted = places[number] + steps[column]
            while places[reached[column]] < wanted:  # ends before `number`: these steps lead back
                reached[column] += 1
            other = reached[column]
            if places[other] == wanted:
                table[number + 1, column] = other + 1
                table[other + 1, columns - 1 - column] = number + 1
    return table


@kernel
def depths(neighbours: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the steps from each voxel to the outside: 1 at the surface, 0 outside."""
    depth = np.ones(len(neighbours), np.int32)
    depth[0] = 0
    inner = np.arange(1, len(neighbours))
    level = 1
    while len(inner):
        count = 0
        for number in inner:
            enclosed = True
            for other in neighbours[number]:
                if depth[other] < level:
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
    values: NDArray[np.int32], chosen: NDArray[np.int64], neighbours: NDArray[np.int32]
) -> NDArray[np.int32]:
    """Return the largest of ``values`` at and around each of the ``chosen`` voxels, ``(m,)``."""
    largest = values[chosen]
    for row in range(len(chosen)):
        for other in neighbours[chosen[row]]:
            largest[row] = max(largest[row], values[other])
    return largest


@kernel
def distances(kept: NDArray[np.bool_], neighbours: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return 1 + the steps within the mask from the ``kept`` voxels; 0 where none of them can be reached."""
    distance = np.zeros(len(neighbours), np.int32)
    distance[kept] = level = 1
    rest = np.flatnonzero(distance == 0)[1:]
    reached = True
    while reached:  # to ask the rest in memory order is 10 times faster than to go on from the last that were reached
        reached = False
        count = 0
        for number in rest:
            near = False
            for other in neighbours[number]:
                if distance[other] == level:
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
def spread(distance: NDArray[np.int32], front: NDArray[np.int64], neighbours: NDArray[np.int32]) -> None:
    """Lower ``distance``, where 0 means unknown, in place to 1 + the steps from the voxels ``front``, where less."""
    distance[front] = level = 1
    reached = np.empty(64 + 2 * len(front), np.int64)
    while len(front):
        level += 1
        count = 0
        for number in front:
            for other in neighbours[number]:
                if other > 0 and (distance[other] == 0 or distance[other] > level):
                    distance[other] = level
                    if count == len(reached):
                        reached = np.concatenate((reached, np.empty_like(reached)))
                    reached[count] = other
                    count += 1
        front = reached[:count].copy()
