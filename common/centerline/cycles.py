"""Cycles of a graph of chains, cut where they are thinnest."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from .voxel_graph import Chain

PINCH = 0.6
"""A chain is pinched where its radius is below this share of its median."""

STUB = 3.0
"""Remainders of a cut chain shorter than this many radii of their node go."""

Port = tuple[int, int]
"""One end of a chain: its number in the list, and 0 for its first node or 1 for its second."""


def break_cycles(chains: Sequence[Chain], sources: Collection[int] = ()) -> list[Chain]:
    """Cut each cycle of a graph at its thinnest place.

    Coronary arteries do not anastomose in a way that CT shows: a cycle comes from two vessels that touch, and where they
    touch the mask is thin. Chains and nodes are taken in from the thickest to the thinnest (Kruskal's maximum spanning
    tree), so what closes a cycle is the thinnest of it. A chain loses its thinnest point. A node is where two vessels
    cross or an end meets a side: the two chains that continue each other best stay together, the others go apart.

    Args:
        chains: graph.
        sources: nodes that are connected from outside, the ostia: two of them in one part make a cycle as well.

    Returns:
        Chains of a forest with at most one source in a tree. Remainders of a cut chain are kept; pruning decides
        about them.
    """
    at: dict[int, list[Port]] = {}
    for number, chain in enumerate(chains):
        for side, node in enumerate(chain.nodes):
            at.setdefault(node, []).append((number, side))
    elements: list[tuple[float, int, int]] = [(_thinnest(chain), 0, k) for k, chain in enumerate(chains)]
    elements += [(_depth(chains, ports), 1, node) for node, ports in at.items() if len(ports) > 1]
    sets = _Sets()
    for node in sources:
        sets.join([(-1, 0), *at[node]])
    cut = set()
    free = 1 + max(at, default=0)
    renamed: dict[Port, int] = {}
    for _, is_node, number in sorted(elements, key=lambda element: -element[0]):
        if not is_node:
            if not sets.join([(number, 0), (number, 1)]):
                cut.add(number)
        elif not sets.join(at[number]):
            for group in _groups(chains, at[number], sets):
                renamed |= dict.fromkeys(group, free)
                free += 1
    result = []
    for number, chain in enumerate(chains):
        first, second = (renamed.get((number, side), node) for side, node in enumerate(chain.nodes))
        moved = Chain(chain.points, chain.radius_mm, (first, second))
        result += _opened(moved, free + 2 * number) if number in cut else [moved]
    return result


class _Sets:
    """Disjoint sets of ports."""

    def __init__(self) -> None:
        self._parent: dict[Port, Port] = {}

    def find(self, port: Port) -> Port:
        """Return the port that stands for the set of ``port``."""
        while (parent := self._parent.setdefault(port, port)) != port:
            self._parent[port] = port = self._parent[parent]
        return port

    def join(self, ports: Sequence[Port]) -> bool:
        """Unite the sets of all ports and return True, or leave them and return False if two are in one already."""
        roots = [self.find(port) for port in ports]
        if len(set(roots)) < len(roots):
            return False
        self._parent.update(dict.fromkeys(roots, roots[0]))
        return True


def _groups(chains: Sequence[Chain], ports: Sequence[Port], sets: _Sets) -> list[list[Port]]:
    """Divide the ports of a node that closes a cycle into groups that close none, best agreeing ports together."""
    ends = {port: chains[port[0]] if port[1] else chains[port[0]].reversed() for port in ports}
    pairs = sorted(
        combinations(ports, 2), key=lambda pair: -ends[pair[0]].agreement(ends[pair[1]].reversed())
    )
    here = _Sets()
    for first, second in pairs:
        if sets.join([first, second]):
            here.join([first, second])
    groups: dict[Port, list[Port]] = {}
    for port in ports:
        groups.setdefault(here.find(port), []).append(port)
    return list(groups.values())


def _thinnest(chain: Chain) -> float:
    """Return the least radius of a chain between its nodes."""
    return float(chain.radius_mm[1:-1].min()) if len(chain.points) > 2 else float(chain.radius_mm.max())


def _depth(chains: Sequence[Chain], ports: Sequence[Port]) -> float:
    """Return the radius at a node."""
    number, side = ports[0]
    return 0.0 if _is_crossing(chains, ports) else float(chains[number].radius_mm[-side])


def _is_crossing(chains: Sequence[Chain], ports: Sequence[Port]) -> bool:
    """Tell whether two vessels pass each other at a node: four chains, two and two of which continue each other.

    A tree has no such node, as blood would flow together there.
    """
    if len(ports) != 4:
        return False
    a, b, c, d = (chains[number].direction if side else chains[number].reversed().direction for number, side in ports)
    straight = np.cos(np.radians(60))
    return any(-p @ q > straight and -r @ s > straight for p, q, r, s in ((a, b, c, d), (a, c, b, d), (a, d, b, c)))


def _opened(chain: Chain, free: int) -> list[Chain]:
    """Cut a chain that closes a cycle; the new ends are the nodes ``free`` and ``free + 1``.

    A chain within the vessels that it joins goes as a whole. One that is pinched somewhere loses that point: there two
    vessels touch end to end or side to side. One that is not is a vessel whose end lies against another one; it is
    detached from the node nearer to its thinnest point.
    """
    at = 1 + int(np.argmin(chain.radius_mm[1:-1])) if len(chain.points) > 2 else 0
    if chain.nodes[0] != chain.nodes[1] and chain.radius_mm[at] > PINCH * np.median(chain.radius_mm):
        at = 0 if at < len(chain.points) / 2 else len(chain.points) - 1
    first = Chain(chain.points[:at], chain.radius_mm[:at], (chain.nodes[0], free))
    second = Chain(chain.points[at + 1 :], chain.radius_mm[at + 1 :], (free + 1, chain.nodes[1]))
    return [part for part in (first, second.reversed()) if len(part.points) > 1 and part.length_mm > STUB * part.radius_mm[0]]
