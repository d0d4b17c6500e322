"""Centerlines as data and as files."""

from __future__ import annotations

import json
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest

from common.centerline.branch import BRANCH_LABELS, Branch
from common.centerline.readers import read_centerline
from common.centerline.tree import root_to_leaf
from common.centerline.writers import WRITERS, write_centerline, write_json, write_vtp


@pytest.fixture
def branches():
    """A straight stem of 10 mm and a side branch of 5 mm from its middle."""
    x = np.linspace(0, 10, 11)
    stem = Branch(np.stack([x, 0 * x + 2, 0 * x + 3], axis=1), np.linspace(2, 1, 11), label=2)
    y = np.linspace(0, 5, 6)
    side = Branch(np.stack([0 * y + 5, y + 2, 0 * y + 3], axis=1), np.full(6, 0.75), label=4, parent=0, parent_point=5)
    return [stem, side]


def array(tree, name):
    """The numbers of a VTK data array."""
    node = next(node for node in tree.iter("DataArray") if node.get("Name") == name)
    return np.array(node.text.split(), float)


def test_a_branch_measures_itself_along_its_points(branches):
    stem, side = branches
    assert stem.length_mm == pytest.approx(10)
    assert side.length_mm == pytest.approx(5)
    np.testing.assert_allclose(stem.arc_mm, np.arange(11))


def test_vtp_holds_lps_points_with_radius_label_and_parent(branches, tmp_path):
    write_vtp(tmp_path / "a.vtp", branches)
    tree = ElementTree.parse(tmp_path / "a.vtp")
    points = array(tree, "Points").reshape(-1, 3)
    expected = np.concatenate([b.points for b in branches])
    np.testing.assert_allclose(points, expected * [-1, -1, 1], atol=1e-5)
    radius = array(tree, "MaximumInscribedSphereRadius")
    np.testing.assert_allclose(radius, np.concatenate([b.radius_mm for b in branches]), atol=1e-5)
    lines = next(tree.iter("Lines"))
    np.testing.assert_array_equal(array(lines, "offsets"), [11, 17])
    np.testing.assert_array_equal(array(lines, "connectivity"), np.arange(17))
    np.testing.assert_array_equal(array(tree, "BranchLabel"), [2, 4])
    np.testing.assert_array_equal(array(tree, "Parent"), [-1, 0])
    np.testing.assert_array_equal(array(tree, "ParentPoint"), [-1, 5])
    piece = next(tree.iter("Piece"))
    assert (piece.get("NumberOfPoints"), piece.get("NumberOfLines")) == ("17", "2")


def test_json_declares_frame_and_unit(branches, tmp_path):
    write_json(tmp_path / "a.json", branches)
    content = json.loads((tmp_path / "a.json").read_text())
    assert (content["frame"], content["unit"]) == ("RAS", "mm")
    assert [b["name"] for b in content["branches"]] == ["LAD", "D1"]
    assert content["branches"][1]["parent_point"] == 5
    np.testing.assert_allclose(content["branches"][0]["points"], branches[0].points, atol=1e-4)


def test_files_leave_nothing_else_behind(branches, tmp_path):
    for suffix in WRITERS:
        write_centerline(tmp_path / f"a{suffix}", branches[:1])
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"a{suffix}" for suffix in WRITERS)


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITERS if suffix != ".txt"])
def test_every_format_brings_the_tree_back(branches, tmp_path, suffix):
    if suffix == ".vtp":
        pytest.importorskip("vtkmodules", reason="needs the package vtk")
    # a second branch from the same point, one that goes on from an end, and a vessel of its own
    side = branches[1]
    twin = replace(side, points=side.points * [1, -1, 1] + np.array([0, 4, 0]), label=14)
    tail = replace(side, points=side.points + np.array([0, 5, 0]), label=14, parent=1, parent_point=5)
    other = replace(side, points=side.points + np.array([40, 0, 0]), label=9, parent=-1, parent_point=-1)
    tree = [*branches, twin, tail, other]
    write_centerline(tmp_path / f"a{suffix}", tree)
    read = read_centerline(tmp_path / f"a{suffix}")
    assert [(b.label, b.parent, b.parent_point) for b in read] == [(b.label, b.parent, b.parent_point) for b in tree]
    for ours, theirs in zip(read, tree, strict=True):
        np.testing.assert_allclose(ours.points, theirs.points, atol=1e-3)
        first = 1 if suffix == ".gml" and theirs.parent >= 0 else 0  # there it is the parent's own point
        np.testing.assert_allclose(ours.radius_mm[first:], theirs.radius_mm[first:], atol=1e-3)


def test_the_vessels_of_a_tree_become_files_of_the_rotterdam_challenge(branches, tmp_path):
    vessels = root_to_leaf(branches)
    assert [(len(v.points), v.label, v.parent) for v in vessels] == [(11, 2, -1), (6 + 5, 4, -1)]
    write_centerline(tmp_path / "a.txt", vessels[1:])
    np.testing.assert_allclose(
        np.loadtxt(tmp_path / "a.txt")[[0, 5, 10]], [[0, -2, 3, 2], [-5, -2, 3, 1.5], [-5, -7, 3, 0.75]]
    )
    (read,) = read_centerline(tmp_path / "a.txt")
    np.testing.assert_allclose(read.points, vessels[1].points)
    with pytest.raises(ValueError, match=r"b\.txt: the format of CAT08 holds one vessel.*2 ends.*root_to_leaf"):
        write_centerline(tmp_path / "b.txt", branches)


def test_markups_are_what_3d_slicer_expects(branches, tmp_path):
    write_centerline(tmp_path / "a.mrk.json", branches)
    content = json.loads((tmp_path / "a.mrk.json").read_text())
    assert "/markups-schema-v1." in content["@schema"]  # by this 3D Slicer knows the file
    stem, side = content["markups"]
    assert (stem["type"], stem["coordinateSystem"], stem["name"], side["name"]) == ("Curve", "LPS", "0 LAD", "1 D1")
    assert stem["controlPoints"][1]["position"] == [-1, -2, 3]
    (radius,) = stem["measurements"]
    assert (radius["name"], len(radius["controlPointValues"])) == ("Radius", 11)


@pytest.mark.parametrize("suffix", [suffix for suffix in WRITERS if suffix != ".json"])
def test_a_file_without_branches_is_refused(tmp_path, suffix):
    with pytest.raises(ValueError, match=rf"empty{suffix}.*at least one branch"):
        write_centerline(tmp_path / f"empty{suffix}", [])
    assert not list(tmp_path.iterdir())


def test_an_unknown_suffix_is_refused(branches, tmp_path):
    with pytest.raises(ValueError, match=r"a\.stl: the suffix of a centerline file must be one of \.vtp, \.gml"):
        write_centerline(tmp_path / "a.stl", branches)


def test_there_are_fourteen_branch_labels():
    assert list(BRANCH_LABELS) == list(range(1, 15))
