"""Searches from voxel to voxel of a sparse mask: neighbours, depth, largest neighbour, steps from a set.

The n voxels of a mask are numbered from 1 in C order; 0 stands for the outside. ``neighbours``, ``(n + 1, 26)`` (8 in
2-D), holds the numbers of each one's neighbours in C order; other arrays have one entry for each number, ``(n + 1,)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.int32]


def neighbours_of(places: NDArray[np.int64], steps: NDArray[np.int64]) -> Table:
    """Find the neighbours of voxels.

    Args:
        places: of the voxels in a flattened array, ascending, ``(n,)``.
        steps: from a place to its neighbours, ascending; the last ones are the opposites of the first.

    Returns:
        Numbers of the neighbours, ``(n + 1, number of steps)``; 0 for none and in row 0.
    """
    table = np.zeros((len(places) + 1, len(steps)), np.int32)
    for column, step in enumerate(steps[: len(steps) // 2]):
        found = np.minimum(np.searchsorted(places, places + step), len(places) - 1)
        numbers = np.flatnonzero(places[found] == places + step)
        table[1 + numbers, column] = 1 + found[numbers]
        table[1 + found[numbers], len(steps) - 1 - column] = 1 + numbers
    return table


def depths(neighbours: Table) -> NDArray[np.int32]:
    """Return the steps from each voxel to the outside: 1 at the surface, 0 outside."""
    depth = np.zeros(len(neighbours), np.int32)
    inner = np.arange(1, len(neighbours))
    depth[1:] = level = 1
    while len(inner):
        inner = inner[depth[neighbours[inner]].min(1) == level]
        level += 1
        depth[inner] = level
    return depth


def largest_around(values: NDArray[np.int32], chosen: NDArray[np.int64], neighbours: Table) -> NDArray[np.int32]:
    """Return the largest of ``values`` at and around each of the ``chosen`` voxels, ``(m,)``."""
    return np.asarray(np.maximum(values[chosen], values[neighbours[chosen]].max(1)))


def distances(kept: NDArray[np.bool_], neighbours: Table) -> NDArray[np.int32]:
    """Return 1 + the steps within the mask from the ``kept`` voxels; 0 where none of them can be reached."""
    distance = np.zeros(len(neighbours), np.int32)
    spread(distance, np.flatnonzero(kept), neighbours)
    return distance


def spread(distance: NDArray[np.int32], front: NDArray[np.int64], neighbours: Table) -> None:
    """Lower ``distance``, where 0 means unknown, in place to 1 + the steps from the voxels ``front``, where less."""
    level = 1
    while len(front):
        distance[front] = level
        level += 1
        around = neighbours[front]
        known = distance[around]
        front = np.unique(around[(around > 0) & ((known == 0) | (known > level))])
