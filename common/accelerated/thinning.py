"""Thinning of a sparse 3-D mask over the list of its foreground voxels, with scikit-image's result."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compiling import kernel

OFFSETS = np.array(
    [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) != (0, 0, 0)], np.int64
)
SIDES = np.array([10, 15, 13, 12, 21, 4], np.int64)  # -y +y +z -z +x -x: the order in which scikit-image peels them


def _adjacency() -> NDArray[np.int64]:
    """Bit mask of the neighbours that are neighbours of each neighbour."""
    near = np.abs(OFFSETS[:, None] - OFFSETS[None]).max(-1) <= 1
    return np.asarray((near * (1 << np.arange(26))).sum(1))


def _octants() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Neighbours of each octant as bit numbers, and by how much a full centre changes 8 x the Euler number.

    A closed cube, each of its faces, edges and corners belongs to the octants it touches in equal shares.
    """
    numbers = {tuple(offset): number for number, offset in enumerate(OFFSETS.tolist())}
    corners = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]  # the first is the centre itself
    bits = [
        [numbers[sx * x, sy * y, sz * z] for x, y, z in corners[1:]]
        for sx in (-1, 1)
        for sy in (-1, 1)
        for sz in (-1, 1)
    ]
    table = []
    for code in range(128):
        others = {corners[1 + bit] for bit in range(7) if code >> bit & 1}
        table.append(_euler_share({*others, (0, 0, 0)}) - _euler_share(others))
    return np.array(bits, np.int64), np.array(table, np.int64)


def _euler_share(full: set[tuple[int, int, int]]) -> int:
    """8 x what a 2 x 2 x 2 block adds to the Euler number of the union of its closed cubes."""
    if not full:
        return 0
    edges = {(axis, voxel[axis]) for voxel in full for axis in range(3)}  # half edges, at the block's middle point
    faces = {
        (axis, *(voxel[other] for other in range(3) if other != axis)) for voxel in full for axis in range(3)
    }  # quarter faces
    return 8 - 4 * len(edges) + 2 * len(faces) - len(full)


ADJACENCY = _adjacency()
OCTANT_BITS, OCTANT_CHANGE = _octants()


@kernel
def thin(neighbours: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Tell which voxels are left when a mask, numbered as in :mod:`.reach`, is thinned, ``(n + 1,)``."""
    left = np.ones(len(neighbours), np.bool_)
    left[0] = False
    voxels = np.arange(1, len(neighbours))
    candidates = np.empty(len(neighbours), np.int64)
    unchanged = 0
    while unchanged < 6:
        unchanged = 0
        for side in SIDES:
            found = 0
            for voxel in voxels:
                if left[voxel] and not left[neighbours[voxel, side]]:
                    near = _full_neighbours(left, neighbours[voxel])
                    if near & (near - 1) and _keeps_euler(near) and _is_simple(near):
                        candidates[found] = voxel
                        found += 1
            changed = False
            for voxel in candidates[:found]:  # again, one after another: earlier ones may have changed the surroundings
                if _is_simple(_full_neighbours(left, neighbours[voxel])):
                    left[voxel] = False
                    changed = True
            unchanged += not changed
        voxels = voxels[left[voxels]]
    return left


@kernel
def _full_neighbours(left: NDArray[np.bool_], numbers: NDArray[np.int32]) -> np.int64:
    """Return as bits which of the voxels ``numbers``, ``(26,)``, are left."""
    near = np.int64(0)
    for bit in range(26):
        near |= np.int64(left[numbers[bit]]) << bit
    return near


@kernel
def _keeps_euler(near: np.int64) -> bool:
    """Tell whether removing the centre leaves the Euler number as it is. A lone end (one neighbour) is kept before."""
    change = 0
    for octant in range(8):
        code = 0
        for place in range(7):
            code |= (near >> OCTANT_BITS[octant, place] & 1) << place
        change += OCTANT_CHANGE[code]
    return change == 0


@kernel
def _is_simple(near: np.int64) -> bool:
    """Tell whether the full neighbours hang together without the centre; none at all counts as together."""
    if near == 0:
        return True
    part = near & -near
    while True:
        grown = part
        rest = part
        for number in range(26):
            if rest >> number & 1:
                grown |= ADJACENCY[number] & near
        if grown == part:
            return bool(part == near)
        part = grown
