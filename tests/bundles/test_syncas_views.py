"""Views of one anatomy and branches of one tree: what a contrastive training loads."""

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Lambda, RandScaleIntensity
from syncas.branches import LabelBranchesd, label_branches
from syncas.views import AddViewsd, EachViewd, RandPairViewsd

CUBIC = np.ones(3)


def write(path, level, affine=None):
    voxels = np.full((6, 6, 6), level, np.float32)
    voxels[0] = -1000
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4) if affine is None else affine), path)
    return str(path)


def image(channels, value=0.0):
    return MetaTensor(torch.full((channels, 6, 6, 6), value), affine=torch.eye(4))


def test_all_views_become_channels_in_their_order(tmp_path):
    paths = [write(tmp_path / f"{level}.nii.gz", level) for level in (30, 50, 70)]
    added = AddViewsd("image")({"image": image(1), "views": paths})
    assert added["image"][:, 1, 0, 0].tolist() == [30, 50, 70]
    assert torch.equal(added["image"].affine, image(1).affine)
    assert "views" not in added


def test_an_image_without_views_stays_alone():
    data = {"image": image(1)}
    assert AddViewsd("image")(data)["image"] is data["image"]


def test_a_view_on_another_grid_is_named(tmp_path):
    path = write(tmp_path / "shifted.nii.gz", 30, np.diag([1, 1, 2, 1]))
    with pytest.raises(ValueError, match=r"shifted\.nii\.gz does not lie on .*views of one case"):
        AddViewsd("image")({"image": image(1), "views": [path]})


def test_a_view_that_is_no_hounsfield_image_is_named(tmp_path):
    voxels = np.random.default_rng(0).uniform(0, 1, (6, 6, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4)), tmp_path / "scaled.nii.gz")
    with pytest.raises(ValueError, match="scaled"):
        AddViewsd("image")({"image": image(1), "views": [str(tmp_path / "scaled.nii.gz")]})


def test_every_ordered_pair_of_different_views_is_drawn():
    views = MetaTensor(torch.arange(3.0).reshape(3, 1, 1, 1))
    pair = RandPairViewsd("image").set_random_state(0)
    drawn = {tuple(pair({"image": views})["image"].flatten().tolist()) for _ in range(60)}
    assert drawn == {(0, 1), (0, 2), (1, 0), (1, 2), (2, 0), (2, 1)}


def test_a_single_view_is_paired_with_itself():
    paired = RandPairViewsd("image")({"image": image(1, 7.0)})["image"]
    assert paired.shape[0] == 2
    assert (paired == 7).all()


def test_each_view_is_changed_by_a_draw_of_its_own():
    scale = EachViewd("image", [RandScaleIntensity(prob=1.0, factors=0.5)]).set_random_state(0)
    first, second = scale({"image": torch.ones(2, 4, 4, 4)})["image"]
    assert first.unique().numel() == second.unique().numel() == 1
    assert first.mean() != second.mean()


def test_the_same_seed_changes_views_alike():
    scale = EachViewd("image", [RandScaleIntensity(prob=0.5, factors=0.5)])
    draws = [scale.set_random_state(3)({"image": torch.ones(2, 2, 2, 2)})["image"] for _ in range(2)]
    assert torch.equal(*draws)


def test_a_transform_sees_one_view_at_a_time():
    shapes = []
    EachViewd("image", [Lambda(lambda view: shapes.append(tuple(view.shape)) or view)])(
        {"image": torch.ones(2, 3, 4, 5)}
    )
    assert shapes == [(1, 3, 4, 5)] * 2


def two_trees():
    """A tree of 200 voxels and one of 100, each with a crumb of 3 voxels beside it."""
    mask = np.zeros((40, 40, 20), bool)
    mask[2:4, 2:12, 2:12] = mask[30:32, 2:12, 2:7] = True
    mask[6, 2:5, 2] = mask[27, 2:5, 2] = True
    return mask


def test_crumbs_belong_to_the_tree_beside_them():
    mask = two_trees()
    branches = label_branches(mask, CUBIC)
    assert [int((branches == branch).sum()) for branch in (1, 2)] == [203, 103]
    assert branches[6, 2, 2] == 1
    assert branches[27, 2, 2] == 2
    assert np.array_equal(branches > 0, mask)


def test_the_nearest_tree_is_nearest_in_millimetres():
    mask = np.zeros((30, 12, 30), bool)
    mask[:10, :10, :2] = True  # 4 slices from the crumb
    mask[15:25, :10, 5:7] = True  # 6 voxels from it in the slice
    mask[9, 0, 5] = True
    thin, thick = (label_branches(mask, np.array([1.0, 1.0, slice_mm])) for slice_mm in (1.0, 3.0))
    assert thin[9, 0, 5] == thin[0, 0, 0]
    assert thick[9, 0, 5] == thick[20, 0, 5]


def test_voxels_that_touch_by_a_corner_are_one_branch_for_a_tree_and_two_in_parity():
    mask = np.zeros((12, 12, 12), bool)
    mask[:5, :5, :5] = mask[5:9, 5:9, 5:9] = True
    assert label_branches(mask, CUBIC, "tree").max() == 1
    assert label_branches(mask, CUBIC, "parity").max() == 2


def test_parity_numbers_every_part_by_size():
    branches = label_branches(two_trees(), CUBIC, "parity")
    assert np.bincount(branches.ravel())[1:].tolist() == [200, 100, 3, 3]


def test_a_label_without_vessel_has_no_branches():
    assert not label_branches(np.zeros((4, 4, 4), bool), CUBIC).any()


def test_an_unknown_mode_is_refused():
    with pytest.raises(ValueError, match="branch_mode"):
        label_branches(np.zeros((4, 4, 4), bool), CUBIC, "trees")


def test_a_label_keeps_its_place_when_it_becomes_branches():
    label = MetaTensor(
        torch.from_numpy(two_trees()[None].astype(np.float32)), affine=torch.diag(torch.tensor([2.0, 1, 1, 1]))
    )
    branches = LabelBranchesd("label")({"label": label})["label"]
    assert torch.equal(branches.affine, label.affine)
    assert branches.unique().tolist() == [0, 1, 2]
