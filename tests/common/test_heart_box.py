"""The heart is found by its bright and deep blood, on chests of known geometry and on real scans."""

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, Invertd, Orientationd, Spacingd

from common.diagnostics.notes import notes_of
from common.grids import spacing_mm
from common.heart_box import ClearWithoutContrastd, CropToHeartd, locate_heart
from common.loading import LoadVolumed

SPACING = np.array([2.0, 2.0, 2.5])
SHAPE = (160, 130, 120)  # 320 x 260 x 300 mm: a whole chest
AFFINE = np.diag([*SPACING, 1.0])  # RAS; the world begins at the first voxel
CENTER = np.array([140.0, 150.0, 130.0])  # of the left ventricle, mm


def ellipsoid(center, radii):
    axes = np.ogrid[tuple(slice(0, side) for side in SHAPE)]
    return (
        sum(
            ((axis * step - at) / radius) ** 2
            for axis, step, at, radius in zip(axes, SPACING, center, radii, strict=True)
        )
        < 1
    )


def beside(x, y, z):
    return CENTER + np.array([x, y, z])


def chest(blood_hu=400.0, right_heart_hu=50.0):
    """Return a chest with ribs, spine, lungs and a heart of which the right half may be washed out, and the heart."""
    rng = np.random.default_rng(0)
    volume = np.full(SHAPE, -1000.0, np.float32)
    volume[ellipsoid((160, 130, 150), (150, 115, 400))] = 50
    volume[ellipsoid((160, 130, 150), (140, 105, 400))] = 300  # ribs and sternum as a shell
    volume[ellipsoid((160, 130, 150), (135, 100, 400))] = -850
    for level in range(10, 300, 32):  # vertebrae of the size of L1, their marrow as dense as at 20 years
        volume[ellipsoid((160, 45, level), (22, 17, 14))] = 250
    heart = ellipsoid(CENTER, (50, 45, 55)) | ellipsoid(beside(35, 20, 0), (45, 40, 50))
    volume[heart] = 100
    volume[ellipsoid(beside(45, 25, 0), (30, 25, 35))] = right_heart_hu
    for center, radii in (((0, 0, 0), (28, 25, 38)), ((15, -30, 25), (26, 20, 22)), ((25, 10, 70), (15, 15, 60))):
        volume[ellipsoid(beside(*center), radii)] = blood_hu  # left ventricle, left atrium, ascending aorta
    volume[ellipsoid((120, 60, 150), (12, 12, 400))] = blood_hu  # descending aorta
    return volume + rng.normal(0, 30, SHAPE).astype(np.float32), heart


@pytest.fixture(scope="module")
def contrast():
    return chest()


@pytest.fixture(scope="module")
def native():
    return chest(blood_hu=40, right_heart_hu=40)[0]


def test_the_box_holds_the_heart_though_its_right_half_is_washed_out(contrast):
    volume, heart = contrast
    region = locate_heart(volume, AFFINE)
    assert heart[region.box].sum() == heart.sum()
    assert region.blood_hu == pytest.approx(400, abs=5)


def test_the_box_spares_most_of_the_chest(contrast):
    region = locate_heart(contrast[0], AFFINE)
    assert np.prod([side.stop - side.start for side in region.box]) < 0.35 * np.prod(SHAPE)


@pytest.mark.parametrize("codes", ["LPS", "SAR", "PIL"])
def test_the_order_and_direction_of_the_axes_do_not_matter(contrast, codes):
    volume, heart = contrast
    turn = nibabel.orientations.axcodes2ornt(codes)
    inverse = nibabel.orientations.ornt_transform(nibabel.orientations.axcodes2ornt("RAS"), turn)
    turned, heart = (nibabel.orientations.apply_orientation(array, inverse) for array in (volume, heart))
    affine = AFFINE @ nibabel.orientations.inv_ornt_aff(inverse, SHAPE)
    region = locate_heart(turned, affine)
    assert heart[region.box].sum() == heart.sum()
    corners = nibabel.affines.apply_affine(
        affine, [[side.start for side in region.box], [side.stop - 1 for side in region.box]]
    )
    expected = locate_heart(volume, AFFINE)
    low = [side.start * step for side, step in zip(expected.box, SPACING, strict=True)]
    np.testing.assert_allclose(corners.min(axis=0), low, atol=6)  # the coarse voxels begin at another end


def test_without_contrast_no_heart_is_found_for_all_its_dense_bones(native):
    assert locate_heart(native, AFFINE) is None


@pytest.mark.parametrize("value", [-1000.0, 0.0, 150.0])
def test_an_even_volume_has_no_heart(value):
    assert locate_heart(np.full((30, 30, 30), value, np.float32), np.diag([3.0, 3, 3, 1])) is None


def test_contrast_in_layers_is_still_a_blood_pool():
    volume = np.full((60, 60, 60), -50, np.float32)
    volume[10:50, 10:50, 10:50] = 160
    volume[10:50, 10:50, 10:50:4] = 900  # unmixed contrast, so that no part is deep at half its value
    volume[10:50, 10:50, 11:50:4] = 900
    assert locate_heart(volume, np.diag([3.0, 3, 3, 1])) is not None


def test_a_piece_of_aorta_is_no_heart_and_the_volume_stays_whole():
    volume = np.full(SHAPE, -50, np.float32)
    volume[ellipsoid((160, 130, 150), (18, 18, 40))] = 400  # 54 ml
    region = locate_heart(volume, AFFINE)
    assert region.box == tuple(slice(0, side) for side in SHAPE)
    assert region.blood_hu == 400


def test_a_crop_inside_the_heart_stays_whole(contrast):
    volume, _ = contrast
    inside = tuple(slice(int(at / step) - 20, int(at / step) + 20) for at, step in zip(CENTER, SPACING, strict=True))
    region = locate_heart(volume[inside], AFFINE)
    assert region.box == (slice(0, 40),) * 3


SIDES = {  # where a scan ends in the middle of the left ventricle, as voxels of RAS
    "left": np.s_[70:],
    "front": np.s_[:, :75],
    "bottom": np.s_[:, :, 52:],
}


@pytest.mark.parametrize("codes", ["RAS", "LPI", "SAR"])
@pytest.mark.parametrize("side", SIDES)
def test_the_side_at_which_a_scan_cuts_the_heart_off_is_named(contrast, side, codes):
    turn = nibabel.orientations.ornt_transform(
        nibabel.orientations.axcodes2ornt("RAS"), nibabel.orientations.axcodes2ornt(codes)
    )
    part = contrast[0][SIDES[side]]
    affine = AFFINE @ nibabel.orientations.inv_ornt_aff(turn, part.shape)
    assert locate_heart(nibabel.orientations.apply_orientation(part, turn), affine).cut_at == (side,)


def test_a_whole_heart_is_cut_off_nowhere_and_that_of_a_piece_of_aorta_is_unknown(contrast):
    assert locate_heart(contrast[0], AFFINE).cut_at == ()
    volume = np.full(SHAPE, -50, np.float32)
    volume[ellipsoid((160, 130, 150), (18, 18, 40))] = 400
    assert locate_heart(volume, AFFINE).cut_at is None


def test_what_is_found_is_noted_for_the_report(case):
    cropped = CropToHeartd("image", "image")(case)["image"]
    notes = notes_of(cropped)
    assert notes["contrast"]["found"]
    assert notes["contrast"]["blood_hu"] == pytest.approx(400, abs=5)
    assert notes["heart"]["cut_at"] == []
    assert [stop - start for start, stop in notes["heart"]["box"]] == list(cropped.shape[1:])


@pytest.fixture
def case(contrast):
    volume, heart = contrast
    meta = {"filename_or_obj": "chest.nii.gz"}
    affine = torch.from_numpy(AFFINE)
    return {
        "image": MetaTensor(torch.from_numpy(volume.copy())[None], affine=affine, meta=meta),
        "label": MetaTensor(torch.from_numpy(heart)[None].float(), affine=affine),
    }


def test_image_and_label_are_cropped_to_the_same_box_and_keep_their_place(case):
    cropped = CropToHeartd(["image", "label"], "image")(case)
    box = locate_heart(case["image"][0].numpy(), AFFINE).box
    assert torch.equal(cropped["image"].as_tensor()[0], case["image"].as_tensor()[0][box])
    assert torch.equal(cropped["label"].as_tensor()[0], case["label"].as_tensor()[0][box])
    np.testing.assert_allclose(cropped["label"].affine[:3, 3], [side.start for side in box] * SPACING)
    assert cropped["image"].untyped_storage().nbytes() == cropped["image"].numel() * 4  # the whole volume is let go


def test_the_inverse_puts_a_prediction_back_on_the_whole_grid_with_zeros_around(case):
    turn = Orientationd("image", axcodes="PSL", labels=None)
    before = Compose([CropToHeartd("image", "image"), turn, Spacingd("image", pixdim=3.0)])
    after = Invertd("pred", before, "image", nearest_interp=False)
    batch = next(iter(DataLoader(Dataset([{"image": case["image"]}], before), batch_size=1)))
    assert batch["image"].numel() < 0.3 * case["image"].numel()
    batch["pred"] = torch.ones_like(batch["image"])
    pred = after(decollate_batch(batch)[0])["pred"]
    box = locate_heart(case["image"][0].numpy(), AFFINE).box
    expected = torch.zeros(SHAPE)
    expected[box] = 1
    assert pred.shape == case["image"].shape
    np.testing.assert_allclose(pred.affine, AFFINE, atol=1e-6)
    assert (pred[0] - expected).abs().sum() < 0.05 * expected.sum()  # but for the border of the box
    assert pred.sum() <= expected.sum()


def test_cropping_may_be_switched_off(case):
    whole = CropToHeartd("image", "image", crop=False)(case)
    assert whole["image"].shape == case["image"].shape
    assert whole["image"].meta["contrast"] == 1


def through_a_loader(image, *transforms):
    """Return the item as an engine hands it to post-processing, with a prediction of ones."""
    with_heart = Compose([CropToHeartd("image", "image"), *transforms])
    batch = next(iter(DataLoader(Dataset([{"image": image}], with_heart), batch_size=1)))
    batch["pred"] = torch.ones_like(batch["image"])
    return decollate_batch(batch)[0], with_heart


def test_a_scan_without_contrast_is_warned_of_and_its_mask_emptied(case, native):
    case["image"][0] = torch.from_numpy(native)
    with pytest.warns(UserWarning, match=r"chest\.nii\.gz: there is no contrast-filled heart"):
        item, _ = through_a_loader(case["image"])
    cleared = ClearWithoutContrastd("pred", "image")(item)
    assert cleared["pred"].shape == case["image"].shape
    assert not cleared["pred"].any()
    np.testing.assert_allclose(cleared["pred"].affine, AFFINE)


def test_a_mask_can_be_inverted_after_it_was_emptied(case, native):
    case["image"][0] = torch.from_numpy(native)
    with pytest.warns(UserWarning, match="no contrast-filled heart"):
        item, before = through_a_loader(case["image"], Orientationd("image", axcodes="LPS", labels=None))
    item = Invertd("pred", before, "image")(ClearWithoutContrastd("pred", "image")(item))
    assert item["pred"].shape == case["image"].shape
    assert not item["pred"].any()


def test_a_scan_with_contrast_keeps_its_mask(case):
    item, _ = through_a_loader(case["image"])
    assert ClearWithoutContrastd("pred", "image")(item)["pred"].all()


def test_clearing_needs_the_crop_before():
    image = MetaTensor(torch.zeros(1, 4, 4, 4))
    with pytest.raises(ValueError, match="put CropToHeartd into preprocessing"):
        ClearWithoutContrastd("pred", "image")({"image": image, "pred": image})


@pytest.mark.slow
def test_the_coronary_arteries_of_phantoms_are_inside_with_room_to_spare(tmp_path):
    dataset = pytest.importorskip("common.phantom.dataset")
    dataset.write_dataset(tmp_path, cases=1, seed=40, shape=(160, 160, 130), spacing=1.2)
    for file in sorted((tmp_path / "images").iterdir()):
        scan, label = nibabel.load(file), nibabel.load(tmp_path / "labels" / file.name)
        region = locate_heart(np.asarray(scan.dataobj, np.float32), scan.affine)
        points = np.argwhere(np.asarray(label.dataobj) > 0)
        first, stop = (np.array([getattr(side, end) for side in region.box]) for end in ("start", "stop"))
        assert np.minimum(points.min(axis=0) - first, stop - 1 - points.max(axis=0)).min() * 1.2 > 10


@pytest.mark.parametrize("folder", ["aorta_case", "pulmonary_case"])
def test_the_heart_of_a_real_angiogram_is_inside(real_data, folder):
    scan = nibabel.load(real_data / "cta_heart" / folder / "ct_cropped.nii.gz")
    heart = nibabel.load(real_data / "cta_heart" / "pulmonary_case" / "heart.nii.gz")
    region = locate_heart(np.asarray(scan.dataobj, np.float32), scan.affine)
    world = nibabel.affines.apply_affine(heart.affine, np.argwhere(np.asarray(heart.dataobj) > 0))
    points = nibabel.affines.apply_affine(np.linalg.inv(scan.affine), world)
    inside = np.all(
        [(points[:, a] >= side.start - 0.5) & (points[:, a] < side.stop) for a, side in enumerate(region.box)], axis=0
    )
    assert inside.mean() > 0.999
    assert 400 < region.blood_hu < 600


def test_a_real_angiogram_in_a_larger_field_is_boxed_within_it(real_data):
    scan = nibabel.load(real_data / "cta_heart" / "pulmonary_case" / "ct_cropped.nii.gz")
    volume = np.pad(np.asarray(scan.dataobj, np.float32), 60, constant_values=-1000)
    region = locate_heart(volume, scan.affine)
    edges_mm = [(side.stop - side.start) * step for side, step in zip(region.box, spacing_mm(scan.affine), strict=True)]
    assert max(edges_mm) < 220  # the field is 360 x 330 x 350 mm
    assert all(side.start < 60 + 13 and side.stop > 60 + 88 for side in region.box)  # the heart mask begins at 13


def test_a_real_native_scan_is_warned_of(real_data):
    image = LoadVolumed("image")({"image": real_data / "ct_noncontrast" / "A0002_8mm_B40f"})
    with pytest.warns(UserWarning, match="A0002_8mm_B40f: there is no contrast-filled heart"):
        cropped = CropToHeartd("image", "image")(image)["image"]
    assert cropped.shape == (1, 512, 512, 30)
    assert cropped.meta["contrast"] == 0
