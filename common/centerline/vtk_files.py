"""Centerlines as VTK poly-data, the format of VMTK, ASOCA and ImageCAS-X."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import networkx as nx
import numpy as np
from numpy.typing import NDArray

from .branch import BRANCH_LABELS, Branch
from .graphs import OTHER, branches_of_graph

RADIUS_ARRAYS = ("MaximumInscribedSphereRadius", "Radius", "radius", "radius_mm")
"""Point arrays that hold radii, as VMTK, SlicerVMTK and others call them; the first one present is taken."""


def read_vtk(path: Path) -> list[Branch]:
    """Read poly-data: ``.vtp``, or the older ``.vtk``.

    With the cell array ``Parent``, each cell is a branch, as :func:`.writers.write_vtp` writes them. Without it, cells
    are what VMTK writes: paths from an ostium to an end, whose common part is repeated in each, or single segments.
    Points with the same coordinates (to a micrometre) are then one, and how that graph becomes branches says
    :func:`.graphs.branches_of_graph`; its roots are the points that a cell starts with and none leads to.

    Args:
        path: the file.

    Returns:
        Branches in the frame of the file, which it does not tell. Radii are 0 where no known array holds them.

    Raises:
        ImportError: If the package ``vtk`` is missing.
        ValueError: If the file is damaged or has no lines.
    """
    data = _read_poly_data(path)
    if "Parent" in data.line_arrays:
        return _own_branches(data, path)
    _, first, node = np.unique(np.round(data.points, 3), axis=0, return_index=True, return_inverse=True)
    graph = nx.Graph()
    starts: set[int] = set()
    entered: set[int] = set()
    for line in data.lines:
        walk = node.reshape(-1)[line].tolist()
        graph.add_nodes_from(walk)
        graph.add_edges_from((a, b) for a, b in pairwise(walk) if a != b)
        starts.add(walk[0])
        entered.update(b for a, b in pairwise(walk) if a != b)
    for index, values in graph.nodes(data=True):
        values.update(point=tuple(data.points[first[index]].tolist()), radius=float(data.radius[first[index]]))
        values["root"] = index in starts and index not in entered
    return branches_of_graph(graph, str(path))


VTK_MODULES = ("vtkCommonCore", "vtkIOLegacy", "vtkIOXML", "util.numpy_support")


class _PolyData(NamedTuple):
    """What a file holds: points ``(N, 3)`` with radii ``(N,)``, the points of each line, and arrays over the lines."""

    points: NDArray[np.float64]
    radius: NDArray[np.float64]
    lines: list[NDArray[np.int64]]
    line_arrays: dict[str, NDArray[np.generic]]


def _own_branches(data: _PolyData, path: Path) -> list[Branch]:
    """Read cells as branches; where a child leaves its parent is told, or else the parent's nearest point."""
    count = len(data.lines)
    parents = data.line_arrays["Parent"].astype(int).tolist()
    labels = data.line_arrays.get("BranchLabel", np.full(count, OTHER)).astype(int).tolist()
    places = data.line_arrays.get("ParentPoint")
    branches: list[Branch] = []
    for index, line in enumerate(data.lines):
        points, parent, place = data.points[line], parents[index], -1
        if not -1 <= parent < index:
            raise ValueError(f"{path}: line {index} has the parent {parent}: parents come first, and -1 means none")
        if parent >= 0 and places is not None:
            place = int(places[index])
        elif parent >= 0:
            place = int(np.linalg.norm(branches[parent].points - points[0], axis=1).argmin())
        label = labels[index] if labels[index] in BRANCH_LABELS else OTHER
        branches.append(Branch(points, data.radius[line], label, parent, place))
    return branches


def _read_poly_data(path: Path) -> _PolyData:
    core, legacy, xml, numpy_support = (_module(name, path) for name in VTK_MODULES)
    problems: list[str] = []
    reader = legacy.vtkPolyDataReader() if path.suffix.lower() == ".vtk" else xml.vtkXMLPolyDataReader()
    reader.AddObserver("ErrorEvent", lambda _, event: problems.append(event))
    reader.SetFileName(str(path))
    verbosity = core.vtkLogger.GetCurrentVerbosityCutoff()
    core.vtkLogger.SetStderrVerbosity(core.vtkLogger.VERBOSITY_OFF)  # our error says it; VTK would go on without data
    try:
        reader.Update()
    finally:
        core.vtkLogger.SetStderrVerbosity(verbosity)
    content, vtk_to_numpy = reader.GetOutput(), numpy_support.vtk_to_numpy
    if problems:
        raise ValueError(f"{path} is no VTK poly-data, or damaged; export it again as poly-data (.vtp)")
    count, lines = content.GetNumberOfPoints(), content.GetLines()
    if count == 0 or lines.GetNumberOfCells() == 0:
        raise ValueError(f"{path} holds {count} points and no line of a centerline; are these lines, not a surface?")
    point_arrays = (content.GetPointData().GetArray(name) for name in RADIUS_ARRAYS)
    radius = next((vtk_to_numpy(array) for array in point_arrays if array is not None), np.zeros(count))
    cell_data, first = content.GetCellData(), content.GetNumberOfVerts()  # VTK counts vertex cells before lines
    names = (cell_data.GetArrayName(i) for i in range(cell_data.GetNumberOfArrays()) if cell_data.GetArray(i))
    return _PolyData(
        np.asarray(vtk_to_numpy(content.GetPoints().GetData()), np.float64),
        np.asarray(radius, np.float64),
        np.split(vtk_to_numpy(lines.GetConnectivityArray()), vtk_to_numpy(lines.GetOffsetsArray())[1:-1]),
        {name: vtk_to_numpy(cell_data.GetArray(name))[first:] for name in names},
    )


def _module(name: str, path: Path) -> Any:
    """Import a part of VTK, which is large and needed for these files only."""
    try:
        return import_module(f"vtkmodules.{name}")
    except ImportError as error:
        raise ImportError(
            f"{path}: reading VTK files needs the package vtk: pip install vtk (or convert the file to .csv)"
        ) from error
