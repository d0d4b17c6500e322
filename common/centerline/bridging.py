"""Gaps between pieces of a centerline, closed where both ends point at each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import KDTree

from .sets import DisjointSets
from .voxel_graph import Chain, merge_passages, node_degrees

AGREEMENT = np.cos(np.radians(45))
"""Least cosine between the way across a gap and the direction of the vessel on either side."""


def bridge_gaps(chains: Sequence[Chain], max_gap_mm: float) -> list[Chain]:
    """Join pieces of vessel across gaps of the mask.

    A gap is measured between the surfaces behind the two ends. Both vessels have to point across it, within 45 degrees.
    The smallest gap is closed first; no bridge closes a cycle.

    Args:
        chains: a forest.
        max_gap_mm: largest gap that is closed.

    Returns:
        Chains, those on both sides of a bridge and the bridge in one.
    """
    ends = _free_ends(chains)
    if len(ends) < 2:
        return list(chains)
    pieces = DisjointSets()
    for chain in chains:
        pieces.join(chain.nodes)
    used: set[int] = set()
    bridges: list[Chain] = []
    for _, first, second in sorted(_candidates(ends, max_gap_mm), key=lambda found: found[0]):
        nodes = first.nodes[1], second.nodes[1]
        if used.isdisjoint(nodes) and pieces.join(nodes):
            used.update(nodes)
            points = np.stack([first.points[-1], second.points[-1]])
            bridges.append(Chain(points, np.array([first.radius_mm[-1], second.radius_mm[-1]]), nodes))
    return merge_passages([*chains, *bridges])


def _free_ends(chains: Sequence[Chain]) -> list[Chain]:
    """Return for each free end its chain, turned towards it."""
    degrees = node_degrees(chains)
    return [chain.towards(node) for chain in chains for node in chain.nodes if degrees[node] == 1]


def _candidates(ends: Sequence[Chain], max_gap_mm: float) -> list[tuple[float, Chain, Chain]]:
    """Return the gaps that may be closed, with their widths in mm."""
    tips = np.stack([chain.points[-1] for chain in ends])
    depth = np.array([chain.radius_mm[-1] for chain in ends])
    tree = KDTree(tips)
    found = []
    for i, j in sorted(tree.query_pairs(max_gap_mm + 2 * float(depth.max()))):
        across = tips[j] - tips[i]
        distance = float(np.linalg.norm(across))
        gap = distance - depth[i] - depth[j]
        if gap > max_gap_mm:
            continue
        way = across / max(distance, 1e-9)
        if way @ ends[i].direction >= AGREEMENT and -way @ ends[j].direction >= AGREEMENT:
            found.append((gap, ends[i], ends[j]))
    return found
