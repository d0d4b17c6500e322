"""Centerline files as others write them."""

from __future__ import annotations

import json
from dataclasses import replace

import networkx as nx
import numpy as np
import pytest

from common.centerline import vtk_files
from common.centerline.branch import Branch
from common.centerline.frames import from_ras
from common.centerline.readers import FORMATS, read_centerline
from common.centerline.tree import bifurcation_points, root_to_leaf
from common.centerline.writers import write_centerline, write_vtp
from common.grids import Grid


@pytest.fixture
def tree():
    """A stem of 10 mm with two sides, and a vessel of its own, all with different points and radii."""
    x = np.arange(0, 10.5, 0.5)
    stem = Branch(np.stack([x, 0 * x + 2, 0 * x + 3], axis=1), np.linspace(2, 1, 21), label=2)
    y = np.arange(0, 4.5, 0.5)
    side = Branch(np.stack([0 * y + 5, y + 2, 0 * y + 3], axis=1), np.full(9, 1.5), label=4, parent=0, parent_point=10)
    twig = Branch(np.stack([0 * y + 5, 0 * y + 4, 3 - y], axis=1), np.full(9, 1.5), label=14, parent=1, parent_point=4)
    right = Branch(side.points + np.array([40, 0, 0]), np.linspace(1.9, 1.2, 9), label=9)
    return [stem, side, twig, right]


def same(branches, expected, labels=True):
    """Whether two lists hold the same branches, to a micrometre."""
    assert [(b.parent, b.parent_point) for b in branches] == [(b.parent, b.parent_point) for b in expected]
    for ours, theirs in zip(branches, expected, strict=True):
        np.testing.assert_allclose(ours.points, theirs.points, atol=1e-3)
        np.testing.assert_allclose(ours.radius_mm[1:], theirs.radius_mm[1:], atol=1e-3)
        assert not labels or ours.label == theirs.label
    return True


def poly_data(path, lines, radius_name="MaximumInscribedSphereRadius", legacy=False):
    """Write branches as VTK would, each a line, in the frame of their points."""
    pytest.importorskip("vtkmodules", reason="needs the package vtk")
    from vtkmodules.util.numpy_support import numpy_to_vtk
    from vtkmodules.vtkCommonCore import vtkPoints
    from vtkmodules.vtkCommonDataModel import vtkCellArray, vtkPolyData
    from vtkmodules.vtkIOLegacy import vtkPolyDataWriter
    from vtkmodules.vtkIOXML import vtkXMLPolyDataWriter

    data, points, cells, radius = vtkPolyData(), vtkPoints(), vtkCellArray(), []
    points.SetDataTypeToDouble()
    for branch in lines:
        cells.InsertNextCell(len(branch.points))
        for point, value in zip(branch.points, branch.radius_mm, strict=True):
            cells.InsertCellPoint(points.InsertNextPoint(*point))
            radius.append(value)
    data.SetPoints(points)
    data.SetLines(cells)
    if radius_name:
        array = numpy_to_vtk(np.array(radius), deep=True)
        array.SetName(radius_name)
        data.GetPointData().AddArray(array)
    writer = vtkPolyDataWriter() if legacy else vtkXMLPolyDataWriter()
    writer.SetFileName(str(path))
    writer.SetInputData(data)
    writer.Write()
    return path


def in_lps(branches):
    return [replace(b, points=b.points * [-1, -1, 1]) for b in branches]


# --- VTK -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True], ids=["vtp", "vtk"])
def test_paths_from_the_ostium_with_a_common_part_become_one_tree(tree, tmp_path, legacy):
    paths = in_lps(root_to_leaf(tree))
    assert [path.length_mm for path in paths] == pytest.approx([10, 5 + 4, 5 + 2 + 4, 4])
    path = poly_data(tmp_path / ("a.vtk" if legacy else "a.vtp"), paths, legacy=legacy)
    branches = read_centerline(path)
    assert sum(b.length_mm for b in branches) == pytest.approx(10 + 4 + 4 + 4)  # nothing twice
    # after the first fork the stem is longest to go; after the second, twig and side are
    assert [(b.parent, b.length_mm) for b in branches[:2]] == [(-1, pytest.approx(5 + 6)), (0, pytest.approx(5))]
    np.testing.assert_allclose(np.sort(bifurcation_points(branches), axis=0), [[5, 2, 3], [5, 4, 3]])
    assert sum(b.parent < 0 for b in branches) == 2


def test_radii_are_found_under_each_of_their_names_and_are_0_without(tree, tmp_path):
    for name in vtk_files.RADIUS_ARRAYS:
        (branch,) = read_centerline(poly_data(tmp_path / "a.vtp", in_lps(tree[:1]), name))
        np.testing.assert_allclose(branch.radius_mm, tree[0].radius_mm)
    (branch,) = read_centerline(poly_data(tmp_path / "b.vtp", in_lps(tree[:1]), None))
    assert (branch.radius_mm == 0).all()


def test_single_segments_in_any_order_become_a_vessel_that_begins_thick(tree, tmp_path):
    stem = in_lps(tree)[0]
    pieces = [Branch(stem.points[i : i + 2], stem.radius_mm[i : i + 2], 14) for i in range(20)]
    pieces = [
        replace(p, points=p.points[::-1], radius_mm=p.radius_mm[::-1]) if i % 3 else p for i, p in enumerate(pieces)
    ]
    np.random.default_rng(0).shuffle(pieces)
    same(read_centerline(poly_data(tmp_path / "a.vtp", pieces)), tree[:1], labels=False)


def test_a_cycle_is_cut_at_its_thinnest_edge_with_a_warning(tmp_path):
    angle = np.linspace(0, 2 * np.pi, 41)
    ring = np.stack([10 * np.cos(angle), 10 * np.sin(angle), 0 * angle], axis=1)
    ring[-1] = ring[0]
    thickness = 1 + np.abs(np.arange(41) - 29.5)  # thinnest between the points 29 and 30
    thickness[-1] = thickness[0]
    stem = Branch(np.stack([np.arange(20.0, 9, -1), np.zeros(11), np.zeros(11)], axis=1), np.full(11, 50.0), 14)
    path = poly_data(tmp_path / "a.vtp", in_lps([stem, Branch(ring, thickness, 14)]))
    with pytest.warns(UserWarning, match=r"a\.vtp: the centerline has 1 cycles.*thinnest edge"):
        branches = read_centerline(path)
    points = np.concatenate([b.points for b in branches])
    assert all(np.abs(points - p).sum(axis=1).min() < 1e-6 for p in ring)  # every point stays
    ends = {tuple(np.round(b.points[-1], 3)) for b in branches}
    assert ends == {tuple(np.round(ring[29], 3)), tuple(np.round(ring[30], 3))}


def test_vtk_files_without_the_package_say_how_to_get_it(tree, tmp_path, monkeypatch):
    def missing(name):
        raise ModuleNotFoundError(name)

    write_vtp(tmp_path / "a.vtp", tree)
    monkeypatch.setattr(vtk_files, "import_module", missing)
    with pytest.raises(ImportError, match=r"a\.vtp.*pip install vtk"):
        read_centerline(tmp_path / "a.vtp")


@pytest.mark.parametrize("name", ["a.vtp", "a.vtk"])
@pytest.mark.parametrize(
    "content", ["", "nonsense\n", '<VTKFile type="PolyData"><PolyData>'], ids=["empty", "text", "cut"]
)
def test_a_damaged_vtk_file_is_an_error_and_no_empty_tree(tmp_path, capfd, name, content):
    pytest.importorskip("vtkmodules", reason="needs the package vtk")
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=rf"{name} is no VTK poly-data, or damaged"):
        read_centerline(tmp_path / name)
    assert capfd.readouterr().err == ""  # VTK's own page of complaints


def test_a_vtk_file_without_lines_is_no_centerline(tmp_path):
    path = poly_data(tmp_path / "a.vtp", [])
    with pytest.raises(ValueError, match=r"a\.vtp holds 0 points and no line"):
        read_centerline(path)


def test_the_parent_of_a_cell_may_come_without_its_point(tree, tmp_path):
    pytest.importorskip("vtkmodules", reason="needs the package vtk")
    write_vtp(tmp_path / "a.vtp", tree)
    text = (tmp_path / "a.vtp").read_text()
    (tmp_path / "a.vtp").write_text(text.replace("ParentPoint", "Something"))
    same(read_centerline(tmp_path / "a.vtp"), tree)


# --- GML -------------------------------------------------------------------------------------------------------------


def gml(path, points, edges, roots=(), kind=nx.Graph, radius="r", topology="topology"):
    """Write a graph with a radius of 1 mm; ``radius`` and ``topology`` are the names of those attributes."""
    graph = kind()
    for index, (x, y, z) in enumerate(np.asarray(points, float).tolist()):
        named = {radius: 1.0, topology: "OSTIUM" if index in roots else "SEGMENT"}
        graph.add_node(str(index), x=x, y=y, z=z, t=0.0, **named)
    graph.add_edges_from((str(a), str(b)) for a, b in edges)
    nx.write_gml(graph, path)
    return path


@pytest.mark.parametrize("names", [{}, {"topology": "topology_class", "radius": "radius"}], ids=["ours", "hcatnetwork"])
@pytest.mark.parametrize("kind", [nx.Graph, nx.MultiDiGraph], ids=["graph", "multidigraph"])
def test_a_graph_becomes_a_tree_from_its_ostium_on(tmp_path, names, kind):
    # a Y: 0 - 1 - 2 with 2 - 3 - 4 (long) and 2 - 5 (short); the ostium is 4
    points = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, 0, 0), (4, 0, 0), (2, 1, 0)]
    edges = [(1, 0), (1, 2), (2, 3), (3, 4), (5, 2)]
    edges += [(b, a) for a, b in edges] if kind is nx.MultiDiGraph else []
    stem, side = read_centerline(gml(tmp_path / "a.gml", points, edges, roots=[4], kind=kind, **names), frame="ras")
    np.testing.assert_array_equal(stem.points[:, 0], [4, 3, 2, 1, 0])
    assert (side.parent, side.parent_point, side.points.tolist()) == (0, 2, [[2, 0, 0], [2, 1, 0]])
    assert (stem.radius_mm == 1).all()


def test_a_cyclic_graph_is_read_as_a_tree_with_a_warning(tmp_path):
    points = [(0, 0, 0), (1, 0, 0), (2, 1, 0), (2, -1, 0), (3, 0, 0)]
    path = gml(tmp_path / "a.gml", points, [(0, 1), (1, 2), (1, 3), (2, 4), (3, 4)], roots=[0])
    with pytest.warns(UserWarning, match=r"a\.gml: the centerline has 1 cycles"):
        branches = read_centerline(path)
    assert len(np.unique(np.concatenate([b.points for b in branches]), axis=0)) == 5


def test_a_graph_says_its_frame_or_is_in_lps(tree, tmp_path):
    (branch,) = read_centerline(gml(tmp_path / "a.gml", [(1, 2, 3), (4, 5, 6)], [(0, 1)], roots=[0]))
    np.testing.assert_array_equal(branch.points[0], [-1, -2, 3])
    write_centerline(tmp_path / "b.gml", tree)
    assert 'frame "RAS"' in (tmp_path / "b.gml").read_text()
    same(read_centerline(tmp_path / "b.gml"), tree)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("graph [ node [ id 0 x 1.0 y 2.0 z 3.0 ] ]", "1 of 1 points are joined to no other"),
        ("graph [ ]", "holds no point"),
        ("graph [ node [ id 0 x 1.0 y 2.0 ] ]", "node 0 must have numbers x, y, z"),
        ("node [ id", "is no GML graph, or damaged"),
        ("", "is no GML graph, or damaged"),
    ],
    ids=["single point", "no point", "no z", "damaged", "empty"],
)
def test_a_graph_that_is_no_centerline_is_an_error(tmp_path, content, message):
    (tmp_path / "a.gml").write_text(content)
    with pytest.raises(ValueError, match=rf"a\.gml.*{message}"):
        read_centerline(tmp_path / "a.gml")


# --- CAT08 and CSV ---------------------------------------------------------------------------------------------------


def test_a_cat08_reference_is_one_vessel_in_lps(tmp_path):
    (tmp_path / "reference.txt").write_text("1.5 2.5 3.5 1.2 0.3\n2.5 2.5 3.5 1.1 0.2\n")
    (vessel,) = read_centerline(tmp_path / "reference.txt")
    np.testing.assert_array_equal(vessel.points, [[-1.5, -2.5, 3.5], [-2.5, -2.5, 3.5]])
    np.testing.assert_array_equal(vessel.radius_mm, [1.2, 1.1])
    (tmp_path / "result.txt").write_text("1 2 3\n4 5 6\n")
    assert (read_centerline(tmp_path / "result.txt")[0].radius_mm == 0).all()


@pytest.mark.parametrize("separator", [",", ";", "\t"], ids=["comma", "semicolon", "tab"])
def test_a_table_needs_only_its_header(tmp_path, separator):
    lines = ["Radius,X,Y,Z,label", "2,0,0,0,LAD", "1,1,0,0,LAD"]
    (tmp_path / "a.csv").write_text("\n".join(line.replace(",", separator) for line in lines))
    (vessel,) = read_centerline(tmp_path / "a.csv")
    assert (vessel.points.tolist(), vessel.radius_mm.tolist(), vessel.label) == ([[0, 0, 0], [1, 0, 0]], [2, 1], 2)


def test_a_table_may_declare_its_frame_in_its_header(tmp_path):
    (tmp_path / "a.csv").write_text("x_lps_mm,y_lps_mm,z_lps_mm\n1,2,3\n2,3,4\n")
    np.testing.assert_array_equal(read_centerline(tmp_path / "a.csv")[0].points[0], [-1, -2, 3])


def test_branches_of_a_table_without_parents_are_joined_where_they_begin(tree, tmp_path):
    rows = ["branch,x,y,z"]
    for name in (1, 0, 3, 2):  # the side comes before the stem that it leaves
        rows += [f"{name},{x},{y},{z}" for x, y, z in tree[name].points]
    (tmp_path / "a.csv").write_text("\n".join(rows))
    branches = read_centerline(tmp_path / "a.csv")
    assert [(b.parent, b.parent_point, len(b.points)) for b in branches] == [
        (-1, -1, 21),
        (0, 10, 9),
        (-1, -1, 9),
        (1, 4, 9),
    ]


def test_curves_that_leave_each_other_in_a_circle_are_an_error(tmp_path):
    (tmp_path / "a.csv").write_text("branch,x,y,z\n0,0,0,0\n0,5,0,0\n1,5,0,0\n1,0,0,0\n")
    with pytest.raises(ValueError, match=r"a\.csv: the curves \[0, 1\] leave each other in a circle"):
        read_centerline(tmp_path / "a.csv")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "", "must hold lines of x y z radius"),
        ("a.txt", "1 2\n3 4\n", "must hold lines of x y z radius, got 2 lines of 2"),
        ("a.txt", "one two three\n", "must hold numbers"),
        ("a.txt", "1 2 3 1\n", "branch 0 must have at least two points"),
        ("a.txt", "1 2 3 1\nnan 2 3 1\n", "branch 0 has points or radii that are NaN"),
        ("a.csv", "", "holds no point"),
        ("a.csv", "x,y,z\n", "holds no point"),
        ("a.csv", "x,y,z\n1,2,3\n", "branch 0 must have at least two points"),
        ("a.csv", "x,y\n1,2\n", "must have the columns x, y, z"),
        ("a.csv", "x,y,z\n1,2,3\n1,two,3\n", "column 'y' must hold a number"),
        ("a.csv", "x,y,z\n1,2,3\n1,2\n", "column 'z' must hold a number"),
        ("a.csv", "x,y,z,radius\n1,2,3,1\n1,2,4,inf\n", "NaN or infinite"),
    ],
)
def test_a_table_that_is_no_centerline_is_an_error(tmp_path, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=f"{name}.*{message}"):
        read_centerline(tmp_path / name)


# --- JSON ------------------------------------------------------------------------------------------------------------


def markups(path, curves, system="LPS", measurements=()):
    path.write_text(
        json.dumps(
            {
                "markups": [
                    {
                        "type": "Curve",
                        "coordinateSystem": system,
                        "controlPoints": [{"position": point} for point in points],
                        "measurements": list(measurements),
                    }
                    for points in curves
                ]
            }
        )
    )
    return path


@pytest.mark.parametrize(("system", "sign"), [("LPS", -1), ("RAS", 1), (1, -1), (0, 1), ("0", 1)])
def test_curves_of_3d_slicer_say_their_frame(tmp_path, system, sign):
    (vessel,) = read_centerline(markups(tmp_path / "a.mrk.json", [[[1, 2, 3], [4, 5, 6]]], system))
    np.testing.assert_array_equal(vessel.points[0], [sign, 2 * sign, 3])
    assert (vessel.radius_mm == 0).all()


def test_curves_of_3d_slicer_have_their_radius_as_a_measurement(tmp_path):
    measurements = [{"name": "length", "value": 5.2}, {"name": "Radius", "controlPointValues": [1.5, 1.25]}]
    path = markups(tmp_path / "a.json", [[[1, 2, 3], [4, 5, 6]]], measurements=measurements)  # without .mrk, too
    assert read_centerline(path)[0].radius_mm.tolist() == [1.5, 1.25]


@pytest.mark.parametrize(
    "measurements",
    ["null", "1", "[null]", '[{"name": "Radius", "controlPointValues": ["a", {}]}]'],
    ids=["null", "number", "list of null", "no numbers"],
)
def test_a_curve_whose_measurements_are_damaged_has_no_radius(tmp_path, measurements):
    path = markups(tmp_path / "a.mrk.json", [[[1, 2, 3], [4, 5, 6]]])
    path.write_text(path.read_text().replace('"measurements": []', f'"measurements": {measurements}'))
    assert read_centerline(path)[0].radius_mm.tolist() == [0, 0]


@pytest.mark.parametrize(("name", "label"), [("LAD", 2), ("3 rca", 9), ("Curve 2", 14), ("C (3)", 14), ("", 14)])
def test_the_name_of_a_curve_tells_its_label_but_a_number_does_not(tmp_path, name, label):
    path = markups(tmp_path / "a.mrk.json", [[[1, 2, 3], [4, 5, 6]]])
    path.write_text(path.read_text().replace('"type"', f'"name": "{name}", "type"'))
    assert read_centerline(path)[0].label == label


def test_our_json_may_hold_no_branch(tmp_path):
    write_centerline(tmp_path / "a.json", [])
    assert read_centerline(tmp_path / "a.json", grid=Grid((2, 2, 2), np.eye(4)), mask=np.ones((2, 2, 2), bool)) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is no JSON, or damaged"),
        ("[1, 2]", "must hold a JSON object, got list"),
        ("{}", 'must hold "frame", "unit": "mm" and a list of "branches"'),
        ('{"unit": "px", "branches": []}', '"unit": "mm"'),
        ('{"branches": [{"points": [[1, 2, 3]], "radius_mm": [1]}]}', "branch 0 must have at least two points"),
        ('{"branches": [{"points": [[1, 2, 3], [1, 2]]}]}', "branch 0 must have points"),
        ('{"branches": [{"points": [[1, 2, 3], [1, 2, NaN]]}]}', "NaN or infinite"),
        ('{"frame": "IJK", "branches": []}', "frame must be one of ras, lps, voxel, asoca_vtp, got 'ijk'"),
        ('{"markups": []}', "holds no curve"),
        ('{"markups": null}', "holds no curve"),
        ('{"markups": [1]}', "holds no curve"),
        ('{"markups": [{"type": "Curve", "controlPoints": null}]}', "curve 0 '' must have controlPoints"),
        ('{"markups": [{"type": "Curve", "controlPoints": [{"position": null}]}]}', "branch 0"),
        ('{"markups": [{"type": "Curve", "controlPoints": [{}]}]}', "curve 0 '' must have controlPoints"),
        ('{"markups": [{"type": "Curve", "coordinateSystem": "IJK"}]}', "must be LPS or RAS, got IJK"),
        ('{"markups": [{"type": "Curve", "controlPoints": []}]}', "branch 0 must have at least two points"),
    ],
)
def test_json_that_is_no_centerline_is_an_error(tmp_path, content, message):
    (tmp_path / "a.json").write_text(content)
    with pytest.raises(ValueError, match=rf"a\.json.*{message}"):
        read_centerline(tmp_path / "a.json")


# --- all formats -----------------------------------------------------------------------------------------------------


def test_an_unknown_suffix_and_a_missing_file_are_told(tmp_path):
    with pytest.raises(ValueError, match=r"a\.stl: the suffix.*\.vtp, \.vtk, \.gml"):
        read_centerline(tmp_path / "a.stl")
    for suffix in FORMATS:
        with pytest.raises(FileNotFoundError, match=f"a{suffix}: there is no such"):
            read_centerline(tmp_path / f"a{suffix}")


def test_a_mirrored_file_is_refused_and_read_in_the_frame_that_the_message_names(tree, tmp_path):
    grid = Grid((120, 30, 30), np.diag([0.5, 0.5, 0.5, 1.0]))
    mask = np.zeros(grid.shape, bool)
    mask[tuple(np.round(np.concatenate([b.points for b in tree]) / 0.5).astype(int).T)] = True
    write_centerline(tmp_path / "a.csv", in_lps(tree))  # a table that claims to be RAS
    with pytest.raises(ValueError, match=r"a\.csv does not lie in the mask: 0% .* pass frame='lps'"):
        read_centerline(tmp_path / "a.csv", grid=grid, mask=mask)
    with pytest.raises(ValueError, match=r"a\.csv lies wholly outside its image.*pass frame='lps'"):
        read_centerline(tmp_path / "a.csv", grid=grid)
    same(read_centerline(tmp_path / "a.csv", frame="lps", grid=grid, mask=mask), tree)


def test_files_in_voxels_and_in_the_asoca_frame_are_read_with_the_grid(tree, tmp_path):
    grid = Grid((200, 200, 200), np.array([[-0.4, 0, 0, 60], [0, -0.4, 0, 50], [0, 0, 0.6, -40], [0, 0, 0, 1.0]]))
    for frame in ("voxel", "asoca_vtp"):
        write_centerline(tmp_path / "a.csv", [replace(b, points=from_ras(b.points, frame, grid)) for b in tree])
        same(read_centerline(tmp_path / "a.csv", frame=frame, grid=grid), tree)


def test_a_mask_needs_its_grid(tree, tmp_path):
    write_centerline(tmp_path / "a.csv", tree)
    with pytest.raises(ValueError, match="pass grid"):
        read_centerline(tmp_path / "a.csv", mask=np.ones((3, 3, 3), bool))
