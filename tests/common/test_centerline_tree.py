"""Where a centerline tree begins, forks and ends."""

from __future__ import annotations

import numpy as np
import pytest

from common.centerline.branch import Branch
from common.centerline.tree import bifurcation_points, end_points, leaves, root_points, root_to_leaf, segment_cuts


def line(start, end, parent=-1, parent_point=-1):
    """A branch of eleven points."""
    return Branch(np.linspace(start, end, 11), np.full(11, 1.0), 14, parent, parent_point)


STEM = line((0, 0, 0), (10, 0, 0))
SIDE = line((5, 0, 0), (5, 9, 0), 0, 5)
TAIL = line((10, 0, 0), (20, 0, 0), 0, 10)
TWIN = line((10, 0, 0), (10, 9, 0), 0, 10)
OTHER_SIDE = line((5, 0, 0), (5, -9, 0), 0, 5)


@pytest.mark.parametrize(
    ("branches", "forks", "ends"),
    [
        ([], [], []),
        ([STEM], [], [(10, 0, 0)]),
        ([STEM, SIDE], [(5, 0, 0)], [(10, 0, 0), (5, 9, 0)]),
        ([STEM, TAIL], [], [(20, 0, 0)]),
        ([STEM, TAIL, TWIN], [(10, 0, 0)], [(20, 0, 0), (10, 9, 0)]),
        ([STEM, SIDE, OTHER_SIDE], [(5, 0, 0)], [(10, 0, 0), (5, 9, 0), (5, -9, 0)]),
    ],
    ids=["nothing", "a line", "a side", "a continuation", "an end in two", "two sides of one point"],
)
def test_three_lines_make_a_fork_and_two_do_not(branches, forks, ends):
    np.testing.assert_array_equal(bifurcation_points(branches), np.reshape(forks, (-1, 3)))
    np.testing.assert_array_equal(end_points(branches), np.reshape(ends, (-1, 3)))
    np.testing.assert_array_equal(root_points(branches), np.zeros((min(len(branches), 1), 3)))


def test_a_branch_is_cut_where_others_leave_its_inside():
    assert segment_cuts([STEM, SIDE, TAIL, OTHER_SIDE]) == [[5], [], [], []]
    assert leaves([STEM, SIDE, TAIL]) == [1, 2]


def test_the_vessel_to_an_end_runs_through_its_parents():
    side, tail = root_to_leaf([STEM, SIDE, TAIL])
    assert side.length_mm == pytest.approx(5 + 9)
    assert tail.length_mm == pytest.approx(20)
    assert (np.diff(tail.arc_mm) > 0).all()  # the common point is taken once
