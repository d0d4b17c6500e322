"""Centerlines as voxels: rounding, lines without holes, tubes of the right radius, patches that show a part."""

import time

import numpy as np
import pytest
from scipy import ndimage

from common.centerline.branch import Branch
from common.centerline.raster import draw_centerline, line_voxels, round_half_up, to_voxels

TOUCHING = np.ones((3, 3, 3))


def line(*points):
    """A branch through the given points."""
    return Branch(np.array(points, float), np.ones(len(points)), label=14)


def grid(spacing=(1.0, 1.0, 1.0), origin=(0.0, 0.0, 0.0)):
    """An affine."""
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = origin
    return affine


@pytest.fixture
def tree():
    """Random walks of 100 mm with steps of 2 mm, around the middle of a volume of 100 mm."""
    random = np.random.RandomState(0)
    return [line(*(50 + np.cumsum(2 * random.normal(size=(50, 3)), axis=0))) for _ in range(10)]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.5, 1), (1.5, 2), (2.4999, 2), (2.5, 3), (-0.5, 0), (-0.6, -1), (0.49999999999999994, 0)],
)
def test_halves_are_rounded_up(value, expected):
    assert round_half_up(value) == expected


def test_mm_become_voxels_by_the_inverse_of_the_affine():
    voxels = to_voxels(np.array([[10.0, 20.0, 30.0]]), grid((0.5, -2.0, 3.0), (5, 40, 0)))
    np.testing.assert_allclose(voxels, [[10, 10, 10]])


def test_a_diagonal_between_two_points_is_drawn_without_holes():
    drawn = draw_centerline([line((1, 1, 1), (6, 6, 6))], (8, 8, 8), grid())
    np.testing.assert_array_equal(np.argwhere(drawn), np.repeat(np.arange(1, 7), 3).reshape(-1, 3))
    assert drawn.dtype == np.uint8
    assert drawn.max() == 1


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.35, 0.35, 3), (-0.4, 0.7, 0.6)], ids=str)
def test_a_branch_is_one_connected_line_on_any_grid(tree, spacing):
    size = 200
    affine = grid(spacing, [50 - step * size / 2 for step in spacing])
    complete = 0
    for branch in tree[:5]:
        voxels = to_voxels(branch.points, affine)
        if voxels.min() < 0 or voxels.max() > size - 1:
            continue  # what leaves the grid may come back as a second piece
        complete += 1
        drawn = draw_centerline([branch], (size,) * 3, affine)
        assert ndimage.label(drawn, TOUCHING)[1] == 1
        assert drawn[tuple(round_half_up(voxels).T)].all()
    assert complete >= 3


def test_no_voxel_is_far_from_the_line(tree):
    drawn = np.argwhere(draw_centerline(tree[:1], (100,) * 3, grid()))
    fine = np.concatenate(
        [np.linspace(a, b, 200) for a, b in zip(tree[0].points[:-1], tree[0].points[1:], strict=True)]
    )
    distance = np.array([np.abs(fine - voxel).max(axis=1).min() for voxel in drawn])
    assert distance.max() <= 0.5 + 0.02  # a voxel reaches half an edge; the line is known every 0.02


def test_a_patch_shows_what_the_volume_has_there(tree):
    whole = draw_centerline(tree, (100,) * 3, grid())
    start = np.array([40, 30, 45])
    patch = draw_centerline(tree, (32, 40, 20), grid(origin=start))
    assert patch.any()
    np.testing.assert_array_equal(patch, whole[40:72, 30:70, 45:65])


def test_a_tube_reaches_into_a_patch_from_outside(tree):
    whole = draw_centerline(tree, (100,) * 3, grid(), radius_mm=3)
    patch = draw_centerline(tree, (32, 40, 20), grid(origin=(40, 30, 45)), radius_mm=3)
    np.testing.assert_array_equal(patch, whole[40:72, 30:70, 45:65])


def test_a_tube_holds_exactly_the_voxels_within_its_radius():
    spacing = (0.5, 1.0, 2.0)
    lines = [line((5, 10, 20), (12, 10, 20))]
    thin = draw_centerline(lines, (40, 20, 20), grid(spacing))
    tube = draw_centerline(lines, (40, 20, 20), grid(spacing), radius_mm=2)
    distance = ndimage.distance_transform_edt(thin == 0, sampling=spacing)
    np.testing.assert_array_equal(tube == 1, distance <= 2 + 1e-9)


def test_lines_cross_a_patch_even_if_both_their_points_lie_outside():
    drawn = draw_centerline([line((-50, 3, 3), (50, 3, 3))], (8, 8, 8), grid())
    assert drawn.sum() == drawn[:, 3, 3].sum() == 8


def test_a_centerline_beside_the_grid_draws_nothing():
    assert not draw_centerline([line((20, 3, 3), (50, 3, 3))], (8, 8, 8), grid()).any()


def test_no_branches_draw_nothing():
    assert draw_centerline([], (4, 5, 6), grid()).shape == (4, 5, 6)
    assert not draw_centerline([], (4, 5, 6), grid()).any()


def test_the_voxels_of_the_line_are_those_that_are_drawn(tree):
    voxels = line_voxels(tree, (100,) * 3, grid())
    np.testing.assert_array_equal(voxels, np.argwhere(draw_centerline(tree, (100,) * 3, grid())))


def test_a_patch_of_a_whole_tree_is_drawn_in_two_milliseconds():
    tree = [line(*np.linspace((0, 10 * i, 0), (100, 10 * i + 9, 100), 300)) for i in range(12)]
    times = []
    for _ in range(20):
        start = time.thread_time()  # of this thread alone: the machine may be busy
        draw_centerline(tree, (128, 128, 32), grid((0.5,) * 3, (20, 20, 20)))
        times.append(time.thread_time() - start)
    assert min(times) < 2e-3


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"radius_mm must be at least 0, got -1"):
        draw_centerline([], (8, 8, 8), grid(), radius_mm=-1)
    with pytest.raises(ValueError, match=r"a shape of 3 axes and an affine of \(4, 4\), got \(8, 8\)"):
        draw_centerline([], (8, 8), grid())
