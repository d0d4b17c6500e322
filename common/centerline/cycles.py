"""Cycles of a graph of chains: where two vessels touch, they are taken apart again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from heapq import heappop, heappush
from itertools import combinations

import numpy as np

from .sets import DisjointSets
from .voxel_graph import Chain, ends_at, merge_passages

CONTACT_MM = 5.0
"""A chain shorter than this, or than two diameters, that closes a cycle is no vessel."""

PINCH = 0.6
"""A chain is pinched where its radius is below this share of its median."""

SURE_MM = 10.0
"""Both sides of a pinch have to be longer than this to be vessels that touch with their ends."""

MANY = 50
"""A mask with more cycles than this is no tree of vessels; its cycles are opened all at once, without a closer look."""

SHARED_MM = 8.0
"""Two vessels that touch run through one line for at most this length."""


def break_cycles(chains: Sequence[Chain], roots: Sequence[Sequence[int]]) -> list[Chain]:
    """Open each cycle of a graph at its thinnest chain.

    Coronary arteries do not anastomose in a way that CT shows: a cycle comes from vessels that touch in the mask. Of
    the chains of a cycle, the thinnest is opened (Kruskal's maximum spanning tree finds it), at its end far from the
    root, where it meets the other vessel:

    * a chain hardly longer than the lumina that it joins are wide is a mere contact and goes;
    * a chain pinched far from both ends is two vessels whose tips touch; it is cut there;
    * where two vessels come together and soon part again, both go on, through one and the same line;
    * else the chains that continue each other best stay together, and the other one ends there.

    Args:
        chains: graph.
        roots: for each connected part the nodes where blood enters; two of them make a cycle, too.

    Returns:
        Chains of a forest, at most one root in each tree.
    """
    graph = list(chains)
    aorta = [_through_the_aorta(graph, part[0], other) for part in roots for other in part[1:]]
    starts = [root for part in roots for root in part]
    while closing := _closing([*graph, *aorta]):
        opened = _opened([*graph, *aorta], closing, starts)
        graph = merge_passages([chain for chain in opened if np.isfinite(chain.radius_mm[0])])
    return graph


def _through_the_aorta(chains: Sequence[Chain], first: int, other: int) -> Chain:
    """Return a chain without length between two roots, too thick to be opened."""
    point = next(chain.towards(first).points[-1] for chain in chains if first in chain.nodes)
    return Chain(np.stack([point, point]), np.full(2, np.inf), (first, other))


def _closing(chains: Sequence[Chain]) -> list[int]:
    """Return the numbers of the chains that are loops or the thinnest of a cycle, none in a forest."""
    sets = DisjointSets()
    order = sorted(range(len(chains)), key=lambda k: (not chains[k].is_loop, -chains[k].thinnest_mm))
    return [number for number in order if not sets.join(chains[number].nodes)]


def _opened(chains: Sequence[Chain], closing: Sequence[int], roots: Sequence[int]) -> list[Chain]:
    """Open the first of the cycles that the chains ``closing`` close, or all of them if there are very many."""
    free = 1 + max(node for chain in chains for node in chain.nodes)
    if len(closing) > MANY:
        loose = {number: free + k for k, number in enumerate(closing)}
        kept = ((number, chain) for number, chain in enumerate(chains) if number not in loose or not _is_contact(chain))
        return [replace(chain, nodes=(chain.nodes[0], loose.get(number, chain.nodes[1]))) for number, chain in kept]
    number = closing[0]
    others = [*chains[:number], *chains[number + 1 :]]
    if _is_contact(chains[number]):
        return others
    if parts := _cut_at_pinch(chains[number], free):
        return others + parts
    distance = _distances(others, roots)
    chain = chains[number].towards(max(chains[number].nodes, key=lambda node: distance.get(node, np.inf)))
    return _parted(others, chain, free) or _regrouped(others, chain, free)


def _is_contact(chain: Chain) -> bool:
    """Tell whether a chain is too short for a vessel between the two that it joins."""
    return chain.length_mm <= max(CONTACT_MM, 2 * float(chain.radius_mm[0] + chain.radius_mm[-1]))


def _cut_at_pinch(chain: Chain, free: int) -> list[Chain]:
    """Return both sides of the thinnest point of a chain; nothing if it is no ring and not pinched between vessels."""
    at = int(np.argmin(chain.radius_mm))
    first = Chain(chain.points[: at + 1], chain.radius_mm[: at + 1], (chain.nodes[0], free))
    second = Chain(chain.points[at:], chain.radius_mm[at:], (free + 1, chain.nodes[1]))
    pinched = chain.thinnest_mm < PINCH * np.median(chain.radius_mm)
    if chain.is_loop or (pinched and min(first.length_mm, second.length_mm) > SURE_MM):
        return [part for part in (first, second) if len(part.points) > 1]
    return []


def _distances(chains: Sequence[Chain], roots: Sequence[int]) -> dict[int, float]:
    """Return the length of the way from the nearest root to each node that can be reached."""
    at = ends_at(chains)
    distance: dict[int, float] = {}
    waiting = [(0.0, node) for node in roots]
    while waiting:
        so_far, node = heappop(waiting)
        if node not in distance:
            distance[node] = so_far
            for _, chain in at.get(node, ()):
                heappush(waiting, (so_far + chain.length_mm, chain.nodes[0]))
    return distance


def _parted(others: Sequence[Chain], closing: Chain, free: int) -> list[Chain]:
    """Lead ``closing`` on along the line that it shares with another vessel, if the two part again.

    Returns:
        The opened graph; nothing if ``closing`` does not end at such a line.
    """
    at, here = ends_at(others), closing.nodes[1]
    sets = _without(others, here)
    onward = [end for end in at[here] if sets.find(end[1].nodes[0]) != sets.find(closing.nodes[0])]
    if len(at[here]) != 2 or len(onward) != 1 or onward[0][1].length_mm > SHARED_MM:
        return []
    number, shared = onward[0][0], onward[0][1].reversed()
    rival = next(chain for other, chain in at[here] if other != number)
    leaving = [(other, chain.reversed()) for other, chain in at[shared.nodes[1]] if other != number]
    if len(leaving) < 2:
        return []
    own, chain = max(leaving, key=lambda end: closing.agreement(end[1]) - rival.agreement(end[1]))
    led = replace(closing.followed_by(shared), nodes=(closing.nodes[0], free))
    return [*others[:own], *others[own + 1 :], led, replace(chain, nodes=(free, chain.nodes[1]))]


def _regrouped(others: Sequence[Chain], closing: Chain, free: int) -> list[Chain]:
    """Divide the chains at the end of ``closing``: those that continue each other best stay together."""
    here = closing.nodes[1]
    meeting = [closing, *(chain for _, chain in ends_at(others)[here])]
    sets, groups = _without(others, here), DisjointSets()
    pairs = combinations(range(len(meeting)), 2)
    for first, second in sorted(pairs, key=lambda pair: -meeting[pair[0]].agreement(meeting[pair[1]].reversed())):
        if sets.join((meeting[first].nodes[0], meeting[second].nodes[0])):
            groups.join((first, second))
    result = [chain for chain in others if here not in chain.nodes]
    return result + [replace(chain, nodes=(chain.nodes[0], free + groups.find(k))) for k, chain in enumerate(meeting)]


def _without(chains: Sequence[Chain], node: int) -> DisjointSets:
    """Return the nodes in sets that are connected without passing ``node``."""
    sets = DisjointSets()
    for chain in chains:
        if node not in chain.nodes:
            sets.join(chain.nodes)
    return sets
