"""Betti numbers of masks: components, tunnels and cavities, with voxels joined by a face, an edge or a corner."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from .components import label_components
from .voxels import Voxels, all_offsets, find


class BettiNumbers(NamedTuple):
    """Components, tunnels (loops that cannot be drawn together) and cavities of a mask."""

    components: int
    tunnels: int
    cavities: int


def betti_numbers(mask: NDArray[np.bool_], components: int | None = None) -> BettiNumbers:
    """Return the Betti numbers of a mask as a union of closed voxels.

    The mask is 26-connected (8-connected in 2-D), its background 6-connected (4-connected). Tunnels follow from the
    Euler number, which is components - tunnels + cavities.

    Args:
        mask: ``(H, W)`` or ``(X, Y, Z)``; a hole of a 2-D mask is a tunnel, and there are no cavities.
        components: number of components where it is known already.
    """
    if components is None:
        components = label_components(mask)[1]
    voxels = Voxels(mask)
    cavities = _count_cavities(voxels) if mask.ndim == 3 else 0
    return BettiNumbers(components, components + cavities - _euler_number(voxels), cavities)


def euler_number(mask: NDArray[np.bool_]) -> int:
    """Return corners - edges + faces - voxels of a mask as a union of closed voxels (corners - sides + pixels in 2-D).

    Args:
        mask: ``(H, W)`` or ``(X, Y, Z)``.
    """
    return _euler_number(Voxels(mask))


def _euler_number(voxels: Voxels) -> int:
    """Count each corner, edge and face where it belongs to the first of the voxels that share it."""
    before = all_offsets(voxels.ndim)[: (3**voxels.ndim - 1) // 2]
    near = np.zeros(len(voxels.places), np.int16)
    for bit, offset in enumerate(before):
        near |= voxels.has_neighbour(offset).astype(np.int16) << bit
    total = 0
    for cell in product((-1, 0, 1), repeat=voxels.ndim):  # towards the middle of a corner, edge, face or the voxel
        sharing = product(*({0, side} for side in cell))
        bits = sum(1 << before.index(offset) for offset in sharing if offset in before)
        counted = int(np.count_nonzero(near & np.int16(bits) == 0))
        total += counted * (-1) ** cell.count(0)
    return total


def _count_cavities(voxels: Voxels) -> int:
    """Count the parts of the background that the mask encloses, looking only at background next to the mask.

    The background that touches the mask falls into 6-connected parts. Such a part lines a cavity from inside exactly
    if its first voxel in x has the mask before it: the lining of a cavity begins where the cavity begins, whereas
    the skin of an object begins before the object does.
    """
    shell = voxels.outside(all_offsets(voxels.ndim))
    if len(shell) == 0:
        return 0
    pairs = []
    for offset in ((1, 0, 0), (0, 1, 0), (0, 0, 1)):
        neighbours = find(shell, shell + voxels.step(offset))
        joined = np.flatnonzero(neighbours >= 0)
        pairs.append(np.stack([joined, neighbours[joined]]))
    rows, columns = np.concatenate(pairs, axis=1)
    graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=(len(shell),) * 2)
    _, parts = connected_components(graph, directed=False)
    _, first = np.unique(parts, return_index=True)
    return int(voxels.inside[shell[first] + voxels.step((-1, 0, 0))].sum())
