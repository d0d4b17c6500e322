"""Cleaning of a graph of chains: spurs and small pieces removed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .voxel_graph import Chain, components, merge_passages, node_degrees


def prune_spurs(chains: Sequence[Chain], min_spur_mm: float) -> list[Chain]:
    """Remove side chains that end before they have come out of their vessel.

    A spur leads from the middle of a vessel to a bump of its surface. It is counted from the junction to the surface
    behind its end (so that a short, thick stem is none) and has to be longer than ``min_spur_mm`` and than the
    diameter of the vessel that it leaves. The shortest go first, because what remains of a fork at an end is then no
    side chain any more.

    Returns:
        Chains without spurs, those that meet at former junctions joined.
    """
    result = merge_passages(chains)
    while True:
        degrees = node_degrees(result)
        at: dict[int, list[Chain]] = {}
        for chain in result:
            for node in set(chain.nodes):
                at.setdefault(node, []).append(chain)
        spurs = []
        for chain in result:
            ends = [node for node in chain.nodes if degrees[node] == 1]
            if len(ends) == 1:
                spur = chain.towards(ends[0])
                excess = _reach(spur) / max(min_spur_mm, _diameter(spur, at[spur.nodes[0]], chain))
                if excess < 1:
                    spurs.append((excess, spur.nodes[0], chain))
        if not spurs:
            return result
        removed: dict[int, Chain] = {}
        for _, node, chain in sorted(spurs, key=lambda spur: spur[0]):
            removed.setdefault(node, chain)  # one at each junction, then look again
        gone = {id(chain) for chain in removed.values()}
        result = merge_passages([chain for chain in result if id(chain) not in gone])


def drop_pieces(chains: Sequence[Chain], min_piece_mm: float) -> list[Chain]:
    """Remove the connected parts whose chains are together shorter than ``min_piece_mm``, up to the mask's surface."""
    kept = []
    for part in components(chains):
        degrees = node_degrees(part)
        length = sum(chain.length_mm for chain in part)
        for chain in part:
            length += sum(float(chain.towards(node).radius_mm[-1]) for node in chain.nodes if degrees[node] == 1)
        if length >= min_piece_mm:
            kept += part
    return kept


def _reach(spur: Chain) -> float:
    """Return how far the surface behind the end of a spur is from its junction, in mm along it."""
    return spur.length_mm + float(spur.radius_mm[-1])


def _diameter(spur: Chain, meeting: Sequence[Chain], itself: Chain) -> float:
    """Return the diameter of the vessel that a spur leaves: of the thickest other chain, beside the junction."""
    node = spur.nodes[0]
    extent = 3 * float(spur.radius_mm[0])
    widest = 0.0
    for chain in meeting:
        if chain is not itself:
            other = chain.towards(node).reversed()
            along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(other.points, axis=0), axis=1))])
            widest = max(widest, float(np.median(other.radius_mm[along <= extent])))
    return 2 * widest
