"""A graph without cycles as rooted vessels: where the blood enters, and which way each vessel goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.spatial import KDTree

from .voxel_graph import Chain, node_degrees

TOUCH_MM = 2.0
"""An end whose surface is this near to the aorta's may be an ostium; it is about the wall of the aorta."""

OSTIUM_SHARE = 0.5
"""A further ostium is at least this share as thick as the nearest one."""


@dataclass(frozen=True)
class Vessel:
    """A line from its origin to an end, over all branchings on its way.

    Attributes:
        chain: from the origin to the end.
        parent: number of the vessel that it leaves, -1 for none. A parent comes first.
        parent_point: index of the parent's point that it leaves from, -1 for none.
    """

    chain: Chain
    parent: int = -1
    parent_point: int = -1


def find_roots(chains: Sequence[Chain], aorta: KDTree | None) -> list[int]:
    """Return the nodes of a connected part where blood enters, the surest first.

    With an aorta these are the end nearest to it and all other ends that touch it and are not much thinner: two trees
    that touch each other are one part with two ostia. Without an aorta it is the thickest end.

    Args:
        chains: a connected part of a graph.
        aorta: points of the aorta's surface, RAS mm.

    Returns:
        One node at least; any node of a part without free ends, which is a ring.
    """
    degrees = node_degrees(chains)
    ends = [chain.towards(node) for chain in chains for node in chain.nodes if degrees[node] == 1]
    if not ends:
        return [chains[0].nodes[0]]
    if aorta is None:
        return [max(ends, key=lambda chain: chain.thickness_mm).nodes[1]]
    gap_mm = aorta.query(np.stack([chain.points[-1] for chain in ends]))[0] - [chain.radius_mm[-1] for chain in ends]
    order = np.argsort(gap_mm)
    least = OSTIUM_SHARE * ends[order[0]].thickness_mm
    ostia = [ends[k] for k in order[1:] if gap_mm[k] <= TOUCH_MM and ends[k].thickness_mm >= least]
    return [end.nodes[1] for end in (ends[order[0]], *ostia)]


def grow(chains: Sequence[Chain], root: int, first: int = 0) -> list[Vessel]:
    """Order the chains of a tree into vessels, away from the root.

    Where a vessel branches, that chain continues it whose direction and radius agree best with its own; the others
    are its children.

    Args:
        chains: a connected part of a forest.
        root: node to begin with, a free end.
        first: number of the first vessel.
    """
    at: dict[int, list[Chain]] = {}
    for chain in chains:
        for node in chain.nodes:
            at.setdefault(node, []).append(chain)
    vessels: list[Vessel] = []
    waiting = [(at[root][0].towards(root).reversed(), -1, -1)]
    while waiting:
        course, parent, parent_point = waiting.pop(0)
        last = course
        while onward := [_away(c, course.nodes[1]) for c in at[course.nodes[1]] if not _same(c, last)]:
            onward.sort(key=lambda chain, came=course: came.agreement(chain), reverse=True)  # type: ignore[misc]
            here = len(course.points) - 1
            waiting += [(side, first + len(vessels), here) for side in onward[1:]]
            last = onward[0]
            course = course.followed_by(last)
        vessels.append(Vessel(course, parent, parent_point))
    return vessels


def _away(chain: Chain, node: int) -> Chain:
    """Return the chain, turned if need be so that it begins at ``node``."""
    return chain.towards(node).reversed()


def _same(chain: Chain, other: Chain) -> bool:
    """Tell whether two chains of a forest are one, perhaps turned; no two of them have both nodes in common."""
    return set(chain.nodes) == set(other.nodes)
