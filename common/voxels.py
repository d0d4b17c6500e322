"""A sparse mask as the list of its voxels, whose neighbours are looked up by one addition."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np
from numpy.typing import NDArray

MARGIN = 2  # voxels of background around the mask; a neighbour's neighbour is still inside


class Voxels:
    """The voxels of a mask and what is around them; work grows with their number, not with the volume.

    Args:
        mask: ``(H, W)`` or ``(X, Y, Z)``; what lies outside the array counts as background.

    Attributes:
        ndim: number of axes.
        inside: the mask with a margin of background, flattened in C order.
        places: where ``inside`` is true, ``(n,)``, ascending.
    """

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        padded = np.pad(np.asarray(mask, dtype=bool), MARGIN)
        self.ndim = padded.ndim
        self.inside = padded.reshape(-1)
        self.places = np.flatnonzero(self.inside)
        self._shape = padded.shape
        self._strides = [int(np.prod(padded.shape[axis + 1 :])) for axis in range(padded.ndim)]

    def step(self, offset: Sequence[int]) -> int:
        """Return what is added to a place to go by ``offset``, one whole number for each axis."""
        return sum(stride * along for stride, along in zip(self._strides, offset, strict=True))

    def has_neighbour(self, offset: Sequence[int]) -> NDArray[np.bool_]:
        """Tell for each voxel whether the one at ``offset`` belongs to the mask as well, ``(n,)``."""
        return self.inside[self.places + self.step(offset)]

    def index(self, places: NDArray[np.int_]) -> NDArray[np.int_]:
        """Return the indices of ``places``, ``(m,)``, in the mask without margin, ``(m, axes)``."""
        return np.stack(np.unravel_index(places, self._shape), axis=1) - MARGIN

    def surface(self) -> NDArray[np.int_]:
        """Return the places of the voxels that have a face in common with the background, ``(m,)``."""
        enclosed = np.ones(len(self.places), bool)
        for offset in face_offsets(self.ndim):
            enclosed &= self.has_neighbour(offset)
        return self.places[~enclosed]

    def outside(self, offsets: Sequence[Sequence[int]]) -> NDArray[np.int_]:
        """Return the places of the background that one of ``offsets`` leads to from the mask, ``(m,)``, ascending."""
        reached = np.zeros_like(self.inside)
        for offset in offsets:
            reached[self.places + self.step(offset)] = True
        reached[self.places] = False
        return np.flatnonzero(reached)


def face_offsets(ndim: int) -> list[tuple[int, ...]]:
    """Return the offsets to the neighbours that share a face (in 2-D a side), 2 for each axis."""
    return [offset for offset in all_offsets(ndim) if sum(map(abs, offset)) == 1]


def all_offsets(ndim: int) -> list[tuple[int, ...]]:
    """Return the offsets to the neighbours that share a face, an edge or a corner, in C order."""
    return [offset for offset in product((-1, 0, 1), repeat=ndim) if any(offset)]


def find(places: NDArray[np.int_], wanted: NDArray[np.int_]) -> NDArray[np.int_]:
    """Return where each of ``wanted``, ``(m,)``, stands in the ascending ``places``, ``(n,)``; -1 where it does not."""
    found = np.minimum(np.searchsorted(places, wanted), len(places) - 1)
    return np.where(places[found] == wanted, found, -1)
