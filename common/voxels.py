"""A sparse mask as the list of its voxels, whose neighbours are looked up by one addition."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

MARGIN = 2  # voxels of background around the mask; a neighbour's neighbour is still inside


class Voxels:
    """The voxels of a mask and what is around them; work grows with their number, not with the volume.

    Args:
        mask: ``(H, W)`` or ``(X, Y, Z)``; what lies outside the array counts as background.

    Attributes:
        ndim: number of axes.
        inside: the mask with a margin of background, flattened in C order.
        places: where ``inside`` is true, ``(n,)``, ascending. Masks of one shape have their places in common.
    """

    def __init__(self, mask: NDArray[np.bool_]) -> None:
        padded = np.zeros([size + 2 * MARGIN for size in mask.shape], bool)
        padded[(slice(MARGIN, -MARGIN),) * mask.ndim] = mask
        self.ndim = mask.ndim
        self.inside = padded.reshape(-1)
        self.places = np.flatnonzero(self.inside)
        self._shape = padded.shape
        self._strides = [int(np.prod(padded.shape[axis + 1 :])) for axis in range(mask.ndim)]

    def __len__(self) -> int:
        return len(self.places)

    def subset(self, mask: NDArray[np.bool_]) -> Voxels:
        """Return those voxels that also belong to another mask of the same shape, for example to the skeleton."""
        chosen = object.__new__(Voxels)
        chosen.ndim, chosen._shape, chosen._strides = self.ndim, self._shape, self._strides
        chosen.places = self.places[mask[tuple(self.index(self.places).T)]]
        chosen.inside = np.zeros(len(self.inside), bool)
        chosen.inside[chosen.places] = True
        return chosen

    def count_in(self, other: Voxels) -> int:
        """Return how many of these voxels belong to another mask of the same shape."""
        return int(np.count_nonzero(other.inside[self.places]))

    def index(self, places: NDArray[np.int_]) -> NDArray[np.int_]:
        """Return the indices of ``places``, ``(m,)``, in the mask, ``(m, axes)``."""
        return np.stack(np.unravel_index(places, self._shape), axis=1) - MARGIN

    def points_mm(self, places: NDArray[np.int_], spacing: Sequence[float]) -> NDArray[np.float64]:
        """Return the centres of ``places``, ``(m, axes)``, in mm from that of the mask's first voxel."""
        return np.asarray(self.index(places) * np.asarray(spacing, dtype=np.float64))

    def step(self, offset: Sequence[int]) -> int:
        """Return what is added to a place to go by ``offset``, one whole number for each axis."""
        return sum(stride * along for stride, along in zip(self._strides, offset, strict=True))

    def has_neighbour(self, offset: Sequence[int]) -> NDArray[np.bool_]:
        """Tell for each voxel whether the one at ``offset`` belongs to the mask as well, ``(n,)``."""
        return self.inside[self.places + self.step(offset)]

    def surface(self) -> NDArray[np.int_]:
        """Return the places of the voxels that have a face in common with the background, ``(m,)``."""
        enclosed = np.ones(len(self), bool)
        for offset in face_offsets(self.ndim):
            enclosed &= self.has_neighbour(offset)
        return self.places[~enclosed]

    def outside(self, offsets: Sequence[Sequence[int]]) -> NDArray[np.int_]:
        """Return the places of the background that one of ``offsets`` leads to from the mask, ``(m,)``, ascending."""
        reached = np.zeros(len(self.inside), bool)
        for offset in offsets:
            reached[self.places + self.step(offset)] = True
        reached[self.places] = False
        return np.flatnonzero(reached)

    def pairs(self) -> list[tuple[tuple[int, ...], NDArray[np.int_]]]:
        """Return the neighbours by face, edge or corner, each pair once: offset and numbers of the two, ``(2, m)``."""
        offsets = all_offsets(self.ndim)
        return [(offset, joined(self.places, self.step(offset))) for offset in offsets[len(offsets) // 2 :]]

    @cached_property
    def components(self) -> tuple[NDArray[np.int_], int]:
        """Connected components: the number 0, 1, ... of each voxel, ``(n,)``, and how many there are."""
        return connected(len(self), np.concatenate([numbers for _, numbers in self.pairs()], axis=1))


def face_offsets(ndim: int) -> list[tuple[int, ...]]:
    """Return the offsets to the neighbours that share a face (in 2-D a side), 2 for each axis."""
    return [offset for offset in all_offsets(ndim) if sum(map(abs, offset)) == 1]


def all_offsets(ndim: int) -> list[tuple[int, ...]]:
    """Return the offsets to the neighbours that share a face, an edge or a corner, in C order."""
    return [offset for offset in product((-1, 0, 1), repeat=ndim) if any(offset)]


def find(places: NDArray[np.int_], wanted: NDArray[np.int_]) -> NDArray[np.int_]:
    """Return the number that each of ``wanted``, ``(m,)``, has among ``places``, ``(n,)`` ascending; -1 for none."""
    numbers = np.minimum(np.searchsorted(places, wanted), len(places) - 1)
    return np.where(places[numbers] == wanted, numbers, -1)


def joined(places: NDArray[np.int_], step: int) -> NDArray[np.int_]:
    """Return the numbers, ``(2, m)``, of those ``places``, ``(n,)`` ascending, that are ``step`` apart."""
    others = find(places, places + step)
    first = np.flatnonzero(others >= 0)
    return np.stack([first, others[first]])


def connected(count: int, pairs: NDArray[np.int_]) -> tuple[NDArray[np.int_], int]:
    """Number the parts that ``pairs``, ``(2, m)``, make of ``count`` things.

    Returns:
        Number of each thing's part, ``(count,)``, and how many parts there are.
    """
    graph = coo_array((np.ones(pairs.shape[1], bool), (pairs[0], pairs[1])), shape=(count, count))
    parts, numbers = connected_components(graph, directed=False)
    return np.asarray(numbers), int(parts)
