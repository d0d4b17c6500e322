"""Centerlines in a training pipeline: where they come from, what is cut along them, and that they stay in place."""

import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor, PersistentDataset
from monai.transforms import Compose, ConcatItemsd, Flipd, Orientationd, SelectItemsd, Spacingd
from scipy.spatial import cKDTree

from common.centerline.branch import Branch
from common.centerline.crops import crop_starts
from common.centerline.extract import extract_centerline
from common.centerline.raster import line_voxels, to_voxels
from common.centerline.transforms import (
    DrawCenterlined,
    LoadCenterlined,
    RandCropAlongCenterlined,
    RandGridTiled,
    RandPerturbCenterlined,
)
from common.centerline.writers import write_json

SHAPE = (64, 56, 40)
AFFINE = torch.tensor(  # x runs to the left, and the origin is not zero
    [[-0.5, 0, 0, 20], [0, 0.5, 0, -10], [0, 0, 0.75, 30], [0, 0, 0, 1]], dtype=torch.float64
)
PATCH = (16, 16, 8)


def place(voxels):
    """RAS mm of voxels."""
    return np.asarray(voxels, float) @ AFFINE[:3, :3].numpy().T + AFFINE[:3, 3].numpy()


@pytest.fixture
def branches():
    """A vessel from voxel (8, 12, 6) to (56, 44, 34), and one that leaves its middle."""
    stem = place(np.linspace((8, 12, 6), (56, 44, 34), 61))
    side = place(np.linspace((32, 28, 20), (50, 10, 20), 31))
    return [Branch(stem, np.full(61, 1.5), label=2), Branch(side, np.full(31, 1.0), 4, parent=0, parent_point=30)]


@pytest.fixture
def case(branches):
    """Voxels that hold their own index, and a label of the voxels within 1.5 mm of the centerline."""
    voxels = np.stack(np.meshgrid(*map(np.arange, SHAPE), indexing="ij"), axis=-1)
    distance, _ = cKDTree(np.concatenate([branch.points for branch in branches])).query(place(voxels), workers=1)
    image = torch.arange(np.prod(SHAPE), dtype=torch.float32).reshape(1, *SHAPE)
    label = torch.from_numpy(distance <= 1.5)[None].to(torch.uint8)
    return {
        "image": MetaTensor(image, affine=AFFINE),
        "label": MetaTensor(label, affine=AFFINE),
        "centerline": branches,
        "case": "a",
    }


def without(case, *keys):
    return {key: value for key, value in case.items() if key not in keys}


def corner(patch):
    """First voxel of a patch, by its affine."""
    return np.linalg.solve(AFFINE.numpy(), patch["image"].affine.numpy())[:3, 3].round().astype(int)


def box(patch):
    """Where in the volume a patch was cut."""
    return tuple(slice(a, a + n) for a, n in zip(corner(patch), PATCH, strict=True))


# --- loading ----------------------------------------------------------------------------------------------------------


def test_a_file_is_read_into_branches(case, branches, tmp_path):
    write_json(tmp_path / "a.json", branches)
    loaded = LoadCenterlined()({**case, "centerline": str(tmp_path / "a.json")})["centerline"]
    assert [branch.label for branch in loaded] == [2, 4]
    for before, after in zip(branches, loaded, strict=True):
        np.testing.assert_allclose(after.points, before.points, atol=1e-3)


def test_a_case_without_a_file_gets_the_centerline_of_its_label(case):
    loaded = LoadCenterlined()(without(case, "centerline"))["centerline"]
    expected = extract_centerline(case["label"][0].numpy() != 0, AFFINE.numpy())
    assert len(loaded) == len(expected) > 0
    for before, after in zip(expected, loaded, strict=True):
        np.testing.assert_array_equal(after.points, before.points)


def test_a_centerline_that_was_loaded_already_stays(case, branches):
    assert LoadCenterlined()(case)["centerline"] is branches


def test_a_mirrored_file_is_refused(case, branches, tmp_path):
    mirrored = [Branch(b.points * [-1, 1, 1], b.radius_mm, b.label) for b in branches]
    write_json(tmp_path / "a.json", mirrored)
    with pytest.raises(ValueError, match=r"a\.json"):
        LoadCenterlined()({**case, "centerline": str(tmp_path / "a.json")})


def test_a_case_with_neither_is_refused_unless_that_is_allowed(case):
    bare = without(case, "centerline", "label")
    with pytest.raises(KeyError, match="neither 'centerline' nor the label 'label'"):
        LoadCenterlined()(bare)
    with pytest.raises(KeyError, match="neither 'centerline' nor the label None"):
        LoadCenterlined(label_key=None)(without(case, "centerline"))
    assert "centerline" not in LoadCenterlined(allow_missing_keys=True)(without(case, "centerline"))


def test_a_frame_of_the_file_s_grid_needs_that_grid(case, branches, tmp_path):
    write_json(tmp_path / "a.json", branches)
    turned = Orientationd(["image", "label"], axcodes="RAS", labels=None)(
        {**case, "centerline": str(tmp_path / "a.json")}
    )
    turned["label"].meta["original_affine"] = AFFINE.numpy()
    with pytest.raises(ValueError, match=r"'voxel' refers to the grid .* place LoadCenterlined before"):
        LoadCenterlined(frame="voxel")(turned)


def test_a_label_that_is_no_volume_with_one_channel_is_refused(case):
    two = {"label": case["label"].repeat(2, 1, 1, 1)}
    with pytest.raises(ValueError, match="'label' must have one channel"):
        LoadCenterlined()(two)
    with pytest.raises(ValueError, match=r"needs a volume .* with an affine"):
        LoadCenterlined()({"label": torch.ones(1, 8, 8, 8)})


# --- noise ------------------------------------------------------------------------------------------------------------


def perturb(seed=0, **arguments):
    return RandPerturbCenterlined(**arguments).set_random_state(seed)


STILL = {"dropout_prob": 0.0, "delete_prob": 0.0, "jitter_voxels": 0.0, "false_prob": 0.0, "shift_voxels": 0.0}


def test_the_same_seed_gives_the_same_centerlines(case):
    first, second = ([perturb(3, dropout_prob=0.0)(case) for _ in range(2)] for _ in range(2))
    for a, b in zip(first, second, strict=True):
        assert len(a["centerline"]) == len(b["centerline"])
        for before, after in zip(a["centerline"], b["centerline"], strict=True):
            np.testing.assert_array_equal(before.points, after.points)
    other = perturb(4, dropout_prob=0.0)(case)["centerline"][0]
    assert not np.array_equal(other.points[:2], first[0]["centerline"][0].points[:2])


def test_the_centerline_that_came_in_is_not_changed(case, branches):
    before = [branch.points.copy() for branch in branches]
    perturb()(case)
    assert case["centerline"] is branches
    for points, branch in zip(before, branches, strict=True):
        np.testing.assert_array_equal(points, branch.points)


def test_without_noise_nothing_changes(case, branches):
    for before, after in zip(branches, perturb(**STILL)(case)["centerline"], strict=True):
        np.testing.assert_array_equal(before.points, after.points)


def test_the_whole_centerline_is_dropped_with_its_chance(case):
    dropping = perturb(**{**STILL, "dropout_prob": 0.3})
    assert np.mean([dropping(case)["centerline"] == [] for _ in range(400)]) == pytest.approx(0.3, abs=0.06)


def test_the_shift_stays_within_two_voxels_of_each_axis(case, branches):
    shifting = perturb(**{**STILL, "shift_voxels": 2.0}, voxel_mm=(0.5, 0.5, 3.0))
    offsets = np.array([shifting(case)["centerline"][0].points[0] - branches[0].points[0] for _ in range(200)])
    assert (np.abs(offsets) <= [1, 1, 6]).all()
    assert (np.abs(offsets).max(axis=0) > [0.9, 0.9, 5.4]).all()


def test_a_predicted_centerline_is_taken_every_other_time_and_removed(case, branches):
    mixing = perturb(**STILL)
    results = [mixing({**case, "predicted_centerline": branches[:1]}) for _ in range(200)]
    assert not any("predicted_centerline" in result for result in results)
    assert np.mean([len(result["centerline"]) == 1 for result in results]) == pytest.approx(0.5, abs=0.1)


def test_noise_out_of_range_is_refused():
    with pytest.raises(ValueError, match=r"dropout_prob must lie in \[0, 1\], got 1.5"):
        RandPerturbCenterlined(dropout_prob=1.5)
    with pytest.raises(ValueError, match="voxel_mm must be above 0"):
        RandPerturbCenterlined(voxel_mm=0.0)


# --- patches along the centerline -------------------------------------------------------------------------------------


def crop(seed=0, num_samples=4, patch_size=PATCH, **arguments):
    arguments = {"background_fraction": 0.0, **arguments}
    return RandCropAlongCenterlined(
        ["image", "label"], "centerline", patch_size, num_samples, **arguments
    ).set_random_state(seed)


@pytest.mark.parametrize("mode", ["coverage", "kmeans", "points"])
def test_patches_lie_in_the_volume_where_their_affine_says(case, mode):
    for patch in crop(num_samples=20, mode=mode)(case):
        assert patch["image"].shape == patch["label"].shape == (1, *PATCH)
        assert torch.equal(patch["image"][0].as_tensor(), case["image"][0].as_tensor()[box(patch)])
        assert patch["case"] == "a"


@pytest.mark.parametrize("mode", ["coverage", "kmeans", "points"])
def test_all_patches_but_the_background_hold_vessel(case, mode):
    assert all(patch["label"].any() for patch in crop(num_samples=30, mode=mode, jitter=4)(case))


def test_without_jitter_the_patches_are_those_of_the_rule(case):
    starts = {tuple(corner(patch)) for patch in crop(num_samples=120, jitter=0)(case)}
    expected = crop_starts(line_voxels(case["centerline"], SHAPE, AFFINE), SHAPE, PATCH)
    assert starts == {tuple(start) for start in expected}


def test_jitter_is_at_most_a_quarter_of_a_patch():
    line = [Branch(np.array([(100.0, 100, 100), (101, 100, 100)]), np.ones(2), 14)]
    image = MetaTensor(torch.zeros(1, 200, 200, 150), affine=torch.eye(4))
    cropper = RandCropAlongCenterlined("image", "centerline", (64, 64, 32), 150, background_fraction=0.0)
    patches = cropper.set_random_state(0)({"image": image, "centerline": line})
    moved = np.array([patch["image"].affine[:3, 3].tolist() for patch in patches]) - [100 - 32, 100 - 32, 100 - 16]
    assert moved.max(axis=0).tolist() == [16, 16, 8]
    assert moved.min(axis=0).tolist() == [-16, -16, -8]


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_background_has_its_share_in_the_mean(share):
    line = [Branch(np.array([(4.0, 4, 4), (5, 4, 4)]), np.ones(2), 14)]
    image = MetaTensor(torch.zeros(1, 64, 64, 64), affine=torch.eye(4))
    cropper = RandCropAlongCenterlined("image", "centerline", (8, 8, 8), 2, background_fraction=share)
    cropper.set_random_state(0)
    patches = [patch for _ in range(60) for patch in cropper({"image": image, "centerline": line})]
    away = [bool((patch["image"].affine[:3, 3] > 10).any()) for patch in patches]
    assert np.mean(away) == pytest.approx(share, abs=0.1)


def test_without_a_centerline_patches_lie_anywhere(case):
    starts = {tuple(corner(patch)) for patch in crop(num_samples=50)({**case, "centerline": []})}
    assert len(starts) > 40


def test_published_patches_are_padded_where_they_overhang(case):
    line = [Branch(place([(2, 30, 20), (2, 31, 20)]), np.ones(2), 14)]
    cropper = crop(num_samples=1, mode="reference", jitter=0, pad_value=(-7.0, 0.0))
    patch = cropper({**case, "centerline": line})[0]
    assert patch["image"].shape == (1, *PATCH)
    assert (patch["image"][0, :6] == -7).all()
    assert (patch["image"][0, 6:] >= 0).all()
    assert corner(patch)[0] == 2 - 8


def test_a_volume_smaller_than_a_patch_is_padded_at_its_end(case):
    patch = crop(num_samples=1, patch_size=(96, 16, 64), pad_value=-7.0)(case)[0]
    assert patch["image"].shape == (1, 96, 16, 64)
    assert (patch["image"][0, 64:] == -7).all()
    assert (patch["image"][0, :64, :, :40] >= 0).all()


def test_patches_share_no_memory_with_the_volume_and_carry_the_whole_centerline(case, branches):
    first, second = crop(num_samples=2)(case)
    first["image"].zero_()
    first["centerline"].pop()
    assert case["image"].max() == np.prod(SHAPE) - 1
    assert second["image"].any()
    assert len(second["centerline"]) == len(branches)
    np.testing.assert_array_equal(second["centerline"][1].points, branches[1].points)


def test_patches_are_the_same_for_the_same_seed(case):
    first, second = ([tuple(corner(patch)) for patch in crop(5)(case)] for _ in range(2))
    assert first == second
    assert first != [tuple(corner(patch)) for patch in crop(6)(case)]


def test_croppers_refuse_what_cannot_work(case):
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        crop(num_samples=0)
    with pytest.raises(ValueError, match=r"patch_size must be three positive numbers, got \(16, 16\)"):
        crop(patch_size=(16, 16))
    with pytest.raises(ValueError, match=r"background_fraction must lie in \[0, 1\]"):
        crop(background_fraction=1.5)
    with pytest.raises(ValueError, match="'centerline' must be a list of branches, got str: place LoadCenterlined"):
        crop()({**case, "centerline": "a.vtp"})
    with pytest.raises(ValueError, match="shapes must be equal"):
        crop()({**case, "label": case["label"][:, :8]})
    with pytest.raises(ValueError, match="mode must be one of"):
        crop(mode="grid")(case)


# --- tiles ------------------------------------------------------------------------------------------------------------


def tile(num_samples, seed=0):
    return RandGridTiled(["image", "label"], "label", PATCH, num_samples).set_random_state(seed)


def test_all_tiles_of_a_draw_hold_label_and_none_comes_twice(case):
    patches = tile(8)(case)
    assert all(patch["label"].any() for patch in patches)
    assert len({tuple(corner(patch)) for patch in patches}) == 8
    for patch in patches:
        start = corner(patch)
        assert ((start % PATCH == 0) | (start == np.array(SHAPE) - PATCH)).all()


def test_enough_draws_show_all_label(case):
    tiler, seen = tile(16), torch.zeros(SHAPE, dtype=torch.bool)
    for _ in range(8):
        for patch in tiler(case):
            seen[box(patch)] = True
    assert seen[case["label"][0] > 0].all()


def test_tiles_of_an_empty_label_lie_anywhere_on_the_grid_and_may_repeat(case):
    case["label"].zero_()
    assert len(tile(8)(case)) == 8
    case["label"][0, 0, 0, 0] = 1
    assert {tuple(corner(patch)) for patch in tile(3)(case)} == {(0, 0, 0)}


# --- drawing ----------------------------------------------------------------------------------------------------------


def test_a_patch_shows_its_part_of_the_centerline(case):
    whole = DrawCenterlined()(case)["centerline"]
    assert whole.shape == (1, *SHAPE)
    assert case["label"][whole > 0].all()
    for patch in crop(num_samples=6)(case):
        drawn = DrawCenterlined()(patch)["centerline"]
        assert torch.equal(drawn[0].as_tensor(), whole[0].as_tensor()[box(patch)])
        assert torch.equal(drawn.affine, patch["image"].affine)
        assert drawn.dtype == patch["image"].dtype


def test_the_centerline_follows_an_image_that_was_flipped(case):
    flipped = Flipd(["image", "label"], spatial_axis=0)(case)
    drawn = DrawCenterlined()(flipped)["centerline"]
    assert drawn.any()
    assert flipped["label"][drawn > 0].all()
    assert not case["label"][drawn > 0].all()


def test_an_empty_centerline_is_an_empty_channel(case):
    drawn = DrawCenterlined()({**case, "centerline": []})["centerline"]
    assert drawn.shape == (1, *SHAPE)
    assert not drawn.any()


def test_a_tube_is_drawn_with_its_radius(case):
    tube = DrawCenterlined(radius_mm=1.0)(case)["centerline"]
    assert tube.sum() > 3 * DrawCenterlined()(case)["centerline"].sum()


def test_drawing_needs_branches_and_a_grid(case):
    with pytest.raises(ValueError, match="'centerline' must be a list of branches, got str"):
        DrawCenterlined()({**case, "centerline": "a.vtp"})
    with pytest.raises(ValueError, match="with an affine"):
        DrawCenterlined()({**case, "image": torch.zeros(1, 8, 8, 8)})


# --- together ---------------------------------------------------------------------------------------------------------


def test_the_centerline_stays_in_its_vessel_through_a_cached_pipeline(case, tmp_path):
    pipeline = Compose(
        [
            LoadCenterlined(),
            Orientationd(["image", "label"], axcodes="RAS", labels=None),
            Spacingd(["image", "label"], pixdim=(0.4, 0.4, 0.4), mode=["bilinear", "nearest"]),
            crop(num_samples=3, patch_size=(32, 32, 16)),
            perturb(**STILL),
            DrawCenterlined(),
            SelectItemsd(["image", "label", "centerline"]),
            ConcatItemsd(["image", "centerline"], name="stack"),
        ]
    )
    dataset = PersistentDataset(
        [without(case, "centerline")], pipeline, cache_dir=tmp_path, track_meta=True, weights_only=False
    )
    for _ in range(2):  # the second time from the cache
        (batch,) = DataLoader(dataset, batch_size=1)
        assert batch["stack"].shape == (3, 2, 32, 32, 16)
        drawn = batch["centerline"] > 0
        assert drawn.any()
        assert batch["label"][drawn].float().mean() > 0.95


def test_the_published_patches_lie_around_the_clusters_of_the_nodes(case, branches):
    crop = RandCropAlongCenterlined("image", "centerline", PATCH, 20, mode="reference", jitter=0, background_fraction=0)
    nodes = np.concatenate([branch.points for branch in branches])
    starts = crop_starts(to_voxels(nodes, AFFINE.numpy()), SHAPE, PATCH, mode="reference")
    crop.set_random_state(0).randomize(case)
    assert {tuple(start) for start in crop._starts} <= {tuple(start) for start in starts}
