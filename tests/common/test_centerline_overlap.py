"""Scores of centerline trees."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common.centerline.branch import Branch
from common.centerline.overlap import score_centerline

SHARES = ("ov", "of", "ot", "length_detected", "length_correct", "branches_detected")
DISTANCES = ("ai_mm", "assd_mm", "hd95_mm")


def line(start, end, radius=1.0, step=0.5, **links):
    """A straight branch with a point every ``step`` mm; ``radius`` is one number, or the first and the last."""
    start, end = np.array(start, float), np.array(end, float)
    share = np.linspace(0, 1, round(np.linalg.norm(end - start) / step) + 1)
    radii = np.interp(share, [0, 1], np.broadcast_to(radius, 2))
    return Branch(start + share[:, None] * (end - start), radii, 14, **links)


@pytest.fixture
def tree():
    """A stem of 100 mm along x, and a side branch of 40 mm along y that leaves it at 60 mm."""
    return [line((0, 0, 0), (100, 0, 0)), line((60, 0, 0), (60, 40, 0), parent=0, parent_point=120)]


def moved(branches, offset):
    return [replace(branch, points=branch.points + np.asarray(offset)) for branch in branches]


def test_a_tree_covers_itself(tree):
    scores = score_centerline(tree, tree)
    assert all(scores[name] == 1 for name in SHARES)
    assert all(scores[name] == pytest.approx(0, abs=1e-9) for name in DISTANCES)
    assert scores["reference_length_mm"] == scores["prediction_length_mm"] == pytest.approx(140)
    assert (scores["reference_branches"], scores["reference_bifurcations"]) == (3, 1)


def test_a_shift_within_the_radius_costs_accuracy_and_no_overlap(tree):
    scores = score_centerline(moved(tree, (0, 0, 0.4)), tree)
    assert scores["ov"] == scores["of"] == scores["ot"] == 1
    assert [scores[name] for name in DISTANCES] == pytest.approx([0.4] * 3, abs=1e-3)


def test_a_shift_beyond_the_radius_finds_nothing(tree):
    scores = score_centerline(moved(tree, (0, 0, 1.1)), tree, diagonal_mm=200)
    assert scores["ov"] == scores["of"] == scores["length_detected"] == scores["length_correct"] == 0
    assert scores["assd_mm"] == pytest.approx(1.1, abs=1e-3)
    assert scores["ai_mm"] == 200  # nothing is inside, and that must not look accurate


def test_the_local_radius_of_the_reference_decides():
    reference = [line((0, 0, 0), (100, 0, 0), radius=(2, 0))]
    scores = score_centerline(moved(reference, (0, 0.5, 0)), reference)
    assert scores["ov"] == pytest.approx(0.75, abs=1e-3)  # the radius is at least 0.5 mm on three quarters


def test_a_missed_side_branch_counts_once_in_overlap_and_in_its_own_path(tree):
    scores = score_centerline(tree[:1], tree)
    side_seen = 1.0  # the stem passes within the radius on the first mm
    assert scores["ov"] == pytest.approx((100 + 100 + side_seen) / 240, abs=1e-3)
    assert scores["of"] == pytest.approx((1 + (60 + side_seen) / 100) / 2, abs=1e-3)
    assert scores["length_detected"] == pytest.approx((100 + side_seen) / 140, abs=1e-3)
    assert scores["branches_detected"] == pytest.approx(2 / 3)
    assert (scores["bifurcations_detected"], scores["bifurcations_correct"]) == (0, 0)


def test_a_false_branch_lowers_overlap_and_not_what_is_found(tree):
    scores = score_centerline(tree, tree[:1])
    assert scores["of"] == scores["length_detected"] == scores["branches_detected"] == 1
    assert scores["length_correct"] == pytest.approx(101 / 140, abs=1e-3)
    assert scores["ov"] == pytest.approx((100 + 101) / 240, abs=1e-3)


@pytest.mark.parametrize(("missing_mm", "expected"), [(4, 1.0), (8, 0.0)], ids=["forgiven", "counted"])
def test_the_first_five_millimetres_are_forgiven_in_the_overlap_until_the_first_error(missing_mm, expected):
    reference = [line((0, 0, 0), (100, 0, 0), radius=0.5)]
    scores = score_centerline([line((missing_mm, 0, 0), (100, 0, 0))], reference)
    assert scores["of"] == pytest.approx(expected, abs=1e-3)
    assert scores["ov"] < 1


def test_a_gap_ends_the_overlap_until_the_first_error():
    reference = [line((0, 0, 0), (100, 0, 0), radius=0.5)]
    parts = [line((0, 0, 0), (39.5, 0, 0)), line((42.5, 0, 0), (100, 0, 0))]
    scores = score_centerline(parts, reference)
    assert scores["of"] == pytest.approx(0.40, abs=1e-3)
    assert scores["length_detected"] == pytest.approx(0.98, abs=1e-3)


def test_only_the_part_wider_than_one_and_a_half_millimetres_counts_for_treatment():
    reference = [line((0, 0, 0), (100, 0, 0), radius=(1.75, 0.25))]  # 0.75 mm at two thirds of the way
    far_missing = score_centerline([line((0, 0, 0), (70, 0, 0))], reference)
    assert far_missing["ot"] == pytest.approx(1, abs=1e-3)
    assert far_missing["ov"] < 0.9
    near_missing = score_centerline([line((20, 0, 0), (100, 0, 0))], reference)
    found = 200 / 3 - (20 - 1.45 / 1.015)  # its first millimetres lie within the radius of its end
    assert near_missing["ot"] == pytest.approx((found + 200 / 3 - 20) / (200 / 3 + 200 / 3 - 20), abs=0.01)


def test_a_path_too_thin_for_treatment_is_not_missed_by_treatment(tree):
    thin = [replace(branch, radius_mm=0.5 * branch.radius_mm) for branch in tree]
    assert score_centerline(moved(tree, (0, 0, 30)), thin)["ot"] == 1


def test_a_branch_is_detected_from_four_fifths_of_its_length_on():
    reference = [line((0, 0, 0), (100, 0, 0), radius=0.01)]
    scores = [score_centerline([line((0, 0, 0), (length, 0, 0))], reference) for length in (79.5, 80.5)]
    assert [s["branches_detected"] for s in scores] == [0, 1]


def test_cutting_vessels_at_their_forks_changes_no_score(tree):
    stem, side = tree
    cut = [
        line((0, 0, 0), (60, 0, 0)),
        line((60, 0, 0), (100, 0, 0), parent=0, parent_point=120),
        line((60, 0, 0), (60, 40, 0), parent=0, parent_point=120),
    ]
    for prediction in (moved(tree, (0.2, 0.1, 0.3)), [stem], [replace(side, parent=-1)]):
        whole, pieces = score_centerline(prediction, tree), score_centerline(prediction, cut)
        assert pieces == pytest.approx(whole, abs=1e-3)


def test_bifurcations_are_matched_one_to_one_within_three_millimetres():
    stem = line((0, 0, 0), (100, 0, 0))

    def with_sides(*places):
        sides = [line((x, 0, 0), (x, 30, 0), parent=0, parent_point=2 * x) for x in places]
        return [stem, *sides]

    scores = score_centerline(with_sides(22, 50, 84), with_sides(20, 24, 80))
    # 22 matches one of 20 and 24, 50 nothing, and 84 is 4 mm away from 80
    assert (scores["bifurcations_detected"], scores["bifurcations_correct"]) == pytest.approx((1 / 3, 1 / 3))
    both = score_centerline(with_sides(22, 26), with_sides(20, 24))
    assert both["bifurcations_detected"] == 1  # 22 to 20 and 26 to 24, although 22 is as near to 24


def test_two_empty_centerlines_agree_and_one_misses_everything(tree):
    nothing = score_centerline([], [])
    assert all(nothing[name] == 1 for name in SHARES)
    assert all(nothing[name] == 0 for name in DISTANCES)
    for prediction, reference in (([], tree), (tree, [])):
        scores = score_centerline(prediction, reference)
        assert all(scores[name] == 0 for name in SHARES)
        assert all(scores[name] == pytest.approx(np.hypot(100, 40)) for name in DISTANCES)  # diagonal of the tree's box
        assert score_centerline(prediction, reference, diagonal_mm=250)["assd_mm"] == 250
        assert list(scores) == list(nothing) == list(score_centerline(tree, tree))


def test_the_step_hardly_matters(tree):
    fine, coarse = (score_centerline(moved(tree[:1], (0, 0.3, 0)), tree, step_mm=step) for step in (0.02, 0.2))
    assert coarse == pytest.approx(fine, abs=0.1)


def test_a_reference_without_radii_is_refused(tree):
    bare = [replace(branch, radius_mm=0 * branch.radius_mm) for branch in tree]
    with pytest.raises(ValueError, match="reference has no radii"):
        score_centerline(tree, bare)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": np.full((81, 3), np.nan)}, "prediction: branch 1 has points or radii that are NaN"),
        ({"radius_mm": np.ones(3)}, r"branch 1 must have at least two points.*\(3,\)"),
        ({"parent": 1}, "branch 1 has the parent 1: parents come first"),
        ({"parent_point": 500}, "branch 1 leaves its parent at point 500, but that has 201 points"),
    ],
    ids=["not finite", "radii", "parent", "parent's point"],
)
def test_what_is_no_tree_is_refused(tree, change, message):
    with pytest.raises(ValueError, match=message):
        score_centerline([tree[0], replace(tree[1], **change)], tree)


def test_a_step_that_is_not_positive_is_refused(tree):
    with pytest.raises(ValueError, match="step_mm must be positive, got 0"):
        score_centerline(tree, tree, step_mm=0)
