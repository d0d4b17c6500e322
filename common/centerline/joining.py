"""Separate curves joined to a tree, for files that do not tell which vessel leaves which."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import KDTree

from .branch import Branch
from .tree import check_vessels

TOUCHING_MM = 0.5
"""A curve that begins this near to another one leaves it there; separate ostia are farther apart."""


def joined(branches: Sequence[Branch], name: str) -> list[Branch]:
    """Find the parents of curves: a curve leaves the one that its first point touches.

    The very first point of another curve does not count: two curves that begin together are siblings, or share an
    ostium.

    Args:
        branches: curves without parents, ordered away from the ostium.
        name: what the message calls them, usually a file.

    Returns:
        The same branches with parents, parents first, otherwise in the same order.

    Raises:
        ValueError: If there is none, one has less than two points, or some leave each other in a circle.
    """
    check_vessels(branches, name)
    owner = np.repeat(np.arange(len(branches)), [len(b.points) - 1 for b in branches])
    place = np.concatenate([np.arange(1, len(b.points)) for b in branches])
    points = np.concatenate([b.points[1:] for b in branches])
    links: list[tuple[int, int]] = []
    for index, branch in enumerate(branches):
        others = np.flatnonzero(owner != index)
        distance, nearest = KDTree(points[others]).query(branch.points[0]) if len(others) else (np.inf, 0)
        chosen = others[nearest] if distance <= TOUCHING_MM else None
        links.append((-1, -1) if chosen is None else (int(owner[chosen]), int(place[chosen])))
    return _parents_first(branches, links, name)


def _parents_first(branches: Sequence[Branch], links: Sequence[tuple[int, int]], name: str) -> list[Branch]:
    """Bring branches, given the parent and its point of each, into an order in which parents come first."""
    order: list[int] = []
    waiting = list(range(len(branches)))
    while waiting:
        ready = [index for index in waiting if links[index][0] == -1 or links[index][0] in order]
        if not ready:
            raise ValueError(
                f"{name}: the curves {waiting} leave each other in a circle; draw each from the ostium to its end"
            )
        order.append(ready[0])
        waiting.remove(ready[0])
    rank = {index: place for place, index in enumerate(order)} | {-1: -1}
    return [
        Branch(branches[i].points, branches[i].radius_mm, branches[i].label, rank[links[i][0]], links[i][1])
        for i in order
    ]
