"""Plaques as geometry: where they are drawn, what they contain, how much they narrow."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from common.plaque import Branch, Plaque, draw_plaques

PLAQUE = Plaque(
    branch=0,
    arc_mm=30.0,
    length_mm=10.0,
    angle_deg=300.0,
    sector_deg=120.0,
    depth=0.4,
    hu=700.0,
    calcified=True,
    texture_sd_hu=50.0,
)


def branch(first_mm=0.0, last_mm=120.0, radius_mm=1.5):
    arc_mm = np.arange(first_mm, last_mm, 0.5)
    return Branch(arc_mm, np.full(len(arc_mm), radius_mm))


def many(rng_seed=0, count=2000, **options):
    """Plaques of one draw on one branch; with so many the 2 mm between centres cannot be kept."""
    return draw_plaques(np.random.default_rng(rng_seed), [branch()], count=count, **options)


@pytest.mark.parametrize(
    ("arc_mm", "angle_deg", "fraction", "inside"),
    [
        (30, 350, 0.9, True),
        (30, 10, 0.9, True),  # the sector runs from 300 over 0 to 60 degrees
        (30, 370, 0.9, True),
        (30, -50, 0.9, True),
        (30, 70, 0.9, False),
        (30, 290, 0.9, False),
        (30, 350, 0.61, True),
        (30, 350, 0.59, False),
        (30, 350, 1.01, False),
        (34.9, 350, 0.9, True),
        (35.1, 350, 0.9, False),
        (24.9, 350, 0.9, False),
    ],
)
def test_a_plaque_holds_its_sector_of_the_wall(arc_mm, angle_deg, fraction, inside):
    assert PLAQUE.contains(arc_mm, angle_deg, fraction) == inside


def test_points_of_any_shape_broadcast():
    inside = PLAQUE.contains(np.zeros((5, 1)) + 30, np.linspace(0, 359, 7), 0.8)
    assert inside.shape == (5, 7)
    assert inside.any()


@pytest.mark.parametrize(("sector_deg", "depth"), [(90, 0.3), (180, 0.5), (270, 0.9), (360, 0.4), (360, 1.0)])
def test_area_stenosis_is_the_plaques_share_of_the_cross_section(sector_deg, depth):
    plaque = replace(PLAQUE, sector_deg=sector_deg, depth=depth)
    x, y = np.mgrid[-1:1:801j, -1:1:801j]
    fraction, angle_deg = np.hypot(x, y), np.degrees(np.arctan2(y, x))
    share = plaque.contains(30, angle_deg, fraction).sum() / (fraction <= 1).sum()
    assert plaque.area_stenosis_percent == pytest.approx(100 * share, abs=0.3)


@pytest.mark.parametrize("depth", [0.2, 0.5, 0.9, 1.0])
def test_a_full_circle_narrows_the_diameter_by_its_depth(depth):
    plaque = replace(PLAQUE, sector_deg=360, depth=depth)
    assert plaque.diameter_stenosis_percent == pytest.approx(100 * depth)


@pytest.mark.parametrize("preset", ["reference", "clinical"])
def test_equal_seeds_give_equal_plaques(preset):
    first, second, other = (many(seed, 10, preset=preset) for seed in (3, 3, 4))
    assert first == second
    assert first != other


def test_the_number_is_the_requested_one_or_spread_over_0_to_15():
    assert len(many(count=7)) == 7
    counts = {len(draw_plaques(np.random.default_rng(seed), [branch()])) for seed in range(300)}
    assert counts == set(range(16))


def test_two_thirds_are_calcified_and_values_fill_their_ranges():
    plaques = many(calcified_share=0.65, calcified_hu=(400, 1500), soft_hu=(20, 90))
    assert np.mean([plaque.calcified for plaque in plaques]) == pytest.approx(0.65, abs=0.04)
    for calcified, low, high in ((True, 400, 1500), (False, 20, 90)):
        hu = [plaque.hu for plaque in plaques if plaque.calcified is calcified]
        assert min(hu) >= low
        assert max(hu) <= high
        assert np.mean(hu) == pytest.approx((low + high) / 2, rel=0.05)


def test_reference_plaques_scale_with_the_tree():
    plaques = many(preset="reference")
    length_mm = np.array([plaque.length_mm for plaque in plaques])
    assert length_mm.min() >= 0.5 * 0.015 * branch().length_mm
    assert length_mm.max() <= 1.5 * 0.015 * branch().length_mm
    full = np.array([plaque.sector_deg == 360 for plaque in plaques])
    assert full.mean() == pytest.approx(0.5, abs=0.04)
    assert all(plaque.depth == 1 for plaque in plaques if plaque.sector_deg == 360)


def test_clinical_plaques_have_clinical_lengths_and_quadrants():
    plaques = many(preset="clinical")
    for calcified, median_mm in ((True, 3.0), (False, 6.0)):
        length_mm = [plaque.length_mm for plaque in plaques if plaque.calcified is calcified]
        assert np.median(length_mm) == pytest.approx(median_mm, rel=0.1)
        assert min(length_mm) >= 1
        assert max(length_mm) <= 20
    quadrants = np.array([plaque.sector_deg for plaque in plaques]) / 90
    assert [np.mean(quadrants == n) for n in (1, 2, 3, 4)] == pytest.approx([0.45, 0.30, 0.15, 0.10], abs=0.04)
    assert all(0.3 <= plaque.depth <= 0.9 for plaque in plaques)


def test_plaques_are_proximal_and_prefer_wide_vessels():
    narrow = branch(radius_mm=0.75)
    branches = [branch(), narrow]
    plaques = draw_plaques(np.random.default_rng(0), branches, count=4000)
    assert np.mean([plaque.branch == 0 for plaque in plaques]) == pytest.approx(0.8, abs=0.05)  # 1.5^2 : 0.75^2
    proximal = np.mean([plaque.arc_mm < 60 for plaque in plaques])
    assert proximal == pytest.approx((1 - np.exp(-1)) / (1 - np.exp(-2)), abs=0.05)


def test_the_density_of_the_points_does_not_matter():
    sparse = branch()
    dense = Branch(np.repeat(sparse.arc_mm, 5), np.repeat(sparse.radius_mm, 5))
    plaques = draw_plaques(np.random.default_rng(0), [sparse, dense], count=2000)
    assert np.mean([plaque.branch for plaque in plaques]) == pytest.approx(0.5, abs=0.05)


def test_centres_keep_2_mm_apart_while_there_is_room():
    arc_mm = np.sort([plaque.arc_mm for plaque in many(count=15)])
    assert np.diff(arc_mm).min() >= 2
    crowded = draw_plaques(np.random.default_rng(0), [branch(0, 5)], count=15)
    assert len(crowded) == 15


def test_a_tree_without_length_has_no_plaques():
    assert draw_plaques(np.random.default_rng(0), [], count=5) == []
    assert draw_plaques(np.random.default_rng(0), [Branch(np.zeros(1), np.ones(1))], count=5) == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: many(preset="typical"), "preset must be 'reference' or 'clinical', got 'typical'"),
        (lambda: many(count=-1), "count must be at least 0"),
        (lambda: replace(PLAQUE, depth=0), "0 < depth <= 1"),
        (lambda: replace(PLAQUE, sector_deg=400), "0 < sector_deg <= 360"),
        (lambda: Branch(np.zeros(3), np.ones(2)), r"equal length, got shapes \(3,\) and \(2,\)"),
        (lambda: Branch(np.array([0.0, 2.0, 1.0]), np.ones(3)), "arc_mm must not fall"),
        (lambda: Branch(np.arange(3.0), np.zeros(3)), "radius_mm must be positive"),
    ],
    ids=["preset", "count", "depth", "sector", "lengths", "falling", "radius"],
)
def test_bad_arguments_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
