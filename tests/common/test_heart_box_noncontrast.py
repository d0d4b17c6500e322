"""Without contrast the heart is found as deep soft tissue between the lungs, and never cut where that is unsure."""

import json
import warnings

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from common.grids import spacing_mm
from common.heart_box import CropToHeartd, locate_native_heart
from common.loading import LoadVolumed

SPACING = np.array([4.0, 4.0, 5.0])
SHAPE = (90, 72, 67)  # 360 x 288 x 336 mm: chest and upper abdomen
AFFINE = np.diag([*SPACING, 1.0])  # RAS; the world begins at the first voxel
LEFT_VENTRICLE, RIGHT_HEART = (160.0, 165.0, 190.0), (200.0, 180.0, 195.0)  # mm


def ellipsoid(center, radii):
    axes = np.ogrid[tuple(slice(0, side) for side in SHAPE)]
    parts = zip(axes, SPACING, center, radii, strict=True)
    return sum(((axis * step - at) / radius) ** 2 for axis, step, at, radius in parts) < 1


def chest(blood_hu=40.0, muscle_hu=48.0):
    """Return a chest with lungs, ribs, spine, liver, aorta and a heart in fat, and the heart with its arteries."""
    volume = np.full(SHAPE, -1000.0, np.float32)
    volume[ellipsoid((180, 145, 160), (165, 120, 900))] = -100  # skin and fat
    volume[ellipsoid((180, 145, 160), (150, 105, 900))] = 50  # muscle
    volume[ellipsoid((180, 145, 230), (135, 95, 150))] = -850  # lungs
    volume[ellipsoid((180, 145, 230), (20, 95, 150))] = -90  # mediastinum
    volume[ellipsoid((150, 145, 100), (150, 95, 50))] = 55  # liver and stomach, with a dome to the right
    for level in range(0, 340, 30):
        volume[ellipsoid((180, 55, level), (22, 18, 12))] = 200  # vertebrae
    fat = ellipsoid(LEFT_VENTRICLE, (55, 50, 60)) | ellipsoid(RIGHT_HEART, (55, 45, 55))
    volume[fat] = -90
    volume[ellipsoid(LEFT_VENTRICLE, (45, 40, 50))] = muscle_hu
    volume[ellipsoid(RIGHT_HEART, (45, 35, 45))] = blood_hu
    volume[ellipsoid(LEFT_VENTRICLE, (32, 28, 38))] = blood_hu
    volume[ellipsoid((180, 165, 270), (16, 16, 60))] = blood_hu  # ascending aorta
    volume[ellipsoid((165, 90, 160), (12, 12, 900))] = blood_hu  # descending aorta
    return volume + np.random.default_rng(0).normal(0, 15, SHAPE).astype(np.float32), fat


@pytest.fixture(scope="module")
def native():
    return chest()


def inside(box, mask):
    return int(mask[box].sum()) == int(mask.sum())


def share(box, shape):
    return np.prod([(side.stop - side.start) / size for side, size in zip(box, shape, strict=True)])


def test_the_box_holds_the_heart_and_the_fat_around_it_and_spares_the_chest(native):
    volume, heart = native
    box = locate_native_heart(volume, AFFINE).box
    assert inside(box, heart)
    assert share(box, SHAPE) < 0.35


@pytest.mark.parametrize("codes", ["LPS", "SAR", "PIL"])
def test_the_order_and_direction_of_the_axes_do_not_matter(native, codes):
    volume, heart = native
    ras, stored = map(nibabel.orientations.axcodes2ornt, ("RAS", codes))
    turn = nibabel.orientations.ornt_transform(ras, stored)
    turned, heart = (nibabel.orientations.apply_orientation(array, turn) for array in (volume, heart))
    box = locate_native_heart(turned, AFFINE @ nibabel.orientations.inv_ornt_aff(turn, SHAPE)).box
    assert inside(box, heart)
    assert share(box, turned.shape) < 0.35


def test_a_tilted_scan_has_the_same_heart(native):
    volume, _ = native
    tilt = np.eye(4)
    tilt[:3, :3] = [[0.98, 0.2, 0], [-0.2, 0.98, 0], [0, 0, 1]]
    assert locate_native_heart(volume, tilt @ AFFINE) == locate_native_heart(volume, AFFINE)


def test_calcium_and_leads_leave_the_heart_compact(native):
    volume, heart = native
    volume = volume.copy()
    volume[ellipsoid(LEFT_VENTRICLE, (8, 8, 8))] = 900  # a calcified mitral ring, 2 ml
    volume[ellipsoid(RIGHT_HEART, (4, 4, 12))] = 3000
    box = locate_native_heart(volume, AFFINE).box
    assert inside(box, heart)
    assert share(box, SHAPE) < 0.35


def test_thick_slices_are_enough(native):
    volume, heart = (array[..., ::2] for array in native)
    box = locate_native_heart(volume, np.diag([4.0, 4, 10, 1])).box
    assert inside(box, heart)
    assert share(box, volume.shape) < 0.4


@pytest.mark.parametrize("margin_mm", [6.0, 30.0])
@pytest.mark.parametrize("below_mm", [0.0, 60.0])
def test_in_a_small_field_that_shows_liver_the_heart_stays_whole(native, margin_mm, below_mm):
    volume, heart = native
    points = np.argwhere(heart) * SPACING
    low = np.maximum((points.min(axis=0) - margin_mm - np.array([0, 0, below_mm])) / SPACING, 0).astype(int)
    high = ((points.max(axis=0) + margin_mm) / SPACING).astype(int) + 1
    field = tuple(slice(first, last) for first, last in zip(low, high, strict=True))
    box = locate_native_heart(volume[field], AFFINE).box
    assert box is None or inside(box, heart[field])


def test_one_lung_filled_with_fluid_cuts_no_heart(native):
    volume, heart = native
    fluid = volume.copy()
    left_half = fluid[:45]
    left_half[left_half < -700] = 10
    region = locate_native_heart(fluid, AFFINE)
    assert region is None or inside(region.box, heart)


@pytest.mark.parametrize("value", [-1000.0, -850.0, -90.0])
def test_an_even_volume_without_soft_tissue_has_no_heart(value):
    assert locate_native_heart(np.full((30, 30, 30), value, np.float32), np.diag([3.0, 3, 3, 1])) is None


def test_a_belly_has_no_heart(native):
    assert locate_native_heart(native[0][..., :12], AFFINE) is None


@pytest.mark.parametrize("value", [0.0, 50.0])
def test_a_volume_inside_the_heart_stays_whole(value):
    box = locate_native_heart(np.full((30, 30, 30), value, np.float32), np.diag([3.0, 3, 3, 1])).box
    assert box == (slice(0, 30),) * 3


def case(volume, heart, channels=1):
    """Return a loaded case; the second view of it has no heart at all."""
    views = [volume, *[np.full(SHAPE, -1000, np.float32)] * (channels - 1)]
    affine = torch.from_numpy(AFFINE)
    image = MetaTensor(torch.from_numpy(np.stack(views)), affine=affine, meta={"filename_or_obj": "chest.nii.gz"})
    return {"image": image, "label": MetaTensor(torch.from_numpy(heart[None].astype(np.uint8)), affine=affine)}


@pytest.mark.parametrize("channels", [1, 2])
def test_a_model_for_native_scans_gets_the_heart_without_a_warning(native, channels):
    volume, heart = native
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cropped = CropToHeartd(["image", "label"], "image", contrast=False)(case(volume, heart, channels))
    box = locate_native_heart(volume, AFFINE).box
    assert cropped["image"].shape == (channels, *[side.stop - side.start for side in box])
    assert torch.equal(cropped["image"].as_tensor()[0], torch.from_numpy(volume[box]))
    assert cropped["label"].sum() == heart.sum()
    assert cropped["image"].meta["contrast"] == 0


def test_a_model_for_native_scans_warns_of_contrast_and_keeps_the_heart():
    volume, heart = chest(blood_hu=400.0, muscle_hu=100.0)
    with pytest.warns(UserWarning, match=r"chest\.nii\.gz: this scan has contrast \(a compact region of (39|40)\d HU"):
        cropped = CropToHeartd(["image", "label"], "image", contrast=False)(case(volume, heart))
    assert cropped["label"].sum() == heart.sum()
    assert cropped["image"].meta["contrast"] == 1


def test_a_bright_meal_does_not_take_the_heart_away(native):
    volume, heart = native
    volume = volume.copy()
    volume[ellipsoid((100, 145, 70), (45, 50, 30))] = 400  # contrast in the stomach
    with pytest.warns(UserWarning, match="this scan has contrast"):
        cropped = CropToHeartd(["image", "label"], "image", contrast=False)(case(volume, heart))
    assert cropped["label"].sum() == heart.sum()


def test_cropping_may_be_switched_off(native):
    whole = CropToHeartd(["image", "label"], "image", crop=False, contrast=False)(case(*native))
    assert whole["image"].shape == (1, *SHAPE)


def test_a_volume_without_a_heart_stays_whole():
    air = np.random.default_rng(0).normal(-900, 10, SHAPE).astype(np.float32)
    cropped = CropToHeartd("image", "image", contrast=False)(case(air, air > 0))
    assert cropped["image"].shape == (1, *SHAPE)


@pytest.mark.slow
def test_the_heart_of_a_real_native_scan_is_inside(real_data):
    folder = real_data / "ct_noncontrast" / "A0002_8mm_B40f"
    if not folder.is_dir():
        pytest.skip(f"no real scan without contrast: there is no {folder}")
    image = LoadVolumed("image")({"image": folder})["image"]
    box = locate_native_heart(image[0].numpy(), image.affine.numpy()).box
    # seen by eye: the heart with its fat, mm from the first voxel (L P S)
    for side, step, low, high in zip(box, spacing_mm(image.affine), (98, 80, 64), (222, 193, 144), strict=True):
        assert side.start * step < low - 10
        assert side.stop * step > high + 10
    assert share(box, image.shape[1:]) < 0.25


@pytest.mark.slow
def test_the_coronary_arteries_of_phantoms_are_inside_with_room_to_spare(tmp_path):
    dataset = pytest.importorskip("common.phantom.dataset")
    dataset.write_dataset(tmp_path, cases=1, seed=40, modality="ncct", shape=(120, 120, 64), spacing=(2.6, 2.6, 3.0))
    entry = next(
        cases[0]
        for cases in json.loads((tmp_path / "dataset.json").read_text()).values()
        if isinstance(cases, list) and cases
    )
    scan, label = (nibabel.load(tmp_path / entry[key]) for key in ("image", "label"))
    box = locate_native_heart(np.asarray(scan.dataobj, np.float32), scan.affine).box
    points = np.argwhere(np.asarray(label.dataobj) > 0)
    for axis, (side, step) in enumerate(zip(box, spacing_mm(scan.affine), strict=True)):
        assert (points[:, axis].min() - side.start) * step > 10
        assert (side.stop - 1 - points[:, axis].max()) * step > 10
    assert share(box, scan.shape) < 0.3
