"""Disturbed centerlines: how large the noise is, and that vessels stay vessels."""

import numpy as np
import pytest

from common.centerline.branch import Branch
from common.centerline.noise import delete_segments, false_branches, jitter, shift


@pytest.fixture
def tree():
    """A straight stem of 100 mm, a point every 0.5 mm, and a side branch of 40 mm from its middle."""
    along = np.linspace(0, 100, 201)
    stem = Branch(np.stack([along, 0 * along, 0 * along], axis=1), np.full(201, 2.0), label=2)
    up = np.linspace(0, 40, 81)
    side = Branch(np.stack([0 * up + 50, up, 0 * up], axis=1), np.full(81, 1.0), label=4, parent=0, parent_point=100)
    return [stem, side]


def random():
    return np.random.RandomState(0)


def test_jitter_has_its_standard_deviation_at_the_nodes(tree):
    source = random()
    nodes = [(jitter(tree, source, np.array([0.5, 1, 2]))[0].points - tree[0].points)[::10] for _ in range(100)]
    np.testing.assert_allclose(np.concatenate(nodes).std(axis=0), [0.5, 1, 2], rtol=0.1)  # a node every 5 mm


def test_jitter_bends_a_vessel_and_makes_no_zigzag_of_it(tree):
    moved = jitter(tree, random(), np.full(3, 0.5))[0].points
    steps = np.diff(moved, axis=0)
    turns = (
        (steps[1:] * steps[:-1]).sum(axis=1) / np.linalg.norm(steps[1:], axis=1) / np.linalg.norm(steps[:-1], axis=1)
    )
    assert np.degrees(np.arccos(np.clip(turns, -1, 1))).max() < 15  # independent noise per point turns by 90 and more


def test_branches_stay_joined_to_their_parents(tree):
    source = random()
    for _ in range(5):
        stem, side = jitter(tree, source, np.ones(3))
        np.testing.assert_allclose(side.points[0], stem.points[100])
        assert (side.parent, side.parent_point) == (0, 100)


def test_a_branch_without_length_is_moved_as_a_whole():
    still = Branch(np.zeros((2, 3)), np.ones(2), label=14)
    moved = jitter([still], random(), np.ones(3))[0].points
    np.testing.assert_array_equal(moved[0], moved[1])


def test_a_deleted_stretch_is_as_long_as_asked_for(tree):
    source, lost = random(), []
    for _ in range(50):
        pieces = delete_segments(tree[:1], source, 1.0, (5, 30))
        assert all(piece.parent == -1 and len(piece.points) >= 2 for piece in pieces)
        lost.append(100 - sum(piece.length_mm for piece in pieces))
    # a stretch that runs over an end is cut shorter; the lost pieces reach to the next kept point on both sides
    assert max(lost) <= 30 + 1
    assert min(lost) >= 5 / 2
    assert np.mean(lost) > 10


def test_what_is_left_of_a_branch_is_part_of_it(tree):
    pieces = delete_segments(tree, random(), 1.0, (5, 30))
    before = {tuple(point) for branch in tree for point in branch.points}
    assert {tuple(point) for piece in pieces for point in piece.points} < before


def test_a_stretch_longer_than_a_branch_removes_it(tree):
    assert delete_segments(tree, random(), 1.0, (300, 300)) == []


def test_the_chance_of_a_deletion_holds_for_each_branch(tree):
    source = random()
    hit = [
        sum(len(delete_segments([b], source, 0.3, (5, 6))[0].points) < len(b.points) for b in tree) for _ in range(300)
    ]
    assert np.mean(hit) / 2 == pytest.approx(0.3, abs=0.06)


def test_false_branches_are_walks_of_the_right_length_near_the_tree(tree):
    source, springing = random(), 0
    for _ in range(50):
        (walk,) = false_branches(tree[:1], source, 1.0, (5, 20))
        assert 5 - 1e-6 <= walk.length_mm <= 20 + 1e-6
        away = np.linalg.norm(tree[0].points - walk.points[0], axis=1).min()
        assert away <= 10
        springing += away == 0
        assert (walk.label, walk.parent) == (14, -1)
        assert (walk.radius_mm == 2).all()
    assert 15 <= springing <= 35  # half of them


def test_chances_of_zero_change_nothing(tree):
    assert false_branches(tree, random(), 0.0, (5, 20)) == []
    same = delete_segments(tree, random(), 0.0, (5, 30))
    for before, after in zip(tree, same, strict=True):
        np.testing.assert_array_equal(before.points, after.points)


def test_a_shift_moves_every_point_alike(tree):
    for before, after in zip(tree, shift(tree, np.array([1.0, -2, 3])), strict=True):
        np.testing.assert_allclose(after.points - before.points, np.tile([1, -2, 3], (len(before.points), 1)))


def test_an_empty_centerline_stays_empty():
    assert jitter([], random(), np.ones(3)) == []
    assert delete_segments([], random(), 1.0, (5, 30)) == []
    assert false_branches([], random(), 1.0, (5, 20)) == []
