"""Patches along centerlines: the worked examples of the published rules, and the guarantees of ours."""

import numpy as np
import pytest

from common.centerline.crops import crop_starts, patch_centers, slab_points, slab_range, tiles

PATCH = (128, 128, 32)


def column(i, j, first, last):
    """Points of a vessel along the last axis."""
    k = np.arange(first, last + 1)
    return np.stack([np.full_like(k, i), np.full_like(k, j), k], axis=1)


def random_tree(seed, shape):
    """Points 1 voxel apart on random walks that start in the volume and may leave it."""
    random = np.random.RandomState(seed)
    walks = []
    for _ in range(random.randint(1, 6)):
        heading, place = random.normal(size=3), random.uniform(0, shape)
        for _ in range(random.randint(1, 250)):
            heading = heading + 0.3 * random.normal(size=3)
            heading /= np.linalg.norm(heading)
            place = place + heading
            walks.append(place)
    return np.array(walks)


def uncovered(points, starts, shape, patch, margin):
    """Points of the volume that no patch has ``margin`` inside it, borders of the volume apart."""
    voxels = np.floor(points + 0.5)
    voxels = voxels[((voxels >= 0) & (voxels < shape)).all(axis=1)]
    starts, shape, patch = starts[:, None], np.array(shape), np.array(patch)
    before = (voxels - starts >= margin) | ((starts <= 0) & (voxels >= starts))
    end = starts + patch
    after = (end - 1 - voxels >= margin) | ((end >= shape) & (voxels < end))
    return voxels[~(before & after).all(axis=2).any(axis=0)]


# --- the published rules ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "first", "last", "expected"),
    [
        (224, 40, 139, (26, 153)),
        (224, 64, 127, (48, 143)),
        (224, 10, 73, (0, 95)),
        (200, 3, 190, (1, 192)),
        (224, 40, 200, (25, 216)),
        (128, 20, 107, (16, 111)),
        (160, 1, 158, (0, 159)),
    ],
)
def test_the_range_of_slabs_is_the_published_one(depth, first, last, expected):
    assert slab_range(first, last, depth) == expected


def test_the_published_rules_refuse_a_centerline_through_all_slabs_and_ours_take_it():
    with pytest.raises(ValueError, match=r"no room for 32 more slices around 0..159 in a volume of 160"):
        slab_range(0, 159, 160)
    points = column(200, 200, 0, 159)
    with pytest.raises(ValueError, match="mode 'coverage' has no such limit"):
        crop_starts(points, (512, 512, 160), PATCH, "reference")
    starts = crop_starts(points, (512, 512, 160), PATCH, margin=0)
    assert starts.tolist() == [[136, 136, k] for k in (0, 32, 64, 96, 128)]


@pytest.mark.parametrize("axis", [-1, 0], ids=["slabs along the last axis", "slabs along the first axis"])
def test_two_vessels_in_two_slabs_make_four_patches(axis):
    points = np.concatenate([column(100, 100, 40, 79), column(300, 310, 45, 79)])
    assert slab_range(40, 79, 128) == (28, 91)
    members = [slab_points(points, start) for start in (28, 60)]
    assert [len(slab) for slab in members] == [37, 40]
    assert [(slab[:, 2].min(), slab[:, 2].max()) for slab in members] == [(40, 60), (60, 79)]
    assert [patch_centers(slab, 64).tolist() for slab in members] == [[[100, 100], [300, 310]]] * 2

    shape, patch = (512, 512, 128), PATCH
    if axis == 0:
        points, shape, patch = np.roll(points, 1, axis=1), (128, 512, 512), (32, 128, 128)
    starts = crop_starts(points, shape, patch, "reference", slab_axis=axis)
    expected = [[36, 36, 28], [236, 246, 28], [36, 36, 60], [236, 246, 60]]
    assert starts.tolist() == np.roll(expected, axis + 1, axis=1).tolist()


def test_slices_have_patches_of_their_own():
    nodes = [(100, 100, 7), (102, 101, 7.2), (104, 103, 6.6), (300, 310, 7), (301, 312, 7.4), (330, 340, 7)]
    nodes += [(400, 120, 7.49), (400, 120, 6.5), (50, 60, 8)]
    starts = crop_starts(nodes, (512, 512, 20), (128, 128, 1), "reference")
    assert (starts + np.array([64, 64, 0])).tolist() == [[102, 101, 7], [400, 120, 7], [315, 325, 7], [50, 60, 8]]


def test_a_slab_without_points_is_refused_by_the_published_rules_and_skipped_by_ours():
    points = np.concatenate([column(100, 100, 5, 9), column(100, 100, 100, 110)])
    with pytest.raises(ValueError, match=r"without points in slices 32..63; mode 'coverage' skips"):
        crop_starts(points, (512, 512, 128), PATCH, "reference")
    starts = crop_starts(points, (512, 512, 128), PATCH)
    assert len(starts) == 2
    assert len(uncovered(points, starts, (512, 512, 128), PATCH, (16, 16, 8))) == 0


def test_a_long_vessel_in_the_plane_gets_one_patch_by_the_published_rules_and_enough_by_ours():
    points = np.array([(i, 200, 50) for i in range(100, 300)])
    assert patch_centers(points, 50).tolist() == [[199, 200]]
    shape = (512, 512, 128)
    published = crop_starts(points, shape, (128, 128, 1), "reference")
    assert published.tolist() == [[135, 136, 50]]
    assert len(uncovered(points, published, shape, (128, 128, 1), 0)) == 200 - 128
    starts = crop_starts(points, shape, PATCH)
    assert len(starts) == 3  # 200 voxels, of which a patch takes 128 - 2 * 16 = 96
    assert len(uncovered(points, starts, shape, PATCH, (16, 16, 8))) == 0


def test_tiles_are_as_many_as_published():
    assert len(tiles((512, 512), (128, 128))) == 16
    assert len(tiles((512, 512, 224), PATCH, slab_range(40, 139, 224))) == 64


# --- our rules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["coverage", "kmeans"])
@pytest.mark.parametrize(
    ("shape", "patch", "margin"),
    [
        ((180, 200, 90), (128, 128, 32), (16, 16, 8)),
        ((300, 250, 70), (64, 96, 32), (16, 16, 8)),
        ((200, 200, 60), (128, 128, 1), (16, 16, 0)),
        ((200, 200, 20), (128, 128, 32), (16, 16, 8)),
        ((60, 200, 50), (96, 48, 64), (16, 12, 16)),
    ],
    ids=["slabs", "small patches", "slices", "thin volume", "volume smaller than a patch"],
)
def test_every_point_lies_well_inside_a_patch(mode, shape, patch, margin):
    for seed in range(6):
        points = random_tree(seed, shape)
        starts = crop_starts(points, shape, patch, mode)
        assert len(uncovered(points, starts, shape, patch, margin)) == 0
        fits = np.array(shape) >= patch
        assert (starts >= 0).all()
        assert (starts[:, fits] <= (np.array(shape) - patch)[fits]).all()
        assert len(np.unique(starts, axis=0)) == len(starts)


def test_points_at_the_border_of_the_volume_need_no_margin_there():
    points = np.array([(0, 0, 0), (299, 299, 99)])
    starts = crop_starts(points, (300, 300, 100), PATCH)
    assert starts.tolist() == [[0, 0, 0], [172, 172, 68]]


def test_a_short_vessel_lies_in_the_middle_of_its_patch():
    points = np.array([(i, 150, 50) for i in range(140, 161)])
    for mode in ("coverage", "kmeans"):
        assert crop_starts(points, (300, 300, 100), PATCH, mode).tolist() == [[150 - 64, 150 - 64, 50 - 16]]


def test_the_patches_are_the_same_on_every_call():
    points = random_tree(3, (300, 300, 100))
    for mode in ("coverage", "kmeans"):
        first, second = (crop_starts(points, (300, 300, 100), PATCH, mode) for _ in range(2))
        np.testing.assert_array_equal(first, second)


def test_any_axis_can_carry_the_slabs():
    points = random_tree(4, (200, 200, 90))
    last = crop_starts(points, (200, 200, 90), PATCH)
    first = crop_starts(np.roll(points, 1, axis=1), (90, 200, 200), (32, 128, 128), slab_axis=0)
    np.testing.assert_array_equal(np.roll(last, 1, axis=1), first)


@pytest.mark.parametrize("mode", ["coverage", "kmeans", "reference"])
def test_a_centerline_without_a_point_in_the_volume_has_no_patches(mode):
    assert crop_starts(np.zeros((0, 3)), (64, 64, 64), PATCH, mode).shape == (0, 3)
    assert crop_starts([(70, 5, 5), (-3, 5, 5)], (64, 64, 64), PATCH, mode).shape == (0, 3)


def test_wrong_arguments_are_refused():
    with pytest.raises(ValueError, match=r"mode must be one of \('coverage', 'kmeans', 'reference'\), got 'grid'"):
        crop_starts([], (64, 64, 64), PATCH, "grid")
    with pytest.raises(ValueError, match="shape and patch_size must be three positive numbers each"):
        crop_starts([], (64, 64), (32, 32))
    with pytest.raises(ValueError, match="margin must be at least 0 and slab_axis an axis, got -1 and -1"):
        crop_starts([], (64, 64, 64), PATCH, margin=-1)


def test_the_last_tile_is_moved_inwards():
    assert tiles((10,), (4,)).tolist() == [[0], [4], [6]]
    assert tiles((3,), (4,)).tolist() == [[0]]
    assert tiles((4, 10), (4, 4), slices=(2, 9)).tolist() == [[0, 2], [0, 6]]
