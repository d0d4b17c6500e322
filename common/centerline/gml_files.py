"""Centerlines as GML graphs, which networkx and HCATNetwork read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np

from ..files import replacing
from .branch import Branch
from .graphs import Graph, branches_of_graph
from .tree import check_vessels


def read_gml(path: Path) -> tuple[list[Branch], str | None]:
    """Read a GML graph: nodes with ``x y z`` and ``r`` or ``radius`` in mm, ostia with the topology OSTIUM.

    Directions and parallel edges do not matter. How a graph becomes branches: :func:`.graphs.branches_of_graph`.

    Args:
        path: the file.

    Returns:
        Branches in the frame of the file, and that frame where the graph's attribute ``frame`` declares it.

    Raises:
        ValueError: If it is no such graph.
    """
    try:
        content = nx.read_gml(path, label="id")
    except (nx.NetworkXError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no GML graph, or damaged ({error}); export it again") from error
    graph = nx.Graph()
    for node, values in content.nodes(data=True):
        try:
            point = tuple(float(values[axis]) for axis in "xyz")
            radius = float(values.get("r", values.get("radius", 0)))
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: node {node} must have numbers x, y, z (and r, in mm), got {values}") from error
        kind = values.get("topology", values.get("topology_class"))
        graph.add_node(node, point=point, radius=radius, root=kind == "OSTIUM")
    graph.add_edges_from((a, b, values) for a, b, values in content.edges(data=True) if a != b)
    frame = content.graph.get("frame")
    return branches_of_graph(graph, str(path)), None if frame is None else str(frame).lower()


def write_gml(path: str | Path, branches: Sequence[Branch]) -> None:
    """Write branches (RAS) as a GML graph that declares its frame, with the attributes that HCATNetwork uses.

    Edges carry the number and the label of their branch, so that the same branches are read back. A branch begins with
    its parent's node; the place and radius of its own first point are not kept beside that.

    Args:
        path: file to write, usually ``*.gml``.
        branches: branches in RAS mm.

    Raises:
        ValueError: If they are no tree, or none.
    """
    check_vessels(branches, str(path))
    graph = nx.Graph(frame="RAS", unit="mm")
    ids: list[list[int]] = []
    for index, branch in enumerate(branches):
        own = [_start(graph, branch, ids)]
        for point, radius in zip(branch.points[1:], branch.radius_mm[1:], strict=True):
            node = _add(graph, point, radius)
            length = float(np.linalg.norm(np.subtract(graph.nodes[node]["point"], graph.nodes[own[-1]]["point"])))
            edge = {"weight": length, "euclidean_distance": length, "branch": index, "branch_label": branch.label}
            graph.add_edge(own[-1], node, **edge)
            own.append(node)
        ids.append(own)
    roots = {own[0] for own, branch in zip(ids, branches, strict=True) if branch.parent < 0}
    for node, values in graph.nodes(data=True):
        del values["point"]
        values["topology"] = "OSTIUM" if node in roots else _TOPOLOGY.get(graph.degree[node], "INTERSECTION")
    with replacing(path) as temporary:
        nx.write_gml(graph, temporary)


_TOPOLOGY = {1: "ENDPOINT", 2: "SEGMENT"}  # by the number of edges


def _start(graph: Graph, branch: Branch, ids: list[list[int]]) -> int:
    """The node that a branch begins with: its parent's, or a new one for a root."""
    if branch.parent >= 0:
        return ids[branch.parent][branch.parent_point]
    return _add(graph, branch.points[0], branch.radius_mm[0])


def _add(graph: Graph, point: Any, radius: float) -> int:
    """Add a node; return its number."""
    node = int(graph.number_of_nodes())
    x, y, z = (round(float(value), 4) for value in point)
    graph.add_node(node, point=(x, y, z), x=x, y=y, z=z, r=round(float(radius), 4), t=0.0)
    return node
