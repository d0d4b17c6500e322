"""Frames of centerline files."""

from __future__ import annotations

import numpy as np
import pytest

from common.centerline.branch import Branch
from common.centerline.frames import FRAMES, check_frame, from_ras, share_inside, to_ras, transformed, voxel_coordinates
from common.grids import Grid

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def asoca_grid(shape=(400, 420, 240)):
    """A scan as ASOCA stores them: the axes of LPS, here with the origin and spacing of the worked example."""
    lps = np.diag([0.4, 0.35, 0.625, 1.0])
    lps[:3, 3] = (-90, -70, -250)
    return Grid(shape, LPS @ lps)


def turned(grid):
    """The grid of the same scan after its axes were turned to RAS."""
    affine = grid.affine.copy()
    affine[:3, 3] += affine[:3, 0] * (grid.shape[0] - 1) + affine[:3, 1] * (grid.shape[1] - 1)
    affine[:3, :2] *= -1
    return Grid(grid.shape, affine)


@pytest.fixture
def vessel():
    """A scan with a tube in one corner, its mask, and the tube's axis in RAS mm."""
    grid = asoca_grid((60, 80, 40))
    voxels = np.stack([np.linspace(5, 20, 40), np.linspace(10, 30, 40), np.linspace(3, 15, 40)], axis=1)
    mask = np.zeros(grid.shape, bool)
    mask[tuple(np.round(voxels).astype(int).T)] = True
    return grid, mask, to_ras(voxels, "voxel", grid)


def test_the_worked_example_of_the_asoca_frame():
    grid = asoca_grid()
    point = to_ras(np.array([[120.0, 100.0, -180.0]]), "asoca_vtp", grid)
    np.testing.assert_allclose(voxel_coordinates(point, grid.affine), [[75, 85.7143, 112]], atol=1e-4)
    # (x + 2 O_x, y + 2 O_y, z) in LPS is (-60, -40, -180)
    np.testing.assert_allclose(point, [[60, 40, -180]])


def test_the_asoca_frame_is_that_of_the_file_also_after_the_volume_was_turned():
    grid = asoca_grid()
    points = np.array([[120.0, 100.0, -180.0], [100.0, 90.0, -170.0]])
    np.testing.assert_allclose(to_ras(points, "asoca_vtp", turned(grid)), to_ras(points, "asoca_vtp", grid))


def test_lps_mirrors_the_first_two_axes():
    np.testing.assert_array_equal(to_ras(np.array([[1.0, 2.0, 3.0]]), "lps"), [[-1, -2, 3]])


@pytest.mark.parametrize("frame", FRAMES)
def test_every_frame_leads_to_ras_and_back(frame):
    points = np.random.default_rng(0).normal(size=(20, 3))
    np.testing.assert_allclose(from_ras(to_ras(points, frame, asoca_grid()), frame, asoca_grid()), points, atol=1e-9)


def test_branches_keep_all_but_their_points():
    branch = Branch(np.array([[1.0, 2.0, 3.0], [2.0, 3.0, 4.0]]), np.array([1.0, 0.5]), 2)
    (moved,) = transformed([branch], "lps")
    np.testing.assert_array_equal(moved.points, [[-1, -2, 3], [-2, -3, 4]])
    assert (moved.radius_mm is branch.radius_mm, moved.label, moved.parent) == (True, 2, -1)


@pytest.mark.parametrize("frame", ["voxel", "asoca_vtp"])
def test_a_frame_of_the_image_needs_its_grid(frame):
    with pytest.raises(ValueError, match=f"{frame}.*pass its grid"):
        to_ras(np.zeros((1, 3)), frame)


def test_an_unknown_frame_is_refused():
    with pytest.raises(ValueError, match="frame must be one of ras, lps, voxel, asoca_vtp, got 'RAS'"):
        to_ras(np.zeros((1, 3)), "RAS")


def test_the_asoca_frame_of_an_oblique_image_is_refused():
    affine = asoca_grid().affine.copy()
    affine[:2, :2] = affine[:2, :2] @ [[0.8, -0.6], [0.6, 0.8]]
    with pytest.raises(ValueError, match=r"asoca_vtp.*oblique"):
        to_ras(np.zeros((1, 3)), "asoca_vtp", Grid((10, 10, 10), affine))


def test_two_voxels_beside_the_mask_are_inside_and_three_are_not():
    grid = Grid((20, 20, 20), np.diag([0.5, 0.5, 3.0, 1.0]))
    mask = np.zeros(grid.shape, bool)
    mask[10, 10, 10] = True
    voxels = np.array([[10, 10, 10], [12, 12, 8], [13, 10, 10], [10, 10, 13], [-50, 0, 0]], float)
    assert share_inside(to_ras(voxels, "voxel", grid), grid, mask) == 2 / 5


@pytest.mark.parametrize("frame", FRAMES)
def test_a_centerline_in_its_mask_passes_in_every_frame(vessel, frame):
    grid, mask, points = vessel
    check_frame(from_ras(points, frame, grid), frame, grid, mask)


@pytest.mark.parametrize(
    ("true", "believed"), [("ras", "lps"), ("lps", "ras"), ("asoca_vtp", "lps"), ("voxel", "ras")], ids="-".join
)
def test_a_wrong_frame_is_an_error_that_names_the_right_one(vessel, true, believed):
    grid, mask, points = vessel
    with pytest.raises(ValueError, match=rf"Normal_1.vtp does not lie in the mask.*pass frame='{true}'"):
        check_frame(from_ras(points, true, grid), believed, grid, mask, "Normal_1.vtp")


def test_the_centerline_of_another_case_fits_in_no_frame(vessel):
    grid, mask, points = vessel
    with pytest.raises(ValueError, match=r"none of the other frames fits.*centerline of this case"):
        check_frame(points + np.array([0, 6, 0]), "ras", grid, mask)


def test_a_tenth_outside_the_mask_is_allowed_and_more_is_not(vessel):
    grid, mask, points = vessel
    far = points + np.array([-12.0, 0, 0])  # beside the tube, in the image
    check_frame(np.concatenate([points[:36], far[:4]]), "ras", grid, mask)
    with pytest.raises(ValueError, match="88% of its points"):
        check_frame(np.concatenate([points[:35], far[:5]]), "ras", grid, mask)


def test_the_centerline_of_an_image_that_was_cut_out_may_go_on_outside_it(vessel):
    grid, mask, points = vessel
    beyond = points + np.array([0, 0, 500])
    with pytest.warns(UserWarning, match="case 1: only 50% of the points lie in the image; is it cut out of a larger"):
        check_frame(np.concatenate([points, beyond]), "ras", grid, mask, "case 1")
    with pytest.raises(ValueError, match="none of the other frames fits"):
        check_frame(np.concatenate([points[:3], *[beyond] * 2]), "ras", grid, mask)


def test_an_image_that_was_cut_out_is_no_excuse_for_a_wrong_frame(vessel):
    grid, mask, points = vessel
    beyond = points + np.array([0, 0, 500])
    with pytest.raises(ValueError, match="none of the other frames fits"):
        check_frame(from_ras(np.concatenate([points, beyond]), "lps"), "ras", grid, mask)


def test_a_centerline_wholly_outside_its_image_is_an_error(vessel):
    grid, _, points = vessel
    with pytest.raises(ValueError, match=r"wholly outside its image \(shape \(60, 80, 40\)\).*pass frame='lps'"):
        check_frame(from_ras(points, "lps"), "ras", grid)
    with pytest.raises(ValueError, match=r"wholly outside.*none of the other frames fits"):
        check_frame(points + 5000, "ras", grid)


def test_an_empty_mask_or_one_of_another_shape_is_refused(vessel):
    grid, mask, points = vessel
    with pytest.raises(ValueError, match="case 1: the mask to check it against is empty"):
        check_frame(points, "ras", grid, np.zeros_like(mask), "case 1")
    with pytest.raises(ValueError, match=r"mask must lie on the grid.*\(60, 80, 39\)"):
        check_frame(points, "ras", grid, mask[:, :, 1:])


@pytest.mark.parametrize(("inside", "message"), [(40, "with 60% of its points outside"), (0, "wholly outside")])
def test_most_of_a_centerline_has_to_lie_in_its_image(inside, message):
    grid = Grid((100, 10, 10), np.eye(4))
    points = np.stack([np.arange(100.0) + 100 - inside, np.full(100, 5.0), np.full(100, 5.0)], axis=1)
    with pytest.raises(ValueError, match=message):
        check_frame(points, "ras", grid)


def test_a_quarter_outside_the_image_is_worth_a_warning():
    points = np.stack([np.arange(100.0) + 25, np.full(100, 5.0), np.full(100, 5.0)], axis=1)
    with pytest.warns(UserWarning, match=r"a\.csv: only 75% of the points lie in the image"):
        check_frame(points, "ras", Grid((100, 10, 10), np.eye(4)), name="a.csv")


def test_the_warning_names_the_frame_that_would_fit():
    affine = np.eye(4)
    affine[:3, 3] = (-50, -5, 0)
    points = np.stack([np.arange(-20.0, 80.0), np.zeros(100), np.full(100, 5.0)], axis=1)  # as LPS, -79 to 20
    grid = Grid((140, 10, 10), affine)  # 90 mm to the right and 50 to the left
    with pytest.warns(UserWarning, match=r"only 71% of the points .* in the frame 'lps'; in the frame 'ras' 100% do"):
        check_frame(points, "lps", grid)
