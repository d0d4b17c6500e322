"""One resampler for training and inference: nothing moves, slabs are averaged, labels stay integers."""

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd
from scipy.spatial.transform import Rotation
from syncas.resampling import ResampleSlicesd, axis_weights, resampled_shape

SPACING = (0.349609375, 0.349609375, 3.0)
GRIDS = {
    "RAS": np.diag([0.5, 0.6, 0.8, 1.0]),
    "LPS": np.diag([-0.5, -0.6, 0.8, 1.0]),
    "LAI": np.diag([-0.5, 0.6, -0.8, 1.0]),
    "oblique": np.eye(4),
    "thick": np.diag([0.6, 0.6, 5.0, 1.0]),
}
GRIDS["oblique"][:3, :3] = Rotation.from_euler("xyz", [10, -20, 30], degrees=True).as_matrix() * [0.5, 0.6, 0.8]
for grid in GRIDS.values():
    grid[:3, 3] = (-30, 120, 7)


def resample(volume, affine=None, mode="image", spacing=SPACING, **options):
    """Resample an array ``(X, Y, Z)`` or ``(C, X, Y, Z)``."""
    values = torch.as_tensor(np.array(volume))
    item = MetaTensor(values if values.ndim == 4 else values[None], affine=torch.as_tensor(affine))
    return ResampleSlicesd("image", spacing, mode, **options)({"image": item})["image"]


def blob(shape, affine, sigma_mm=5.0):
    """Return a Gaussian a little off the middle of the volume, and where it is in mm."""
    middle = nibabel.affines.apply_affine(affine, (np.array(shape) - 1) / 2) + np.array([0.7, -0.4, 0.9])
    points = nibabel.affines.apply_affine(affine, np.moveaxis(np.indices(shape), 0, -1))
    return np.exp(-((points - middle) ** 2).sum(axis=-1) / (2 * sigma_mm**2)), middle


def center_mm(volume):
    points = nibabel.affines.apply_affine(volume.affine.numpy(), np.moveaxis(np.indices(volume.shape[1:]), 0, -1))
    weight = volume[0].numpy()
    return (points * weight[..., None]).sum(axis=(0, 1, 2)) / weight.sum()


@pytest.mark.parametrize(
    ("shape", "spacing", "expected"),
    [((512, 512, 275), (0.35, 0.35, 0.5), (513, 513, 46)), ((512, 512, 47), (0.43, 0.43, 3.0), (630, 630, 47))],
    ids=["thin", "thick"],
)
def test_sizes_are_those_of_the_published_preprocessing(shape, spacing, expected):
    assert resampled_shape(shape, spacing, SPACING) == expected


def test_a_grid_has_at_least_one_slice():
    assert resampled_shape((4, 4, 2), (1, 1, 0.5), (1, 1, 3)) == (4, 4, 1)


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS.keys())
@pytest.mark.parametrize("slice_profile", ["box", "nearest"])
def test_what_is_in_the_volume_stays_at_its_place_in_the_world(affine, slice_profile):
    shape = (60, 56, 12 if affine[2, 2] == 5 else 60)
    volume, middle = blob(shape, affine)
    moved = resample(volume, affine, slice_profile=slice_profile)
    assert moved.shape[1:] == resampled_shape(shape, nibabel.affines.voxel_sizes(affine), SPACING)
    np.testing.assert_allclose(center_mm(moved), middle, atol=0.25 if slice_profile == "nearest" else 0.08)


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS.keys())
def test_the_field_of_view_keeps_its_corners(affine):
    shape = np.array((60, 56, 31))
    moved = resample(np.zeros(shape, np.float32), affine)
    corners = [nibabel.affines.apply_affine(affine, corner) for corner in (np.full(3, -0.5), shape - 0.5)]
    after = (np.full(3, -0.5), np.array(moved.shape[1:]) - 0.5)
    np.testing.assert_allclose(nibabel.affines.apply_affine(moved.affine.numpy(), after), corners, atol=1e-9)


@pytest.mark.parametrize("factor", [1.0, 1.0005], ids=["equal", "nearly equal"])
@pytest.mark.parametrize("mode", ["image", "label"])
def test_at_the_spacing_of_the_network_nothing_changes(factor, mode):
    volume = np.random.default_rng(0).integers(0, 9, (9, 8, 7)).astype(np.float32)
    affine = np.diag([*(np.array(SPACING) * factor), 1.0])
    moved = resample(volume, affine, mode)
    assert torch.equal(moved.as_tensor()[0], torch.from_numpy(volume))
    np.testing.assert_array_equal(moved.affine, affine)


def test_a_slab_is_the_mean_of_its_slices_and_its_noise_falls_so():
    volume = np.random.default_rng(0).normal(0, 10, (20, 20, 60)).astype(np.float32)
    slabs = resample(volume, np.diag([1, 1, 0.5, 1.0]), spacing=(1, 1, 3))[0].numpy()
    np.testing.assert_allclose(slabs, volume.reshape(20, 20, 10, 6).mean(axis=3), atol=1e-4)
    assert slabs.std() == pytest.approx(10 / np.sqrt(6), rel=0.05)


def test_a_slab_takes_the_part_of_a_slice_that_lies_in_it():
    volume = np.broadcast_to(np.array([0.0, 6.0, 12.0], np.float32), (2, 2, 3))
    slabs = resample(volume, np.diag([1, 1, 2, 1.0]), spacing=(1, 1, 3))[0]
    np.testing.assert_allclose(slabs[0, 0], [(0 * 2 + 6 * 1) / 3, (6 * 1 + 12 * 2) / 3], atol=1e-5)


def test_nearest_picks_every_sixth_slice_as_published():
    volume = np.broadcast_to(np.arange(275, dtype=np.float32), (2, 2, 275))
    picked = resample(volume, np.diag([1, 1, 0.5, 1.0]), spacing=(1, 1, 3), slice_profile="nearest")[0, 0, 0]
    assert picked[:4].tolist() == [2, 8, 14, 20]
    assert len(picked) == 46


def test_thicker_slices_are_interpolated_linearly():
    volume = np.broadcast_to(np.arange(6, dtype=np.float32), (2, 2, 6))
    values = resample(volume, np.diag([1, 1, 6, 1.0]), spacing=(1, 1, 3))[0, 0, 0]
    np.testing.assert_allclose(values[1:-1], np.arange(0.25, 5, 0.5), atol=1e-5)


@pytest.mark.parametrize("kind", ["cubic", "linear", "box"])
@pytest.mark.parametrize(("old", "new"), [(10, 23), (23, 10), (1, 4), (7, 1)])
def test_an_even_volume_stays_even(kind, old, new):
    weights = axis_weights(old, new, kind)
    assert weights.shape == (new, old)
    np.testing.assert_allclose(weights.sum(dim=1), 1, atol=1e-6)


def test_the_spline_goes_through_the_voxels():
    volume = np.random.default_rng(0).normal(size=(9, 1, 1)).astype(np.float32)
    tripled = resample(volume, np.diag([3.0, 1, 1, 1]), spacing=(1, 1, 1))[0, 1::3, 0, 0]
    np.testing.assert_allclose(tripled, volume[:, 0, 0], atol=1e-5)


def slab_label(*covered):
    """Return a label of 6 slices, of which the first ones have the values given, and its affine."""
    label = np.zeros((4, 4, 6), np.uint8)
    label[..., : len(covered)] = covered
    return label, np.diag([1, 1, 0.5, 1.0])


@pytest.mark.parametrize(
    ("covered", "majority", "most"),
    [((), 0, 0), ((1,), 0, 1), ((1, 1), 0, 1), ((1, 1, 1), 1, 1), ((1, 2, 2), 2, 2), ((3, 3, 2, 2, 2), 2, 2)],
    ids=["none", "one", "two", "half", "several make half", "most wins"],
)
def test_a_slab_of_a_label_is_what_half_of_it_is_or_what_any_of_it_is(covered, majority, most):
    label, affine = slab_label(*covered)
    for label_mode, expected in (("majority", majority), ("max", most)):
        slab = resample(label, affine, "label", (1, 1, 3), label_mode=label_mode)
        assert slab.shape == (1, 4, 4, 1)
        assert slab.unique().tolist() == [expected], label_mode


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32])
def test_labels_keep_their_integers_and_their_type(dtype):
    label = np.zeros((30, 30, 30), dtype)
    label[5:15, 5:15, 5:25] = 3
    label[15:25, 5:15, 5:25] = 7
    moved = resample(label, np.diag([0.5, 0.5, 0.5, 1]), "label")
    assert moved.unique().tolist() == [0, 3, 7]
    assert moved.dtype == torch.as_tensor(label).dtype
    volume_mm3 = [float((moved == value).sum()) * abs(np.linalg.det(moved.affine[:3, :3])) for value in (3, 7)]
    np.testing.assert_allclose(volume_mm3, 10 * 10 * 20 * 0.125, rtol=0.2)


def test_views_are_resampled_alike():
    views = np.random.default_rng(0).normal(size=(2, 12, 10, 12)).astype(np.float32)
    affine = np.diag([0.5, 0.5, 1.0, 1.0])
    both = resample(views, affine)
    for number, view in enumerate(views):
        np.testing.assert_allclose(both[number], resample(view, affine)[0], atol=1e-6)


@pytest.mark.parametrize("affine", GRIDS.values(), ids=GRIDS.keys())
def test_a_prediction_comes_back_to_the_grid_of_its_image(affine):
    shape = (40, 44, 30)
    volume, _ = blob(shape, affine, sigma_mm=8)
    before = Compose([ResampleSlicesd("image", SPACING)])
    image = before({"image": MetaTensor(torch.from_numpy(volume)[None], affine=torch.as_tensor(affine))})["image"]
    after = Invertd("pred", before, "image", nearest_interp=False)
    pred = after({"image": image, "pred": MetaTensor(image.as_tensor().clone(), meta=image.meta)})["pred"]
    assert pred.shape == (1, *shape)
    assert pred.dtype == torch.float32
    np.testing.assert_allclose(pred.affine, affine, atol=1e-9)
    inside = np.s_[:, :, 3:-3]  # half a slab at either end goes on as it is
    np.testing.assert_allclose(pred[0][inside], volume[inside], atol=0.05)  # what slabs and lines between them leave


def test_a_label_comes_back_by_nearest_neighbour():
    label = np.zeros((20, 20, 24), np.uint8)
    label[:10] = 5
    affine = torch.diag(torch.tensor([0.7, 0.7, 0.5, 1], dtype=torch.float64))
    transform = ResampleSlicesd("image", SPACING, "label")  # one object: MONAI inverts with the one that was applied
    moved = transform({"image": MetaTensor(torch.from_numpy(label)[None], affine=affine)})
    back = transform.inverse(moved)["image"]
    assert back.dtype == torch.uint8
    assert torch.equal(back.as_tensor()[0], torch.from_numpy(label))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"spacing": (1, 1)}, r"spacing must be three positive edges.*\[1, 1\]"),
        ({"spacing": (1, 1, 0)}, "spacing must be three positive edges"),
        ({"mode": "mask"}, "mode must be one of .*mask"),
        ({"slice_profile": "gauss"}, "slice_profile must be one of .*'gauss'"),
        ({"label_mode": "any"}, "label_mode must be one of .*'any'"),
    ],
    ids=["two edges", "zero", "mode", "profile", "label"],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ResampleSlicesd("image", **{"spacing": SPACING, **options})


@pytest.mark.parametrize("item", [torch.zeros(1, 4, 4, 4), MetaTensor(torch.zeros(4, 4, 4))], ids=["plain", "3-D"])
def test_an_item_without_affine_or_channel_is_refused(item):
    with pytest.raises(ValueError, match=r"'image' must be a MetaTensor \(C, X, Y, Z\).*got .*Tensor \("):
        ResampleSlicesd("image", SPACING)({"image": item})
