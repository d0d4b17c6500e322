"""Vessel coordinates of a mask's voxels, and plaques painted by them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from common.plaque import Plaque, draw_plaques
from common.plaque_voxels import locate_in_vessel, paint_plaques

SPACING = (0.35, 0.35, 0.5)
SHAPE = (80, 80, 100)
RADIUS_MM = 2.5
AXIS_MM = (14.0, 14.0)


def tube(*lines, shape=SHAPE):
    """Mask of the voxels within a radius of the points of each line: ``(points in mm, radii in mm)``."""
    grid = np.indices(shape).reshape(3, -1).T * SPACING
    inside = np.zeros(len(grid), bool)
    for points, radius_mm in lines:
        distance, nearest = cKDTree(points).query(grid, distance_upper_bound=4)
        near = np.isfinite(distance)
        inside[near] |= distance[near] <= np.broadcast_to(radius_mm, len(points))[nearest[near]]
    return inside.reshape(shape)


def segment(start, end, count=300):
    return np.linspace(start, end, count)


STRAIGHT = segment((*AXIS_MM, 0), (*AXIS_MM, 49.5))


@pytest.fixture(scope="module")
def straight():
    return locate_in_vessel(tube((STRAIGHT, RADIUS_MM)), SPACING)


@pytest.fixture(scope="module")
def tree():
    """A tapering stem with one side branch of 15 mm, and the ball of the aorta at its beginning."""
    side = segment((14, 14, 20), (23, 14, 32))
    mask = tube((segment((14, 14, 5), (14, 14, 49)), np.linspace(2.0, 0.8, 300)), (side, 1.0))
    aorta = np.zeros(SHAPE, bool)
    aorta[20:60, 20:60, :10] = True  # up to 4.5 mm
    return mask, aorta


def test_coordinates_of_a_straight_tube_are_those_of_its_cylinder(straight):
    x, y, z = (straight.index * SPACING).T
    rho_mm = np.hypot(x - AXIS_MM[0], y - AXIS_MM[1])
    middle = (z > 5) & (z < 45)
    assert len(straight.branches) == 1
    assert np.abs(straight.radius_fraction - rho_mm / RADIUS_MM)[middle].max() < 0.2
    along = np.sign(np.corrcoef(straight.arc_mm, z)[0, 1])  # which end is the root is not defined here
    offset = (straight.arc_mm - along * z)[middle]
    assert np.ptp(offset) < 1.0

    angle = np.degrees(np.arctan2(y - AXIS_MM[1], x - AXIS_MM[0])) * along
    clear = middle & (rho_mm > 1)
    turned = np.exp(1j * np.radians(straight.angle_deg - angle))[clear]  # one rotation for the whole tube
    assert np.abs(np.angle(turned / turned.mean())).max() < np.radians(20)


def test_angle_and_arc_length_do_not_depend_on_the_direction_of_the_vessel():
    """A quarter circle in the X-Z plane: the second normal stays along Y."""
    turn = np.linspace(0, np.pi / 2, 300)
    points = np.stack([3 + 20 * np.sin(turn), np.full(300, 14.0), 25 - 20 * np.cos(turn) + 3], axis=1)
    aorta = np.zeros(SHAPE, bool)
    aorta[:8, 30:50, 10:20] = True
    vessel = locate_in_vessel(tube((points, 1.5)), SPACING, aorta)
    assert vessel.branches[0].length_mm == pytest.approx(20 * np.pi / 2, rel=0.08)
    side = (vessel.index[:, 1] * SPACING[1] - 14) / 1.5
    strongly = np.abs(side) > 0.8
    angle = np.radians(vessel.angle_deg[strongly])
    apart = np.angle(np.exp(1j * angle) / np.exp(1j * angle[side[strongly] > 0]).mean())
    assert np.abs(apart[side[strongly] > 0]).max() < np.radians(45)
    assert np.abs(apart[side[strongly] < 0]).min() > np.radians(135)


def test_a_tree_is_one_stem_and_its_side_branch_rooted_at_the_aorta(tree):
    mask, aorta = tree
    vessel = locate_in_vessel(mask, SPACING, aorta)
    assert len(vessel.branches) == 2
    stem, side = vessel.branches
    assert stem.length_mm == pytest.approx(44, abs=4)
    assert stem.arc_mm[0] == pytest.approx(0.5, abs=2)
    assert side.arc_mm[0] == pytest.approx(15, abs=3)
    assert side.length_mm == pytest.approx(15, abs=3)
    assert stem.radius_mm[5:20].mean() == pytest.approx(1.8, abs=0.25)
    assert stem.radius_mm[-20:-5].mean() == pytest.approx(0.9, abs=0.25)


def test_a_fragment_far_from_the_aorta_begins_at_its_distance():
    mask = tube((segment((14, 14, 5), (14, 14, 20)), 1.2), (segment((14, 14, 30), (14, 14, 45)), 1.2))
    aorta = np.zeros(SHAPE, bool)
    aorta[20:60, 20:60, :10] = True
    starts = sorted(branch.arc_mm[0] for branch in locate_in_vessel(mask, SPACING, aorta).branches)
    assert starts == pytest.approx([0.5, 25], abs=2.5)


def test_without_an_aorta_the_widest_end_is_the_root():
    mask = tube((segment((14, 14, 5), (14, 14, 45)), np.linspace(1.0, 2.0, 300)))
    (stem,) = locate_in_vessel(mask, SPACING).branches[:1]
    assert stem.radius_mm[:10].mean() > stem.radius_mm[-10:].mean()


@pytest.mark.parametrize(("sector_deg", "depth"), [(90, 0.5), (180, 0.7), (270, 0.9), (360, 0.5)])
def test_painted_plaques_fill_their_share_of_the_vessel(straight, sector_deg, depth):
    plaque = Plaque(0, 25.0, 10.0, 37.0, sector_deg, depth, 700.0, True, 0.0)
    _, kinds, (row,) = paint_plaques(np.full(SHAPE, 40.0), straight, [plaque], np.random.default_rng(0))
    vessel_mm3 = np.pi * RADIUS_MM**2 * plaque.length_mm
    expected_mm3 = vessel_mm3 * plaque.area_stenosis_percent / 100
    assert row["volume_mm3"] == pytest.approx(expected_mm3, abs=0.07 * vessel_mm3)
    assert (kinds == 1).sum() * np.prod(SPACING) == pytest.approx(row["volume_mm3"])
    assert row["centre_voxel"][2] * SPACING[2] == pytest.approx(25, abs=1 + RADIUS_MM)  # its skeleton may begin inside


def test_a_plaque_replaces_the_vessel_and_stays_inside_it(straight):
    mask = tube((STRAIGHT, RADIUS_MM))
    plaques = [
        Plaque(0, 15.0, 10.0, 0.0, 360.0, 1.0, 700.0, True, 0.0),
        Plaque(0, 35.0, 10.0, 0.0, 360.0, 1.0, 90.0, False, 0.0),
    ]
    image = np.full(SHAPE, 40.0)
    painted, kinds, _ = paint_plaques(image, straight, plaques, np.random.default_rng(0))
    assert not kinds[~mask].any()
    core = np.hypot(*(np.indices(SHAPE)[:2] * 0.35 - 14)) < 1.2
    assert painted[core & (kinds == 1)] == pytest.approx(700, abs=15)
    assert painted[core & (kinds == 2)] == pytest.approx(90, abs=2)
    assert painted.min() >= 40
    assert image.max() == 40  # the caller's volume is not touched


def test_the_later_of_two_plaques_wins(straight):
    soft, calcified = (Plaque(0, 25.0, 8.0, 0.0, 360.0, 1.0, hu, hu > 200, 0.0) for hu in (90.0, 700.0))
    order = {"calcified last": [soft, calcified], "soft last": [calcified, soft]}
    kinds = {
        name: paint_plaques(np.zeros(SHAPE), straight, plaques, np.random.default_rng(0))[1]
        for name, plaques in order.items()
    }
    assert set(np.unique(kinds["calcified last"])) == {0, 1}
    assert set(np.unique(kinds["soft last"])) == {0, 2}


def test_texture_has_the_deviation_of_its_plaque(straight):
    plaque = Plaque(0, 25.0, 30.0, 0.0, 360.0, 1.0, 700.0, True, 50.0)
    painted, kinds, _ = paint_plaques(np.full(SHAPE, 700.0), straight, [plaque], np.random.default_rng(0))
    core = (kinds == 1) & (np.hypot(*(np.indices(SHAPE)[:2] * 0.35 - 14)) < 1.2)
    assert painted[core].std() == pytest.approx(50, rel=0.1)
    assert painted[core].mean() == pytest.approx(700, abs=12)  # its standard error is 3 HU


def test_the_reference_preset_fills_a_fifth_of_the_vessels(tree):
    mask, aorta = tree
    vessel = locate_in_vessel(mask, SPACING, aorta)
    shares = []
    for seed in range(10):
        rng = np.random.default_rng(seed)
        plaques = draw_plaques(rng, vessel.branches, preset="reference", count=13)
        shares.append((paint_plaques(np.zeros(SHAPE), vessel, plaques, rng)[1] > 0).sum() / mask.sum())
    assert 0.15 <= np.mean(shares) <= 0.25


def test_equal_seeds_paint_equal_volumes(tree):
    vessel = locate_in_vessel(*[tree[0], SPACING, tree[1]])
    painted = []
    for _ in range(2):
        rng = np.random.default_rng(5)
        painted.append(paint_plaques(np.zeros(SHAPE), vessel, draw_plaques(rng, vessel.branches, count=5), rng)[0])
    assert np.array_equal(*painted)


def test_an_empty_mask_has_no_voxels_no_branches_and_no_plaques():
    vessel = locate_in_vessel(np.zeros(SHAPE, bool), SPACING)
    plaques = draw_plaques(np.random.default_rng(0), vessel.branches, count=5)
    painted, kinds, table = paint_plaques(np.full(SHAPE, 40.0), vessel, plaques, np.random.default_rng(0))
    assert (len(vessel.index), vessel.branches, plaques, table) == (0, [], [], [])
    assert (painted == 40).all()
    assert not kinds.any()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: locate_in_vessel(np.ones((4, 4, 4), bool), (1, 1)), "spacing must be three positive numbers"),
        (lambda: locate_in_vessel(np.ones((4, 4, 4), bool), (1, 1, 1), np.ones((4, 4, 5), bool)), "mask .* aorta"),
        (
            lambda: paint_plaques(
                np.zeros((4, 4, 5)),
                locate_in_vessel(np.zeros((4, 4, 4), bool), (1, 1, 1)),
                [],
                np.random.default_rng(0),
            ),
            r"shape of the vessel mask \(4, 4, 4\), got \(4, 4, 5\)",
        ),
    ],
    ids=["spacing", "aorta", "volume"],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
