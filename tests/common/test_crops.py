"""Patches along the vessels: how many hold lumen, where it lies in them, and that they stay where they were."""

import time

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, list_data_collate
from monai.transforms import Compose

from common.crops import RandCropAlongVesseld

AFFINE = torch.diag(torch.tensor([0.5, 0.5, 1.0, 1.0], dtype=torch.float64))


@pytest.fixture
def case():
    """A volume whose voxels hold their own index, and one vessel voxel in a corner."""
    shape = (20, 24, 16)
    label = torch.zeros(1, *shape)
    label[0, 1, 2, 15] = 1
    image = torch.arange(label.numel(), dtype=torch.float32).reshape(1, *shape)
    return {"image": MetaTensor(image, affine=AFFINE), "label": MetaTensor(label, affine=AFFINE), "case": "a"}


def crop(num_samples=4, vessel_fraction=0.5, patch_size=(8, 8, 8), **arguments):
    return RandCropAlongVesseld(
        ["image", "label"], "label", patch_size, num_samples, vessel_fraction, **arguments
    ).set_random_state(0)


@pytest.mark.parametrize(("num_samples", "vessel_fraction", "at_least"), [(4, 0.5, 2), (3, 0.5, 1), (2, 1, 2)])
def test_the_share_of_patches_with_vessel_is_kept_in_every_draw(case, num_samples, vessel_fraction, at_least):
    cropper = crop(num_samples, vessel_fraction)
    for _ in range(30):
        patches = cropper(case)
        assert len(patches) == num_samples
        assert all(patch["label"].any() for patch in patches[:at_least])


def test_a_share_of_zero_takes_patches_anywhere(case):
    cropper = crop(1, 0.0)
    with_vessel = sum(bool(cropper(case)[0]["label"].any()) for _ in range(200))
    # the vessel is in a corner: 2 * 3 * 1 of the 13 * 17 * 9 possible corners reach it
    assert with_vessel < 20


def test_the_vessel_lies_anywhere_in_the_middle_half_of_a_patch():
    label = torch.zeros(1, 64, 64, 64)
    label[0, 32, 32, 32] = 1
    cropper = RandCropAlongVesseld("label", "label", (16, 16, 16), 1, 1.0).set_random_state(0)
    found = np.array([cropper({"label": label})[0]["label"][0].nonzero()[0].tolist() for _ in range(300)])
    assert found.min() == 4
    assert found.max() == 12
    assert len(np.unique(found[:, 0])) == 9


def test_patches_lie_inside_the_volume_and_image_and_label_together(case):
    for patch in crop(8)(case):
        assert patch["image"].shape == patch["label"].shape == (1, 8, 8, 8)
        vessel = case["image"][case["label"] > 0]
        assert patch["image"][patch["label"] > 0].tolist() in ([], vessel.tolist())


def test_the_affine_follows_the_patch(case):
    for patch in crop(8)(case):
        first = int(patch["image"].flatten()[0])  # its own index in the volume
        corner = np.unravel_index(first, (20, 24, 16))
        assert patch["image"].affine[:3, 3].tolist() == [0.5 * corner[0], 0.5 * corner[1], corner[2]]


def test_a_volume_smaller_than_a_patch_is_padded_and_not_stretched(case):
    patch = crop(1, 1.0, (32, 8, 24), pad_value=(-7.0, 0.0))(case)[0]
    assert patch["image"].shape == patch["label"].shape == (1, 32, 8, 24)
    assert int((patch["image"] == -7).sum()) == (32 * 24 - 20 * 16) * 8
    assert patch["label"].sum() == 1
    assert int(patch["image"][patch["label"] > 0]) == int(case["image"][case["label"] > 0])
    world = torch.linalg.inv(AFFINE) @ patch["image"].affine  # the padded voxels stand before the first voxel
    index = patch["label"][0].nonzero()[0].double()
    assert (world[:3, :3] @ index + world[:3, 3]).tolist() == [1, 2, 15]


def test_a_label_without_vessel_gives_patches_anywhere(case):
    case["label"] = torch.zeros_like(case["label"])
    assert [patch["image"].shape for patch in crop(2)(case)] == [(1, 8, 8, 8)] * 2


def test_the_same_seed_gives_the_same_patches(case):
    first, second = (crop(6)(case) for _ in range(2))
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(first, second, strict=True))


def test_patches_do_not_share_memory_with_the_volume_or_each_other(case):
    whole = case["image"].clone()
    patches = crop(4, patch_size=(20, 24, 16))(case)  # all of them the whole volume
    patches[0]["image"] += 1
    assert torch.equal(case["image"], whole)
    assert torch.equal(patches[1]["image"], whole)


def test_other_items_go_with_every_patch(case):
    assert [patch["case"] for patch in crop(2)(case)] == ["a", "a"]


def test_a_loader_batches_the_patches_of_all_volumes(case):
    dataset = Dataset([case, case], Compose([crop(3)]))
    batch = next(iter(DataLoader(dataset, batch_size=2, collate_fn=list_data_collate)))
    assert batch["image"].shape == (6, 1, 8, 8, 8)


def test_frames_are_cropped_as_well():
    frame = {"image": torch.zeros(3, 20, 20), "label": torch.ones(1, 20, 20)}
    assert crop(2, patch_size=(8, 10))(frame)[1]["image"].shape == (3, 8, 10)


def test_absent_items_are_skipped_on_request(case):
    del case["image"]
    assert set(crop(1, allow_missing_keys=True)(case)[0]) == {"label", "case"}


def test_what_does_not_fit_is_refused(case):
    with pytest.raises(ValueError, match=r"2 spatial axes.*patch_size \(8, 8\).*\(1, 20, 24, 16\)"):
        crop(1, patch_size=(8, 8))(case)
    case["image"] = case["image"][:, 1:]
    with pytest.raises(ValueError, match=r"shapes must be equal.*image \(19, 24, 16\)"):
        crop(1)(case)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_samples": 0}, "num_samples must be at least 1, got 0"),
        ({"vessel_fraction": 1.5}, r"vessel_fraction must lie in \[0, 1\], got 1.5"),
        ({"patch_size": (8, 0, 8)}, r"patch_size must be positive on every axis, got \(8, 0, 8\)"),
    ],
    ids=["no patch", "share above one", "empty patch"],
)
def test_arguments_out_of_range_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        crop(**arguments)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_the_draw_is_cheap_on_a_whole_volume(dtype):
    label = torch.zeros(1, 300, 300, 300, dtype=dtype)
    label[:, 100:200, 150:154, 150:154] = 1
    cropper = crop()
    times = []
    for _ in range(5):
        start = time.process_time()
        cropper.randomize(label)
        times.append(time.process_time() - start)
    assert min(times) < 0.1  # measured 0.003 (bytes) and 0.007 s


def test_a_share_that_is_no_whole_number_of_patches_is_a_chance():
    label = torch.zeros(1, 40, 40)
    label[0, 5, 5] = 1  # in the first corner: a patch that lies anywhere seldom holds it
    crop = RandCropAlongVesseld("label", "label", [4, 4], num_samples=1, vessel_fraction=0.67).set_random_state(0)
    hits = [bool(crop({"label": label})[0]["label"].any()) for _ in range(300)]
    assert np.mean(hits) == pytest.approx(0.67, abs=0.08)
