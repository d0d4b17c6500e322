"""Betti numbers of masks: components, tunnels and cavities, with voxels joined by a face, an edge or a corner."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from .voxels import Voxels, all_offsets, connected, face_offsets, joined


class BettiNumbers(NamedTuple):
    """Components, tunnels (loops that cannot be drawn together) and cavities of a mask."""

    components: int
    tunnels: int
    cavities: int


def betti_numbers(voxels: Voxels) -> BettiNumbers:
    """Return the Betti numbers of a mask as a union of closed voxels.

    The mask is 26-connected (8-connected in 2-D), its background 6-connected (4-connected). Tunnels follow from the
    Euler number, which is components - tunnels + cavities. A hole of a 2-D mask is a tunnel; there are no cavities.
    """
    if len(voxels) == 0:
        return BettiNumbers(0, 0, 0)
    components = voxels.components[1]
    cavities = count_cavities(voxels) if voxels.ndim == 3 else 0
    return BettiNumbers(components, components + cavities - euler_number(voxels), cavities)


def euler_number(voxels: Voxels) -> int:
    """Return corners - edges + faces - voxels of a mask as a union of closed voxels (corners - sides + pixels in 2-D).

    A corner, edge or face that several voxels share is counted where it belongs to the first of them.
    """
    before = all_offsets(voxels.ndim)[: (3**voxels.ndim - 1) // 2]
    near = np.zeros(len(voxels), np.int16)
    for bit, offset in enumerate(before):
        near |= voxels.has_neighbour(offset).astype(np.int16) << bit
    total = 0
    for cell in product((-1, 0, 1), repeat=voxels.ndim):  # towards the middle of a corner, edge, face or the voxel
        sharing = product(*({0, side} for side in cell))
        bits = sum(1 << before.index(offset) for offset in sharing if offset in before)
        total += np.count_nonzero(near & np.int16(bits) == 0) * (-1) ** cell.count(0)
    return int(total)


def count_cavities(voxels: Voxels) -> int:
    """Count the parts of the background that a 3-D mask encloses, looking only at background next to the mask.

    The background that touches the mask falls into 6-connected parts. Such a part lines a cavity from inside exactly
    if its first voxel in x has the mask before it: the lining of a cavity begins where the cavity begins, whereas
    the skin of an object begins before the object does.
    """
    shell = voxels.outside(all_offsets(3))
    forward = face_offsets(3)[3:]
    parts, _ = connected(len(shell), np.concatenate([joined(shell, voxels.step(o)) for o in forward], axis=1))
    _, first = np.unique(parts, return_index=True)
    return int(voxels.inside[shell[first] + voxels.step((-1, 0, 0))].sum())
