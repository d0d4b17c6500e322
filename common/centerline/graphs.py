"""Centerline graphs, points joined by edges, turned into branches."""

from __future__ import annotations

import warnings
from collections import defaultdict, deque
from typing import Any

import networkx as nx
import numpy as np

from .branch import BRANCH_LABELS, Branch

OTHER = 14
"""The label of a vessel without a name."""

Graph = Any  # networkx's graphs have no types


def branches_of_graph(graph: Graph, name: str) -> list[Branch]:
    """Turn an undirected graph of points into branches.

    A branch goes on through a fork along the edge of the same ``branch``; where edges do not tell theirs, it goes on
    towards the farthest end. Each component is a tree with one root: the thickest of its nodes marked as ``root``,
    else of its ends. A cycle is cut at its thinnest edge, with a warning: every point stays.

    Args:
        graph: without parallel edges. Nodes have ``point`` (three numbers), ``radius`` and, where known, ``root``;
            edges may have ``branch`` (a number) and ``branch_label``.
        name: what messages call the graph, usually its file.

    Returns:
        Branches in the frame of the points, in the order of ``branch`` where all edges tell it.

    Raises:
        ValueError: If the graph is empty or a node has no edge.
    """
    if graph.number_of_nodes() == 0:
        raise ValueError(f"{name} holds no point of a centerline")
    lonely = list(nx.isolates(graph))
    if lonely:
        raise ValueError(
            f"{name}: {len(lonely)} of {graph.number_of_nodes()} points are joined to no other (the first: "
            f"{graph.nodes[lonely[0]]['point']}), but a vessel has at least two points; remove them"
        )
    forest = _without_cycles(graph, name)
    branches: list[Branch] = []
    keys: list[Any] = []
    for component in nx.connected_components(forest):
        _grow(forest, _root(forest, component), branches, keys)
    return _in_order(branches, keys)


def _without_cycles(graph: Graph, name: str) -> Graph:
    """Cut every cycle at its thinnest edge."""
    surplus = graph.number_of_edges() - graph.number_of_nodes() + nx.number_connected_components(graph)
    if surplus == 0:
        return graph
    warnings.warn(
        f"{name}: the centerline has {surplus} cycles, but is read as a tree: each is cut at its thinnest edge",
        stacklevel=2,
    )
    for a, b in graph.edges:
        graph.edges[a, b]["width"] = graph.nodes[a]["radius"] + graph.nodes[b]["radius"]
    return nx.maximum_spanning_tree(graph, weight="width")


def _root(graph: Graph, component: set[Any]) -> Any:
    """The thickest of the marked nodes of a component, or else of its ends."""
    marked = [node for node in component if graph.nodes[node].get("root")]
    ends = [node for node in component if graph.degree[node] == 1]
    return max(sorted(marked or ends), key=lambda node: graph.nodes[node]["radius"])


def _grow(graph: Graph, root: Any, branches: list[Branch], keys: list[Any]) -> None:
    """Append the branches of the component of ``root``, parents first, and the ``branch`` that each had."""
    children = _children(graph, root)
    starts = deque((root, child, -1, -1) for child in children[root])
    while starts:
        origin, node, parent, parent_point = starts.popleft()
        edge = graph.edges[origin, node]
        walk = [origin, node]
        while onwards := children[walk[-1]]:
            here = walk[-1]
            same = [child for child in onwards if graph.edges[here, child].get("branch") == edge.get("branch")]
            chosen = same[0] if same else None
            starts.extend((here, child, len(branches), len(walk) - 1) for child in onwards if child != chosen)
            if chosen is None:
                break
            walk.append(chosen)
        points = np.array([graph.nodes[n]["point"] for n in walk], np.float64)
        radius = np.array([graph.nodes[n]["radius"] for n in walk], np.float64)
        label = edge.get("branch_label", OTHER)
        branches.append(Branch(points, radius, label if label in BRANCH_LABELS else OTHER, parent, parent_point))
        keys.append(edge.get("branch"))


def _children(graph: Graph, root: Any) -> dict[Any, list[Any]]:
    """The children of every node, those first from which it is farthest to an end."""
    children: dict[Any, list[Any]] = defaultdict(list)
    reach: dict[Any, float] = defaultdict(float)  # mm from a node's parent to the farthest end below it
    for a, b in nx.bfs_edges(graph, root):
        children[a].append(b)
    for a, b in reversed(list(nx.bfs_edges(graph, root))):
        step = np.linalg.norm(np.subtract(graph.nodes[a]["point"], graph.nodes[b]["point"]))
        reach[b] = float(step) + max((reach[child] for child in children[b]), default=0.0)
    for below in children.values():
        below.sort(key=lambda child: -reach[child])
    return children


def _in_order(branches: list[Branch], keys: list[Any]) -> list[Branch]:
    """Sort branches by their numbers, where they are numbered and parents still come first."""
    if not all(isinstance(key, int) for key in keys) or len(set(keys)) < len(keys):
        return branches
    order = sorted(range(len(keys)), key=lambda index: keys[index])
    place = {index: rank for rank, index in enumerate(order)}
    place[-1] = -1
    if any(place[branch.parent] >= place[index] for index, branch in enumerate(branches)):
        return branches
    sources = [branches[index] for index in order]
    return [Branch(b.points, b.radius_mm, b.label, place[b.parent], b.parent_point) for b in sources]
