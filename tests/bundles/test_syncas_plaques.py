"""The plaques of the data engine: number, place, values, and what a scan leaves of them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial import cKDTree
from syncas.engine import Engine, EngineSettings
from syncas.engine_plaques import PlaquePainter
from syncas.repainting import draw_paints, structure_table
from syncas.structures import CORONARY_ID

SPACING = np.array([0.35, 0.35, 0.5])
SHAPE = (100, 70, 120)


def tube(*vessels):
    """Mask of tapering tubes: start and end in mm, radius there in mm."""
    grid = np.indices(SHAPE).reshape(3, -1).T * SPACING
    mask = np.zeros(len(grid), bool)
    for start, end, first_mm, last_mm in vessels:
        distance, nearest = cKDTree(np.linspace(start, end, 300)).query(grid, distance_upper_bound=4)
        near = np.isfinite(distance)
        mask[near] |= distance[near] <= np.linspace(first_mm, last_mm, 300)[nearest[near]]
    return mask.reshape(SHAPE)


@pytest.fixture(scope="module")
def tree():
    """A stem and two branches, widths as in ImageCAS, and the aorta at their beginning."""
    mask = tube(
        ((14, 12, 3), (14, 12, 56), 2.4, 1.4),
        ((14, 12, 12), (29, 12, 45), 1.9, 1.1),
        ((14, 12, 16), (6, 18, 50), 1.8, 1.0),
    )
    aorta = np.zeros(SHAPE, bool)
    aorta[20:60, 15:55, :6] = True
    return mask, aorta


@pytest.fixture(scope="module")
def painter(tree):
    return PlaquePainter(*[tree[0], SPACING, tree[1], "reference"])


def kinds_of(layer):
    kinds = np.zeros(SHAPE, np.uint8)
    kinds[layer.box] = layer.kinds
    return kinds


def test_the_reference_preset_gives_vessels_the_statistics_of_the_published_training_data(tree, painter):
    """Mean 118, deviation 235 with 13 plaques and shifted values; a fifth of the vessels is plaque."""
    mask, shares, values, calcified = tree[0], [], [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        layer = painter.draw(rng, 13)
        assert len(layer.table) == 13
        kinds = kinds_of(layer)
        assert not kinds[~mask].any()
        shares.append((kinds[mask] > 0).mean())
        calcified += [row["calcified"] for row in layer.table]
        for _ in range(5):  # the value of the vessel, which plaques do not depend on
            (vessel_hu,) = (p.hu for p in draw_paints(rng, structure_table()) if p.structure.id == CORONARY_ID)
            volume = np.full(SHAPE, vessel_hu, np.float32)
            layer.lay_on(volume)
            values.append(volume[mask])
    vessel = np.concatenate(values)
    assert 0.15 <= np.mean(shares) <= 0.25
    assert vessel.mean() == pytest.approx(118, rel=0.15)
    assert vessel.std() == pytest.approx(235, rel=0.15)
    assert np.mean(calcified) == pytest.approx(0.65, abs=0.12)  # four standard errors of 260 draws


@pytest.mark.parametrize("preset", ["reference", "clinical"])
def test_values_lie_in_the_range_of_their_type(tree, preset):
    table = PlaquePainter(tree[0], SPACING, tree[1], preset).draw(np.random.default_rng(0), 60).table
    calcified, soft = ([row["hu"] for row in table if row["calcified"] == flag] for flag in (True, False))
    assert 300 <= min(calcified) < max(calcified) <= 1000
    assert 50 <= min(soft) < max(soft) <= 150


def test_the_number_of_plaques_is_drawn_for_every_view_from_0_to_15(painter):
    counts = [len(painter.draw(np.random.default_rng(seed)).table) for seed in range(40)]
    assert min(counts) <= 1
    assert 14 <= max(counts) <= 15


def test_a_layer_replaces_the_vessel_and_leaves_the_rest(painter):
    layer = painter.draw(np.random.default_rng(0), 5)
    volume = np.full(SHAPE, -90.0, np.float32)
    layer.lay_on(volume)
    kinds = kinds_of(layer)
    assert (volume[kinds == 1] > 150).mean() > 0.99
    far = cKDTree(np.argwhere(kinds > 0)).query(np.argwhere(kinds == 0), distance_upper_bound=8)[0] > 7
    assert (volume[kinds == 0][far] == -90).all()
    centres = np.array([row["centre_voxel"] for row in layer.table])
    assert cKDTree(np.argwhere(kinds > 0)).query(centres)[0].max() < 6  # voxels; that of a sector may lie beside it
    assert sum(row["volume_mm3"] for row in layer.table) >= (kinds > 0).sum() * np.prod(SPACING)


def test_without_vessels_there_are_no_plaques():
    nothing = np.zeros((8, 8, 8), bool)
    assert PlaquePainter(nothing, SPACING, nothing, "reference").draw(np.random.default_rng(0), 5) is None


def scanned(tree, **settings):
    mask, aorta = tree
    ids = np.where(mask, CORONARY_ID, np.where(aorta, 123, 0)).astype(np.uint8)
    volume = np.full(SHAPE, -90.0, np.float32)
    plain = {"shift_probability": 0.0, "photons": (1e9, 1e9)}
    return Engine(volume, ids, np.diag([*SPACING, 1.0]), EngineSettings(**plain, **settings)).view("a", seed=4)


def test_plaques_before_the_scan_come_out_as_bright_as_drawn_and_are_blurred(tree):
    after, before = (scanned(tree, plaque_count=1, plaque_stage=stage) for stage in ("post", "pre"))
    assert np.array_equal(after.plaques, before.plaques)
    (row,), (again,) = after.record["plaques"], before.record["plaques"]
    assert row["hu"] == again["hu"]
    assert row["painted_hu"] == row["hu"]
    assert abs(again["painted_hu"]) > abs(again["hu"])
    peaks = [float(view.image[view.plaques > 0].max()) for view in (after, before)]
    assert peaks[1] == pytest.approx(again["hu"], abs=0.2 * again["hu"] + 20)  # texture, and the fat beside it


def test_plaques_in_thick_slices_are_averaged_like_the_vessel(tree):
    thick = scanned(tree, plaque_count=13, slice_thickness_mm=3.0)
    thin = scanned(tree, plaque_count=13)
    assert thick.plaques.shape == (*SHAPE[:2], 20)
    mm3 = [(view.plaques > 0).sum() * volume for view, volume in ((thick, 0.35**2 * 3), (thin, 0.35**2 * 0.5))]
    assert mm3[0] == pytest.approx(mm3[1], rel=0.2)
    assert thick.record["plaques"] == thin.record["plaques"]


def test_no_plaques_where_none_are_wanted(tree):
    for settings in ({"plaque_preset": "none"}, {"plaque_count": 0}):
        view = scanned(tree, **settings)
        assert not view.plaques.any()
        assert view.record["plaques"] == []
