"""A skeleton as a graph: chains of points in mm between ends and junctions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array

from ..voxels import Voxels, connected
from .depth import Depth, to_mm

TANGENT_MM = 3.0
"""Length of a chain that its direction at an end is taken from."""

THICKNESS_MM = 5.0
"""Length of a chain that its thickness at an end is taken from."""


@dataclass(frozen=True)
class Chain:
    """A line without branchings.

    Attributes:
        points: RAS mm, ``(N, 3)``, N >= 2, from the first node to the second.
        radius_mm: depth of the points in the mask, ``(N,)``.
        nodes: numbers of the nodes at its two ends. A node that no other chain has is a free end; equal numbers make
            a loop.
    """

    points: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    nodes: tuple[int, int]

    @cached_property
    def length_mm(self) -> float:
        """Length of the chain in mm."""
        return float(np.linalg.norm(np.diff(self.points, axis=0), axis=1).sum())

    @cached_property
    def thinnest_mm(self) -> float:
        """Least radius."""
        return float(self.radius_mm.min())

    @property
    def is_loop(self) -> bool:
        """Whether the chain returns to the node that it begins at."""
        return self.nodes[0] == self.nodes[1]

    def towards(self, node: int) -> Chain:
        """Return the chain, turned if need be so that it ends at ``node``."""
        return self if self.nodes[1] == node else self.reversed()

    def reversed(self) -> Chain:
        """Return the chain from its second node to its first."""
        return Chain(self.points[::-1], self.radius_mm[::-1], self.nodes[::-1])

    @cached_property
    def direction(self) -> NDArray[np.float64]:
        """Unit vector in which the chain arrives at its second node."""
        back = np.linalg.norm(self.points - self.points[-1], axis=1)
        far = np.flatnonzero(back >= TANGENT_MM)
        along = self.points[-1] - self.points[far[-1] if len(far) else 0]
        return np.asarray(along / max(float(np.linalg.norm(along)), 1e-9))

    @cached_property
    def thickness_mm(self) -> float:
        """Median radius over the last millimetres before the second node."""
        back = np.linalg.norm(self.points - self.points[-1], axis=1)
        return float(np.median(self.radius_mm[back <= THICKNESS_MM]))

    def agreement(self, onward: Chain) -> float:
        """Return how well ``onward``, which begins where this chain ends, continues it.

        Returns:
            Cosine of the angle between the two plus the ratio of their radii, in [-1, 2].
        """
        back = onward.reversed()
        before, after = self.thickness_mm, back.thickness_mm
        ratio = min(before, after) / max(before, after, 1e-9)
        return float(-self.direction @ back.direction) + ratio

    def followed_by(self, other: Chain) -> Chain:
        """Return this chain and ``other``, which begins where this one ends, as one."""
        return Chain(
            np.concatenate([self.points, other.points[1:]]),
            np.concatenate([self.radius_mm, other.radius_mm[1:]]),
            (self.nodes[0], other.nodes[1]),
        )


def trace_chains(skeleton: Voxels, affine: NDArray[np.float64], depth: Depth) -> list[Chain]:
    """Follow the lines of a skeleton.

    Voxels with three or more neighbours that hang together are contracted to one junction in their middle, so that the
    little triangles of a skeleton at a branching do not count.

    Args:
        skeleton: its voxels.
        affine: voxel index to RAS mm, ``(4, 4)``.
        depth: gives the radius at a point.

    Returns:
        The chains; a voxel without neighbours makes none. A ring without junction is a loop of one chain.
    """
    if len(skeleton) < 2:
        return []
    pairs = np.concatenate([numbers for _, numbers in skeleton.pairs()], axis=1)
    degree = np.bincount(pairs.ravel(), minlength=len(skeleton))
    node = _nodes(degree, pairs)
    centers = to_mm(skeleton.index(skeleton.places), affine)
    sums = np.stack([np.bincount(node[node >= 0], centers[node >= 0, k]) for k in range(3)], axis=1)
    middles = sums / np.bincount(node[node >= 0])[:, None]
    chains = []
    for path in _paths(pairs, node, len(skeleton)):
        points = centers[path]
        ends = node[path[0]], node[path[-1]]
        points[[0, -1]] = middles[ends[0]], middles[ends[1]]
        chains.append(Chain(points, depth(points), (int(ends[0]), int(ends[1]))))
    return chains


def merge_passages(chains: Sequence[Chain]) -> list[Chain]:
    """Join the chains that meet where nothing branches: at nodes of exactly two ends of different chains."""
    result: dict[int, Chain] = dict(enumerate(chains))
    at: dict[int, list[int]] = {}
    for number, chain in result.items():
        for node in chain.nodes:
            at.setdefault(node, []).append(number)
    for node, numbers in at.items():
        if len(numbers) == 2 and numbers[0] != numbers[1]:
            first, second = (result.pop(number) for number in numbers)
            joined = first.towards(node).followed_by(second.towards(node).reversed())
            result[numbers[0]] = joined
            others = at[joined.nodes[1]]
            others[others.index(numbers[1])] = numbers[0]
    return list(result.values())


def contract_junctions(chains: Sequence[Chain]) -> list[Chain]:
    """Unite junctions that lie in each other's lumen: those with a chain between them that is shorter than its radius.

    Thinning often makes two of them where one vessel divides into three or two vessels cross.
    """
    result = list(chains)
    while bridges := _bridges_within_lumina(result):
        gone = {id(bridge) for bridge in bridges}
        merged = {node: bridge for bridge in bridges for node in bridge.nodes}
        kept = [chain for chain in result if id(chain) not in gone]
        result = [_moved(_moved(chain, merged).reversed(), merged).reversed() for chain in kept]
    return result


def _bridges_within_lumina(chains: Sequence[Chain]) -> list[Chain]:
    """Return chains between junctions within one lumen, the shortest first and no two of them at one node."""
    degrees = node_degrees(chains)
    short = [
        chain
        for chain in chains
        if not chain.is_loop
        and min(degrees[node] for node in chain.nodes) > 2
        and chain.length_mm <= max(chain.radius_mm[0], chain.radius_mm[-1])
    ]
    taken: set[int] = set()
    result = []
    for chain in sorted(short, key=lambda chain: chain.length_mm):
        if taken.isdisjoint(chain.nodes):
            taken.update(chain.nodes)
            result.append(chain)
    return result


def _moved(chain: Chain, merged: Mapping[int, Chain]) -> Chain:
    """Let a chain that ends at a node of a bridge end in the middle of the bridge."""
    bridge = merged.get(chain.nodes[1])
    if bridge is None:
        return chain
    return Chain(
        np.concatenate([chain.points[:-1], bridge.points[[0, -1]].mean(axis=0, keepdims=True)]),
        np.append(chain.radius_mm[:-1], bridge.radius_mm[[0, -1]].max()),
        (chain.nodes[0], bridge.nodes[0]),
    )


def ends_at(chains: Sequence[Chain]) -> dict[int, list[tuple[int, Chain]]]:
    """Return for each node the chains that meet there: number in the list, and the chain turned to end at the node.

    A loop is there twice, once in each direction.
    """
    ends: dict[int, list[tuple[int, Chain]]] = {}
    for number, chain in enumerate(chains):
        ends.setdefault(chain.nodes[1], []).append((number, chain))
        ends.setdefault(chain.nodes[0], []).append((number, chain.reversed()))
    return ends


def node_degrees(chains: Iterable[Chain]) -> Counter[int]:
    """Return how many ends of chains meet at each node."""
    return Counter(node for chain in chains for node in chain.nodes)


def components(chains: Sequence[Chain]) -> list[list[Chain]]:
    """Return the chains of each connected part of a graph."""
    if not chains:
        return []
    nodes, numbers = np.unique([chain.nodes for chain in chains], return_inverse=True)
    pairs = numbers.reshape(-1, 2)
    part, count = connected(len(nodes), pairs.T)
    parts: list[list[Chain]] = [[] for _ in range(count)]
    for chain, number in zip(chains, part[pairs[:, 0]].tolist(), strict=True):
        parts[number].append(chain)
    return parts


def _nodes(degree: NDArray[np.int_], pairs: NDArray[np.int_]) -> NDArray[np.int_]:
    """Number the nodes of a skeleton: the node of each voxel, ``(n,)``, -1 for those inside of a chain.

    A component without any end or junction is a ring; one of its voxels is made a node.
    """
    forks = degree[pairs].min(axis=0) >= 3
    cluster, _ = connected(len(degree), pairs[:, forks])
    is_node = (degree >= 3) | (degree == 1)
    part, count = connected(len(degree), pairs)
    without = np.setdiff1d(np.arange(count), part[is_node])
    first = np.unique(part, return_index=True)[1]
    is_node[first[without]] = True
    is_node[degree == 0] = False
    node = np.full(len(degree), -1)
    node[is_node] = np.unique(cluster[is_node], return_inverse=True)[1]
    return node


def _paths(pairs: NDArray[np.int_], node: NDArray[np.int_], count: int) -> list[list[int]]:
    """Return the voxels of each chain in their order, from a voxel of one node to a voxel of another."""
    both = np.hstack([pairs, pairs[::-1]])
    graph = coo_array((np.ones(both.shape[1], bool), both), shape=(count, count)).tocsr()
    around = [row.tolist() for row in np.split(graph.indices, graph.indptr[1:-1])]
    inner = (node < 0).tolist()
    seen = [False] * count
    paths = []
    for start in np.flatnonzero(node >= 0).tolist():
        for following in around[start]:
            if not inner[following]:
                if node[start] != node[following] and start < following:
                    paths.append([start, following])  # an end beside a junction, or two ends
                continue
            if seen[following]:
                continue
            path = [start, following]
            while inner[path[-1]]:
                seen[path[-1]] = True
                one, other = around[path[-1]]
                path.append(other if one == path[-2] else one)
            paths.append(path)
    return paths
