"""Skeletons beside labels, and masks without what is too small; physical sizes on any grid."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Spacingd

from common.skeleton import skeletonize
from common.transforms import DilateMaskd, RemoveSmallComponentsd, ResampleToSpacingd, Skeletonized

AFFINE = torch.diag(torch.tensor([0.5, 0.5, 0.5, 1.0], dtype=torch.float64))


@pytest.fixture
def bar():
    """A straight bar of 5 x 5 x 20 voxels of 0.5 mm."""
    voxels = torch.zeros(1, 15, 15, 30)
    voxels[0, 5:10, 5:10, 5:25] = 1
    return MetaTensor(voxels, affine=AFFINE, meta={"filename_or_obj": "a.nii.gz"})


def test_the_skeleton_is_added_beside_the_label(bar):
    added = Skeletonized("label")({"label": bar})
    assert torch.equal(added["label"], bar)
    assert added["skeleton"].dtype == bar.dtype
    np.testing.assert_array_equal(added["skeleton"][0] > 0, skeletonize(bar[0].numpy() > 0))
    assert 10 < added["skeleton"].sum() <= 20
    assert added["skeleton"].meta["filename_or_obj"] == "a.nii.gz"
    assert torch.equal(added["skeleton"].affine, AFFINE)


def test_a_tube_holds_what_lies_within_its_radius_in_mm():
    line = torch.zeros(1, 11, 11, 20)
    line[0, 5, 5, 3:17] = 1  # a line is its own skeleton
    affine = torch.diag(torch.tensor([1.0, 0.5, 0.5, 1.0]))
    tube = Skeletonized("label", tube_radius_mm=1.0)({"label": MetaTensor(line, affine=affine)})["skeleton"]
    expected = np.zeros((11, 11), bool)
    for x, y in np.ndindex(11, 11):
        expected[x, y] = (x - 5) ** 2 + (0.5 * (y - 5)) ** 2 <= 1
    np.testing.assert_array_equal(tube[0, :, :, 10] > 0, expected)
    assert tube[0, 5, 5].sum() == 14 + 2 * 2  # and two voxels of 0.5 mm beyond either end


def test_each_channel_is_thinned_on_its_own(bar):
    two = torch.cat([bar, torch.zeros_like(bar)])
    skeleton = Skeletonized("label", tube_radius_mm=0.6)({"label": two})["skeleton"]
    assert skeleton[0].any()
    assert not skeleton[1].any()


def test_frames_and_plain_tensors_are_thinned_too():
    frame = torch.zeros(1, 20, 20, dtype=torch.uint8)
    frame[0, 5:8, 2:18] = 1
    skeleton = Skeletonized("label", "line")({"label": frame})["line"]
    assert skeleton.dtype == torch.uint8
    assert skeleton[0, 6].sum() >= 12


def test_several_labels_need_as_many_names(bar):
    added = Skeletonized(["a", "b"], ["line_a", "line_b"])({"a": bar, "b": bar})
    assert torch.equal(added["line_a"], added["line_b"])
    with pytest.raises(ValueError, match="one name for each"):
        Skeletonized(["a", "b"])
    with pytest.raises(ValueError, match="tube_radius_mm must not be negative, got -1"):
        Skeletonized("a", tube_radius_mm=-1)


def blobs(*volumes_in_voxels, spacing=0.5):
    """Draw rows of voxels, far apart from each other."""
    mask = torch.zeros(1, 4 * len(volumes_in_voxels), 3, 400)
    for row, count in enumerate(volumes_in_voxels):
        mask[0, 4 * row, 0, :count] = 1
    return MetaTensor(mask, affine=torch.diag(torch.tensor([spacing, spacing, spacing, 1.0], dtype=torch.float64)))


def rows(mask):
    return [int(mask[0, row, 0].sum()) for row in range(0, mask.shape[1], 4)]


def test_100_voxels_of_half_a_millimetre_stay_and_99_do_not():
    kept = RemoveSmallComponentsd("pred")({"pred": blobs(100, 99, 300)})["pred"]
    assert rows(kept) == [100, 0, 300]


@pytest.mark.parametrize(("spacing", "smallest"), [(0.25, 800), (0.5, 100), (1.0, 13)])
def test_the_limit_is_a_volume_and_not_a_number_of_voxels(spacing, smallest):
    mask = torch.zeros(1, 10, 10, 30)
    mask.flatten()[:smallest] = 1  # full planes: one component
    mask = MetaTensor(mask, affine=torch.diag(torch.tensor([spacing, spacing, spacing, 1.0])))
    assert RemoveSmallComponentsd("pred")({"pred": mask})["pred"].sum() == smallest
    mask.flatten()[smallest - 1] = 0
    assert RemoveSmallComponentsd("pred")({"pred": mask})["pred"].sum() == 0


def test_voxels_that_touch_at_a_corner_are_one_component():
    mask = torch.zeros(1, 120, 120, 3)
    index = torch.arange(110)
    mask[0, index, index, 1] = 1
    kept = RemoveSmallComponentsd("pred", 100)({"pred": mask})["pred"]  # without metadata a voxel is 1 mm^3
    assert kept.sum() == 110


def test_the_largest_may_be_kept_alone():
    kept = RemoveSmallComponentsd("pred", keep_largest_k=2)({"pred": blobs(200, 300, 250, 50)})["pred"]
    assert rows(kept) == [0, 300, 250, 0]


def test_nothing_stays_nothing_and_the_type_is_kept():
    empty = blobs(0, 0).to(torch.uint8)
    cleaned = RemoveSmallComponentsd("pred", keep_largest_k=1)({"pred": empty})["pred"]
    assert cleaned.dtype == torch.uint8
    assert not cleaned.any()
    assert torch.equal(cleaned.affine, empty.affine)


def test_a_limit_of_zero_keeps_all():
    assert rows(RemoveSmallComponentsd("pred", 0.0)({"pred": blobs(1, 5)})["pred"]) == [1, 5]


def test_the_item_given_is_not_changed():
    mask = blobs(10)
    RemoveSmallComponentsd("pred")({"pred": mask})
    assert mask.sum() == 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"min_volume_mm3": -1.0}, "min_volume_mm3 must not be negative, got -1.0"),
        ({"keep_largest_k": 0}, "keep_largest_k must be at least 1, or None to keep all, got 0"),
    ],
    ids=["volume", "number"],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RemoveSmallComponentsd("pred", **arguments)


def test_absent_items_are_skipped_on_request():
    transforms = [
        Skeletonized("label", allow_missing_keys=True),
        RemoveSmallComponentsd("pred", allow_missing_keys=True),
    ]
    assert Compose(transforms)({"other": 1}) == {"other": 1}


def test_a_widened_mask_reaches_as_many_mm_on_every_axis():
    mask = torch.zeros(1, 15, 15, 15)
    mask[0, 7, 7, 7] = 1
    label = MetaTensor(mask, affine=np.diag([1.0, 0.5, 2.0, 1.0]))
    wide = DilateMaskd("label", radius_mm=2.0)({"label": label})["label"]
    points = wide[0].nonzero()
    assert [int(np.ptp(points[:, axis])) for axis in range(3)] == [4, 8, 2]
    assert wide.dtype == label.dtype
    torch.testing.assert_close(wide.affine, label.affine)


def test_a_negative_width_is_refused():
    with pytest.raises(ValueError, match="radius_mm must not be negative, got -1"):
        DilateMaskd("label", radius_mm=-1)


def test_resampling_is_that_of_monai_and_leaves_texts_that_are_named_like_the_image_alone():
    volume = MetaTensor(torch.rand(1, 6, 6, 4), meta={"filename_or_obj": "a.nii.gz"})
    data = {"image": volume, "image_path": "a.nii.gz"}  # as in MONAI Label
    resampled = ResampleToSpacingd("image", pixdim=(0.5, 0.5, 2.0))(data)
    assert resampled["image_path"] == "a.nii.gz"
    expected = Spacingd("image", pixdim=(0.5, 0.5, 2.0))({"image": volume})
    torch.testing.assert_close(resampled["image"], expected["image"])


def test_resampling_can_be_undone():
    resample = Compose([ResampleToSpacingd("image", pixdim=0.5)])
    undone = resample.inverse(resample({"image": MetaTensor(torch.ones(1, 6, 6, 4)), "image_path": "a.nii.gz"}))
    assert undone["image"].shape == (1, 6, 6, 4)
