"""Centerlines of masks whose axes are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from scipy.spatial import KDTree
from scipy.spatial.transform import Rotation

from common.centerline.branch import Branch
from common.centerline.extract import extract_centerline
from common.centerline.overlap import score_centerline
from common.centerline.tree import bifurcation_points, check_tree
from common.phantom.framing import draw_grid
from common.phantom.heart import draw_heart
from common.phantom.tree import draw_tree
from common.phantom.vessels import lumen_truth

SPACING = 0.5  # mm
SHAPE = (90, 70, 60)
HALF_MM = np.diag([SPACING, SPACING, SPACING, 1.0])


def paint(*tubes, shape=SHAPE, affine=HALF_MM):
    """Mask of round tubes, each ``(first point, last point, radius)`` or with one more radius at the end; RAS mm."""
    index = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    mask = np.zeros(shape, bool)
    for first, last, *radii in tubes:
        first, along = np.array(first, float), np.subtract(last, first)
        share = np.clip((points - first) @ along / (along @ along), 0, 1)
        distance = np.linalg.norm(points - first - share[..., None] * along, axis=-1)
        mask |= distance <= radii[0] + (radii[-1] - radii[0]) * share
    return mask


def distances_to_axis(points, first, last):
    along = np.subtract(last, first) / np.linalg.norm(np.subtract(last, first))
    offset = points - np.array(first)
    return np.linalg.norm(offset - (offset @ along)[:, None] * along, axis=1)


def total_length(branches):
    return sum(branch.length_mm for branch in branches)


@pytest.mark.parametrize("radius", [0.75, 1.0, 1.6, 2.3])
@pytest.mark.parametrize("last", [(40, 15, 15), (38, 21, 19)], ids=["along an axis", "oblique"])
def test_a_straight_tube_has_its_axis_and_its_radius(radius, last):
    first = (5.1, 15.2, 14.9)
    branches = extract_centerline(paint((first, last, radius)), HALF_MM)
    assert len(branches) == 1
    inner = slice(6, -6)  # off the round caps
    assert distances_to_axis(branches[0].points, first, last)[inner].mean() <= 0.1
    assert np.abs(branches[0].radius_mm[inner] - radius).mean() <= 0.1
    ends = {tuple(np.round(p)) for p in branches[0].points[[0, -1]]}
    assert len(ends) == 2
    assert abs(branches[0].length_mm - np.linalg.norm(np.subtract(last, first))) <= 2 * radius


def test_points_have_the_wanted_step():
    mask = paint(((5, 15, 15), (40, 15, 15), 1.5))
    for step_mm in (0.3, 1.0):
        steps = np.diff(extract_centerline(mask, HALF_MM, step_mm=step_mm)[0].arc_mm)
        assert steps == pytest.approx(step_mm, rel=0.05)


Y = (((4, 17, 15), (20, 17, 15), 1.8), ((20, 17, 15), (40, 27, 15), 1.4), ((20, 17, 15), (38, 7, 15), 1.0))


def test_a_fork_is_one_bifurcation_whose_thicker_child_continues_the_parent():
    branches = extract_centerline(paint(*Y), HALF_MM)
    check_tree(branches, "branches")
    assert [branch.parent for branch in branches] == [-1, 0]
    trunk, side = branches
    assert np.linalg.norm(trunk.points[0] - (4, 17, 15)) <= 1.8  # rooted at its thickest end
    assert np.linalg.norm(trunk.points[-1] - (40, 27, 15)) <= 1.4
    assert np.linalg.norm(side.points[-1] - (38, 7, 15)) <= 1.0
    assert (side.points[0] == trunk.points[side.parent_point]).all()
    assert np.linalg.norm(side.points[0] - (20, 17, 15)) <= 3
    assert trunk.length_mm == pytest.approx(16 + np.hypot(20, 10), abs=2)
    assert side.length_mm == pytest.approx(np.hypot(18, 10), abs=2)
    assert {branch.label for branch in branches} == {14}


def test_the_root_is_the_end_nearest_the_aorta_even_if_it_is_the_thinnest():
    aorta = paint(((40, 3, 10), (40, 3, 20), 2.0))
    branches = extract_centerline(paint(*Y), HALF_MM, aorta)
    assert np.linalg.norm(branches[0].points[0] - (38, 7, 15)) <= 1.0
    assert len(bifurcation_points(branches)) == 1


def test_an_empty_aorta_counts_as_none():
    with_empty, without = (extract_centerline(paint(*Y), HALF_MM, a) for a in (np.zeros(SHAPE, bool), None))
    assert all((a.points == b.points).all() for a, b in zip(with_empty, without, strict=True))


def test_two_trees_have_two_roots():
    branches = extract_centerline(paint(*Y, ((5, 10, 25), (35, 10, 25), 1.2)), HALF_MM)
    assert sum(branch.parent == -1 for branch in branches) == 2
    check_tree(branches, "branches")


def test_without_a_left_main_both_ostia_are_roots_though_their_vessels_touch():
    """LAD and LCx leave the aorta 6 mm apart and touch 12 mm further on."""
    vessels = paint(
        ((6, 10, 15), (18, 15, 15), 1.7), ((18, 15, 15), (38, 12, 15), 1.4),
        ((6, 23, 15), (18, 17.6, 15), 1.6), ((18, 17.6, 15), (38, 25, 15), 1.2),
    )  # fmt: skip
    aorta = paint(((3, 3, 15), (3, 32, 15), 2.5))
    alone = extract_centerline(vessels, HALF_MM)
    assert sum(branch.parent == -1 for branch in alone) == 1  # nothing tells the two from one tree
    branches = extract_centerline(vessels, HALF_MM, aorta)
    assert [branch.parent for branch in branches] == [-1, -1]
    assert all(branch.points[0][0] < 9 and branch.points[-1][0] > 35 for branch in branches)
    assert all((branch.points[0][1] < 16) == (branch.points[-1][1] < 18) for branch in branches)  # they do not cross


def test_a_cycle_is_opened_on_its_thinnest_side():
    """A diamond between two stems: the lower way round is thinner."""
    stems = [((4, 17, 15), (12, 17, 15), 1.8), ((32, 17, 15), (40, 17, 15), 1.5)]
    thick = [((12, 17, 15), (22, 26, 15), 1.5), ((22, 26, 15), (32, 17, 15), 1.5)]
    thin = [((12, 17, 15), (22, 8, 15), 0.9), ((22, 8, 15), (32, 17, 15), 0.9)]
    branches = extract_centerline(paint(*stems, *thick, *thin), HALF_MM)
    check_tree(branches, "branches")
    trunk = branches[0]
    assert np.linalg.norm(trunk.points[-1] - (40, 17, 15)) <= 2
    assert KDTree(trunk.points).query((22, 26, 15))[0] <= 1  # it passes on the thick side
    assert len(branches) == 2
    assert branches[1].length_mm > 20  # the thin side stays, open at one end


def test_two_vessels_that_run_together_for_a_while_part_again():
    """A fork whose branches share one lumen for 5 mm half-way; each one goes on to its own end."""
    stem = ((3, 17, 15), (7, 17, 15), 2.0)
    upper = [((7, 17, 15), (13, 25, 15), 1.4), ((13, 25, 15), (22, 17.7, 15), 1.3)]
    upper += [((22, 17.7, 15), (27, 17.7, 15), 1.3), ((27, 17.7, 15), (41, 29, 15), 1.2)]
    lower = [((a[0], 34 - a[1], 15), (b[0], 34 - b[1], 15), 0.95 * radius) for a, b, radius in upper]
    branches = extract_centerline(paint(stem, *upper, *lower), HALF_MM)
    check_tree(branches, "branches")
    assert [branch.parent for branch in branches] == [-1, 0]
    fork = branches[0].points[branches[1].parent_point]
    assert np.linalg.norm(fork - (7, 17, 15)) <= 3
    assert {round(branch.points[-1][1]) // 17 for branch in branches} == {0, 1}  # one end below, one above
    assert all(branch.length_mm >= 39 for branch in branches)


def test_branches_that_leave_within_one_lumen_share_their_junction():
    vessel = ((4, 17, 15), (40, 17, 15), 1.8)
    sides = [((20, 17, 15), (26, 30, 15), 1.0), ((21, 17, 15), (27, 4, 15), 1.0)]
    branches = extract_centerline(paint(vessel, *sides), HALF_MM)
    assert [branch.parent for branch in branches] == [-1, 0, 0]
    assert branches[1].parent_point == branches[2].parent_point
    assert len(bifurcation_points(branches)) == 1


def test_two_vessels_that_touch_with_their_tips_both_stay():
    """A fork whose branches come together again end to end: the tips meet at a narrow point."""
    stem = ((4, 17, 15), (10, 17, 15), 2.0)
    upper = [((10, 17, 15), (18, 28, 15), 1.5), ((18, 28, 15), (36, 28, 15), 1.4), ((36, 28, 15), (40, 18.2, 15), 1.3)]
    lower = [((10, 17, 15), (18, 6, 15), 1.5), ((18, 6, 15), (36, 6, 15), 1.4), ((36, 6, 15), (40, 15.8, 15), 1.3)]
    twigs = [((18, 28, 15), (18, 34, 24), 1.0), ((18, 6, 15), (18, 2, 24), 1.0)]
    branches = extract_centerline(paint(stem, *upper, *lower, *twigs), HALF_MM)
    ends = np.stack([branch.points[-1] for branch in branches])
    assert len(branches) == 4
    assert np.sum(np.linalg.norm(ends - (40, 17, 15), axis=1) <= 3) == 2


def test_noise_is_taken_apart_in_reasonable_time():
    noise = gaussian_filter(np.random.default_rng(0).normal(size=(60, 60, 60)), 1.0)
    branches = extract_centerline(noise > np.quantile(noise, 0.8), HALF_MM)
    assert len(branches) > 50
    check_tree(branches, "branches")


def test_a_ring_becomes_one_open_line():
    index = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1) * SPACING
    x, y, z = np.moveaxis(index - (20, 17, 15), -1, 0)
    branches = extract_centerline(np.hypot(np.hypot(x, y) - 9, z) <= 1.5, HALF_MM)
    assert [branch.parent for branch in branches] == [-1]
    assert branches[0].length_mm == pytest.approx(2 * np.pi * 9, abs=5)


def broken(gap_mm):
    mask = paint(((4, 17, 15), (40, 17, 15), 1.5))
    mask[round(20 / SPACING) : round((20 + gap_mm) / SPACING)] = False
    return mask


def test_a_small_gap_between_ends_that_point_at_each_other_is_bridged():
    whole, bridged = (extract_centerline(broken(gap), HALF_MM) for gap in (0, 2))
    assert [branch.parent for branch in bridged] == [-1]
    assert bridged[0].length_mm == pytest.approx(whole[0].length_mm, abs=0.5)
    assert distances_to_axis(bridged[0].points, (4, 17, 15), (40, 17, 15)).max() <= 0.5
    assert bridged[0].radius_mm[np.abs(bridged[0].points[:, 0] - 20.75) < 1].min() >= 0.25


@pytest.mark.parametrize("gap_mm", [4, 6])
def test_a_larger_gap_stays(gap_mm):
    assert len(extract_centerline(broken(gap_mm), HALF_MM)) == 2


def test_the_largest_gap_is_the_callers():
    assert len(extract_centerline(broken(4), HALF_MM, max_gap_mm=5)) == 1
    assert len(extract_centerline(broken(2), HALF_MM, max_gap_mm=0)) == 2


def test_a_gap_at_right_angles_stays():
    corner = paint(((4, 17, 15), (20, 17, 15), 1.2), ((24.5, 17, 15), (24.5, 32, 15), 1.2))
    assert len(extract_centerline(corner, HALF_MM)) == 2


def test_a_bump_is_no_branch_and_a_short_thin_side_branch_is_one():
    vessel = ((4, 12, 15), (40, 12, 15), 2.5)
    bump = ((22, 12, 15), (22, 16, 15), 0.8)  # 1.5 mm out of the vessel
    twig = ((22, 12, 15), (22, 21, 15), 0.8)  # 6.5 mm
    assert len(extract_centerline(paint(vessel, bump), HALF_MM)) == 1
    assert len(extract_centerline(paint(vessel, twig), HALF_MM)) == 2
    assert len(extract_centerline(paint(vessel, twig), HALF_MM, min_spur_mm=12)) == 1


def test_a_short_thick_stem_is_no_spur():
    """A left main shorter than it is wide."""
    stem = ((11.5, 17, 15), (14, 17, 15), 2.2)
    fork = [((14, 17, 15), (30, 30, 15), 1.6), ((14, 17, 15), (30, 4, 15), 1.6)]
    branches = extract_centerline(paint(stem, *fork), HALF_MM)
    assert len(branches) == 2
    assert np.linalg.norm(branches[0].points[0] - (11.5, 17, 15)) <= 2.2


def test_small_pieces_go():
    mask = paint(((4, 17, 15), (30, 17, 15), 1.2), ((35, 10, 15), (38, 10, 15), 0.6))
    assert len(extract_centerline(mask, HALF_MM)) == 1
    assert len(extract_centerline(mask, HALF_MM, min_piece_mm=3)) == 2


@pytest.mark.parametrize("voxels", [0, 1, 2], ids=["empty", "one voxel", "two voxels"])
def test_next_to_nothing_has_no_centerline(voxels):
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, 4 : 4 + voxels] = True
    assert extract_centerline(mask, HALF_MM) == []


def test_a_line_of_two_voxels_is_a_vessel_if_the_caller_wants_it():
    mask = np.zeros((9, 9, 9), bool)
    mask[4, 4, 4:6] = True
    (branch,) = extract_centerline(mask, HALF_MM, min_piece_mm=0)
    assert branch.length_mm == pytest.approx(SPACING)


def test_a_mask_that_fills_its_volume_has_a_centerline():
    assert len(extract_centerline(np.ones((80, 6, 6), bool), HALF_MM)) == 1


@pytest.mark.parametrize("flips", [(0,), (1, 2)], ids=["x flipped", "y and z flipped"])
def test_the_stored_order_of_the_axes_does_not_matter(flips):
    affine, mask = HALF_MM.copy(), paint(*Y)
    for axis in flips:
        affine[axis, axis] *= -1
        affine[axis, 3] = SPACING * (SHAPE[axis] - 1)
    flipped = extract_centerline(np.flip(mask, flips), affine)
    scores = score_centerline(flipped, extract_centerline(mask, HALF_MM))
    assert scores["ov"] == 1
    assert scores["assd_mm"] <= 0.1
    assert len(bifurcation_points(flipped)) == 1


def test_an_oblique_affine_turns_the_tree():
    affine = HALF_MM.copy()
    affine[:3, :3] = Rotation.from_euler("xyz", [20, -35, 50], degrees=True).as_matrix() * SPACING
    affine[:3, 3] = (-7, 30, 4)
    mask = paint(*Y)
    straight, turned = extract_centerline(mask, HALF_MM), extract_centerline(mask, affine)
    for one, other in zip(straight, turned, strict=True):
        expected = one.points / SPACING @ affine[:3, :3].T + affine[:3, 3]
        assert other.points == pytest.approx(expected, abs=1e-6)
        assert other.radius_mm == pytest.approx(one.radius_mm, abs=1e-6)


def test_thick_slices_neither_break_the_tree_nor_give_it_branches():
    affine = np.diag([0.35, 0.35, 3.0, 1.0])
    fork = [((5, 15, 10), (20, 17, 28), 2.2), ((20, 17, 28), (40, 8, 52), 2.2), ((20, 17, 28), (36, 34, 46), 2.2)]
    branches = extract_centerline(paint(*fork, shape=(130, 130, 24), affine=affine), affine)
    check_tree(branches, "branches")
    assert [branch.parent for branch in branches] == [-1, 0]
    points = np.concatenate([branch.points for branch in branches])
    nearest = np.min([distances_to_axis(points, a, b) for a, b, _ in fork], axis=0)
    assert np.quantile(nearest, 0.9) <= 1.0
    length = sum(np.linalg.norm(np.subtract(b, a)) for a, b, _ in fork)
    assert total_length(branches) == pytest.approx(length, rel=0.08)


@pytest.fixture(scope="module")
def phantom():
    """True branches of one anatomy, and its mask at 0.5 mm."""
    rng = np.random.default_rng(4)
    tree = draw_tree(draw_heart(rng), rng)
    grid = draw_grid(np.concatenate([b.points for b in tree.branches]), rng, spacing=(SPACING,) * 3)
    mask = np.zeros(grid.shape, bool)
    mask.reshape(-1)[lumen_truth(tree.branches, (), grid)[0]] = True
    return tree.branches, mask, grid.affine


def test_the_tree_of_a_phantom_is_found(phantom):
    truth, mask, affine = phantom
    branches = extract_centerline(mask, affine)
    check_tree(branches, "branches")
    scores = score_centerline(branches, truth)
    assert scores["ov"] >= 0.98
    assert len(branches) - sum(b.parent < 0 for b in branches) == 7  # counted in the tree that the seed draws


def test_only_the_box_around_the_mask_matters():
    mask = paint(*Y)
    moved = HALF_MM.copy()
    moved[:3, 3] = -20 * SPACING
    one, other = extract_centerline(mask, HALF_MM), extract_centerline(np.pad(mask, 20), moved)
    assert all(np.allclose(a.points, b.points) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mask": np.ones((4, 4), bool)}, r"mask must have three axes.*\(4, 4\)"),
        ({"mask": np.ones((1, 4, 4, 4), bool)}, "take off channel"),
        ({"aorta": np.zeros((4, 4, 5), bool)}, r"shapes must be equal.*aorta \(4, 4, 5\)"),
        ({"affine": np.eye(3)}, r"affine must be a \(4, 4\) matrix.*\(3, 3\)"),
        ({"affine": np.full((4, 4), np.nan)}, "affine must be finite and invertible"),
        ({"affine": np.diag([1.0, 0, 1, 1])}, "affine must be finite and invertible"),
        ({"step_mm": 0}, "step_mm must be positive, got 0"),
        ({"max_gap_mm": -1}, "max_gap_mm must be 0 or more, got -1"),
        ({"min_piece_mm": np.nan}, "min_piece_mm must be 0 or more"),
    ],
    ids=["2-D", "channel", "aorta", "3 x 3", "nan", "singular", "step", "gap", "piece"],
)
def test_wrong_arguments_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        extract_centerline(**({"mask": np.ones((4, 4, 4), bool), "affine": np.eye(4)} | arguments))


def test_the_result_is_a_list_of_branches():
    assert all(isinstance(branch, Branch) for branch in extract_centerline(paint(*Y), HALF_MM))
