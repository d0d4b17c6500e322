"""Centerlines as data and as files."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import numpy as np
import pytest

from common.centerline.branch import BRANCH_LABELS, Branch
from common.centerline.writers import write_json, write_vtp


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
    write_vtp(tmp_path / "a.vtp", branches)
    write_json(tmp_path / "a.json", branches)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.json", "a.vtp"]


def test_a_file_without_branches_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"empty\.vtp.*at least one branch"):
        write_vtp(tmp_path / "empty.vtp", [])


def test_there_are_fourteen_branch_labels():
    assert list(BRANCH_LABELS) == list(range(1, 15))
