"""The data engine of SynCAS: repainting, scan, plaques, slices, and that a seed decides all of it."""

from __future__ import annotations

import numpy as np
import pytest
from syncas.disks import dilate_in_slices
from syncas.engine import Engine, EngineSettings, as_int16
from syncas.repainting import draw_paints, painted_regions, repaint, structure_table
from syncas.structures import CORONARY_ID

FAT_HU = -90.0
AFFINE = np.diag([0.35, 0.35, 0.5, 1.0])


def ellipse(shape, centre, radii):
    x, y = np.indices(shape[:2])
    inside = ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 <= 1
    return np.repeat(inside[..., None], shape[2], axis=2)


def heart(depth=3):
    """The ellipse phantom of the method's acceptance facts: a CT of noisy fat and the ids in it."""
    shape = (256, 256, depth)
    ids = np.zeros(shape, np.uint8)
    for id_, centre, radii in (
        (118, (128, 128), (75, 65)),
        (120, (115, 128), (35, 30)),
        (122, (170, 120), (22, 26)),
        (123, (140, 45), (18, 18)),
        (CORONARY_ID, (60, 60), (5, 5)),
    ):
        ids[ellipse(shape, centre, radii)] = id_
    fat = FAT_HU + 15 * np.random.default_rng(0).standard_normal(shape)
    return fat.astype(np.float32), ids


def small(shape=(64, 56, 24)):
    """A vessel along Z beside a chamber, and the aorta below them."""
    ids = np.zeros(shape, np.uint8)
    ids[ellipse(shape, (40, 28), (14, 14))] = 120
    ids[ellipse(shape, (14, 28), (4, 4))] = CORONARY_ID
    ids[6:22, 18:38, :4] = 123
    return np.full(shape, FAT_HU, np.float32), ids


def engine(volumes=None, affine=AFFINE, **settings):
    ccta_hu, ids = small() if volumes is None else volumes
    return Engine(ccta_hu, ids, affine, EngineSettings(**settings))


PLAIN = {"shift_probability": 0.0, "plaque_preset": "none"}


def test_a_voxel_grows_to_thirteen_in_its_slice_and_none_elsewhere():
    mask = np.zeros((9, 9, 3), bool)
    mask[4, 4, 1] = True
    grown = dilate_in_slices(mask, 2)
    assert [int(grown[..., z].sum()) for z in range(3)] == [0, 13, 0]
    assert grown[..., 1].sum(0).tolist() == [0, 0, 1, 3, 5, 3, 1, 0, 0]
    assert dilate_in_slices(np.ones((1, 3, 2), bool), 4).all()


def test_a_later_row_of_the_table_covers_an_earlier_one_unless_the_coronary_comes_last():
    ids = np.zeros((20, 12, 1), np.uint8)
    ids[4:8, 2:10], ids[8:16, 2:10] = CORONARY_ID, 120
    parity, last = (painted_regions(ids, structure_table(coronary_last=flag)) for flag in (False, True))
    assert (parity[6:18, 2:10] == 120).all()  # the ventricle grew by two pixels into the vessel
    assert (last[2:10, 2:10] == CORONARY_ID).all()
    own = painted_regions(ids, structure_table({"left_ventricle": 0}))
    assert (own[4:8, 2:10] == CORONARY_ID).all()
    assert (painted_regions(ids, structure_table(0)) == ids).all()


def test_the_envelope_of_the_heart_is_never_painted():
    ids = np.full((8, 8, 2), 51, np.uint8)
    volume = np.arange(128, dtype=np.float32).reshape(8, 8, 2)
    paints = draw_paints(np.random.default_rng(0), structure_table())
    assert np.array_equal(repaint(volume, painted_regions(ids, structure_table()), paints), volume)


def test_half_of_the_values_are_shifted_evenly_by_up_to_200_hu():
    shifts = np.array(
        [[p.shift_hu for p in draw_paints(np.random.default_rng(seed), structure_table())] for seed in range(400)]
    ).ravel()
    assert (shifts != 0).mean() == pytest.approx(0.5, abs=0.02)  # four standard errors of 6800 draws
    assert np.abs(shifts).max() <= 200
    assert np.abs(shifts).max() > 195
    assert shifts[shifts != 0].mean() == pytest.approx(0, abs=8)
    assert shifts[shifts != 0].std() == pytest.approx(200 / np.sqrt(3), rel=0.03)


def test_a_structure_has_one_value_in_a_view():
    _, ids = small()
    paints = draw_paints(np.random.default_rng(1), structure_table(), shift_probability=1.0)
    painted = repaint(np.full(ids.shape, FAT_HU, np.float32), painted_regions(ids, structure_table()), paints)
    values = {p.structure.id: p.hu for p in paints}
    assert painted[ids == 120] == pytest.approx(values[120])
    assert len(np.unique(painted)) == 4


def test_without_noise_structures_keep_their_values_and_a_vessel_fades_into_its_fat():
    volumes = heart()
    image = engine(volumes, photons=(1e9, 1e9), **PLAIN).view("a").image
    for id_, mean_hu in ((118, 48.1), (120, 40.1), (122, 40.1), (123, 32.8)):
        assert image[volumes[1] == id_].mean() == pytest.approx(mean_hu, abs=1), id_
    vessel = image[volumes[1] == CORONARY_ID]
    assert vessel.mean() == pytest.approx(23.3, abs=2)
    assert vessel.max() == pytest.approx(34.9, abs=1)


def test_noise_leaves_the_values_inside_structures_where_they_are():
    volumes = heart()
    image = engine(volumes, photons=(1e4, 1e4), **PLAIN).view("a").image
    for id_, mean_hu in ((118, 50.0), (120, 40.0), (122, 39.8), (123, 34.9)):
        inside = image[~dilate_in_slices(volumes[1] != id_, 8)]
        assert inside.mean() == pytest.approx(mean_hu, abs=1), id_
        assert 1 < inside.std() < 12


def test_noise_falls_with_the_root_of_the_photons_and_has_no_bias():
    volumes = heart(depth=6)
    clean = engine(volumes, photons=(1e9, 1e9), **PLAIN).view("a").image.astype(float)
    deviations = []
    for photons in (1e2, 1e3):  # so few that rounding to integers does not matter
        noise = engine(volumes, photons=(photons, photons), **PLAIN).view("a").image - clean
        inside = noise[~dilate_in_slices(volumes[1] != 118, 8)]
        assert abs(inside.mean()) < 0.3
        deviations.append(inside.std())
    assert deviations[0] / deviations[1] == pytest.approx(np.sqrt(10), rel=0.1)


def test_slices_of_air_stay_air():
    ccta_hu, ids = small()
    ccta_hu[..., :5], ids[..., :5] = -1000, 0
    image = engine((ccta_hu, ids), **PLAIN).view("a").image
    assert (image[..., :5] == -1000).all()
    padded = np.where(ccta_hu == -1000, np.float32(-3024), ccta_hu)  # outside the circle that the scanner saw
    assert (engine((padded, ids), **PLAIN).view("a").image[..., :5] == -1024).all()


def test_slices_need_not_be_square():
    ccta_hu, ids = small((72, 40, 4))
    image = engine((ccta_hu, ids), photons=(1e9, 1e9), **PLAIN).view("a").image
    assert image.shape == ccta_hu.shape
    assert image[~dilate_in_slices(ids != 120, 6)].mean() == pytest.approx(40, abs=1)
    assert image[-6:, :6].mean() == pytest.approx(FAT_HU, abs=2)


def test_pixels_must_be_square():
    with pytest.raises(ValueError, match=r"must be square, got 0.35 x 0.4 mm"):
        engine(affine=np.diag([0.35, 0.4, 0.5, 1.0]))


def test_the_same_seed_gives_the_same_volume_for_any_number_of_workers():
    chosen = engine()
    one, four = (chosen.view("a", seed=3, workers=workers) for workers in (1, 4))
    assert one.image.dtype == np.int16
    assert np.array_equal(one.image, four.image)
    assert np.array_equal(one.plaques, four.plaques)
    assert one.record == four.record
    assert np.array_equal(one.image, engine().view("a", seed=3).image)


@pytest.mark.parametrize("other", [("a", 0, 1), ("b", 0, 0), ("a", 1, 0)], ids=["view", "case", "seed"])
def test_another_view_case_or_seed_gives_another_volume_of_the_same_anatomy(other):
    chosen = engine(photons=(100, 1000))
    first, second = chosen.view("a", 0, 0), chosen.view(*other)
    assert (first.image != second.image)[small()[1] > 0].mean() > 0.5
    assert first.record["photons"] != second.record["photons"]
    assert first.record["structures"] != second.record["structures"]
    assert np.array_equal(chosen.label, (small()[1] == CORONARY_ID).astype(np.uint8))


def test_every_slice_draws_its_photons_in_the_range_of_its_model():
    photons = np.array(engine(mode="fast").view("a").record["photons"])
    assert len(set(photons)) == 24
    assert photons.min() >= 1e4
    assert photons.max() <= 1e5
    physical = np.array(engine(mode="fast", noise_model="beer_lambert").view("a").record["photons"])
    assert physical.min() >= 2e4
    assert physical.max() <= 2e5


def test_the_physical_noise_model_keeps_the_values():
    volumes = heart()
    image = engine(volumes, noise_model="beer_lambert", electronic_sd=10.0, **PLAIN).view("a").image
    assert image[~dilate_in_slices(volumes[1] != 120, 8)].mean() == pytest.approx(40, abs=3)


def test_projecting_the_region_of_the_structures_alone_keeps_them():
    volumes = heart()
    whole, region = (engine(volumes, region_only=flag, **PLAIN).view("a").image.astype(float) for flag in (0, 1))
    inside = volumes[1] > 0
    assert np.abs(whole[inside].mean() - region[inside].mean()) < 0.5
    assert region[:20, :20].mean() == pytest.approx(FAT_HU, abs=2)


def test_texture_is_added_inside_the_structures_only():
    settings = {"photons": (1e9, 1e9), "texture_sd_hu": 30.0, **PLAIN}
    _, ids = small()
    image = engine(**settings).view("a").image
    assert image[ids == 120].std() > 4
    assert image[56:, 48:].std() < 1


def test_values_are_rounded_to_the_nearest_integer_and_saturate():
    assert as_int16(np.array([-40000.0, -1.6, 0.4, 0.6, 40000.0])).tolist() == [-32768, -2, 0, 1, 32767]


@pytest.mark.parametrize("profile", ["box", "nearest"])
def test_thick_slices_hold_the_same_field_of_view(profile):
    thick = engine(slice_thickness_mm=3.0, slice_profile=profile)
    view = thick.view("a")
    assert view.image.shape == view.plaques.shape == thick.label.shape == (64, 56, 4)  # 12 mm
    assert np.allclose(np.diag(thick.affine), [0.35, 0.35, 3.0, 1.0])
    assert thick.affine[2, 3] == pytest.approx(1.25)  # the middle of the first six slices
    assert len(view.record["photons"]) == 4
    assert thick.label[14, 28].tolist() == [0, 1, 1, 1]  # four of the first six are aorta
    assert not view.plaques[thick.label == 0].any()


def test_a_box_of_thin_slices_shows_partial_volume_and_a_nearest_one_does_not():
    ccta_hu, ids = small()
    ids[...] = 0
    ids[..., 10:] = 120  # of the slices 6 to 11 four are fat
    values = {}
    for profile in ("box", "nearest"):
        chosen = engine((ccta_hu, ids), photons=(1e9, 1e9), slice_thickness_mm=3.0, slice_profile=profile, **PLAIN)
        values[profile] = float(chosen.view("a").image[20:40, 20:40, 1].mean())
    assert values["box"] == pytest.approx((4 * FAT_HU + 2 * 40) / 6, abs=1)
    assert values["nearest"] == pytest.approx(FAT_HU, abs=1)


def test_thinner_slices_than_those_of_the_ct_are_refused():
    with pytest.raises(ValueError, match=r"slice_thickness_mm must be at least that of the CT, 0.5 mm, got 0.3"):
        engine(slice_thickness_mm=0.3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"noise_model": "gauss"}, "noise_model must be one of .* got 'gauss'"),
        ({"mode": "slow"}, "mode must be one of"),
        ({"plaque_preset": "nothing"}, "plaque_preset must be one of"),
        ({"photons": [1e4]}, "photons must be two numbers"),
        ({"photons": 5000.0}, "photons must be two numbers"),
        ({"plaque_stage": "mid"}, "plaque_stage must be one of"),
        ({"plaque_count": -1}, "plaque_count must be at least 0"),
        ({"shift_probability": 1.5}, "shift_probability must be at most 1"),
        ({"photons": (1e5, 1e4)}, "photons must be two numbers"),
        ({"slice_thickness_mm": 0.0}, "slice_thickness_mm must be positive"),
        ({"slice_profile": "mean"}, "must be one of"),
        ({"dilate_px": {"heart": 1}}, "dilate_px .* the names are .*left_ventricle"),
        ({"dilate_px": -1}, "dilate_px must be a whole number of at least 0"),
    ],
    ids=lambda value: str(value)[:24],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        EngineSettings(**settings)


def test_volumes_of_different_shapes_are_refused():
    with pytest.raises(ValueError, match=r"one shape \(X, Y, Z\), got \(4, 4, 4\) and \(4, 4, 5\)"):
        Engine(np.zeros((4, 4, 4), np.float32), np.zeros((4, 4, 5), np.uint8), AFFINE)
