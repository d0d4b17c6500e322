"""Skeletons, above all of tubes that plain thinning erases."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.morphology import skeletonize as thin

from common import components, skeleton
from common.skeleton import skeletonize

EVERYWHERE = np.ones((3, 3, 3))


@pytest.fixture(params=["numba", "plain"])
def _route(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(skeleton, "_accelerated", None)
        monkeypatch.setattr(components, "_accelerated", None)
    elif skeleton._accelerated is None:
        pytest.skip("numba is not installed")


def tube(width, direction, center, length=34, shape=(44, 44, 44)):
    offset = np.moveaxis(np.indices(shape), 0, -1) - center
    along = offset @ direction
    across = np.linalg.norm(offset - along[..., None] * direction, axis=-1)
    return (across <= width / 2) & (np.abs(along) <= length / 2)


def extent(mask, direction):
    return np.ptp(np.argwhere(mask) @ direction) if mask.any() else 0


def blobs(seed, sigma=1.5):
    noise = np.random.default_rng(seed).random((30, 34, 38))
    return ndimage.gaussian_filter(noise, sigma) > 0.5


@pytest.mark.parametrize("depth", range(1, 7))
@pytest.mark.parametrize("width", range(1, 7))
@pytest.mark.usefixtures("_route")
def test_no_bar_loses_more_than_a_third_of_its_length(width, depth):
    bar = np.zeros((10, 10, 44), bool)
    bar[2 : 2 + width, 2 : 2 + depth, 2:42] = True
    assert np.ptp(np.nonzero(skeletonize(bar))[2]) + 1 >= 40 * 2 / 3


@pytest.mark.parametrize("width", [1.5, 2, 3, 4, 5, 6])
@pytest.mark.usefixtures("_route")
def test_no_tube_loses_more_than_a_third_of_its_length(width):
    rng = np.random.default_rng(int(10 * width))
    for number in range(8):
        direction = np.eye(3)[number] if number < 3 else rng.normal(size=3)
        direction /= np.linalg.norm(direction)
        mask = tube(width, direction, 22 + rng.choice([0, 0.5]))
        parts, count = ndimage.label(mask, EVERYWHERE)
        if count > 1:
            mask = parts == 1 + np.argmax(np.bincount(parts.flat)[1:])
        assert extent(skeletonize(mask), direction) >= extent(mask, direction) * 2 / 3


def test_thinning_alone_erases_a_bar_that_the_guard_restores():
    bar = np.zeros((6, 6, 44), bool)
    bar[2:4, 2:4, 2:42] = True
    assert not thin(bar).any()
    assert skeletonize(bar).any()


@pytest.mark.parametrize("width", [2, 4, 6])
@pytest.mark.usefixtures("_route")
def test_what_the_guard_restores_lies_in_the_middle(width):
    bar = np.zeros((10, 10, 44), bool)
    bar[2 : 2 + width, 2 : 2 + width, 2:42] = True
    assert not thin(bar).any()
    across = np.unique(np.argwhere(skeletonize(bar))[:, :2], axis=0)
    assert np.abs(across - (1.5 + width / 2)).max() == 0.5  # next to the axis, which lies between voxels


@pytest.mark.parametrize("width", [2, 4, 6])
@pytest.mark.usefixtures("_route")
def test_an_erased_cube_gets_one_voxel_in_its_middle(width):
    cube = np.pad(np.ones((width,) * 3, bool), 2)
    assert not thin(cube).any()
    (found,) = np.argwhere(skeletonize(cube))
    assert np.abs(found - (1.5 + width / 2)).max() == 0.5


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.usefixtures("_route")
def test_the_skeleton_is_a_subset_and_no_part_is_without_one(seed):
    mask = blobs(seed) & (np.random.default_rng(seed).random((30, 34, 38)) < 0.9)
    result = skeletonize(mask)
    parts, count = ndimage.label(mask, EVERYWHERE)
    assert not (result & ~mask).any()
    assert set(parts[result]) == set(range(1, count + 1))


@pytest.mark.parametrize("seed", range(4))
def test_what_the_guard_adds_joins_what_was_there(seed):
    mask = blobs(seed)
    _, before = ndimage.label(mask, EVERYWHERE)
    _, after = ndimage.label(skeletonize(mask), EVERYWHERE)
    assert after == before


@pytest.mark.parametrize("seed", range(6))
def test_the_compiled_thinning_is_that_of_scikit_image(seed, monkeypatch):
    if skeleton._accelerated is None:
        pytest.skip("numba is not installed")
    mask = blobs(seed, sigma=1 + seed / 4) if seed % 2 else np.random.default_rng(seed).random((20, 24, 28)) < 0.3
    monkeypatch.setattr(skeleton, "_restore", lambda kept, *_: kept)
    assert np.array_equal(skeletonize(mask), thin(mask))


@pytest.mark.parametrize("axis", range(3), ids="XYZ".__getitem__)
@pytest.mark.usefixtures("_route")
def test_a_mask_in_one_plane_is_thinned_as_within_the_whole_volume(axis, monkeypatch):
    plane = ndimage.gaussian_filter(np.random.default_rng(axis).random((20, 22)), 1.2) > 0.5
    mask = np.moveaxis(np.pad(plane[None], 4), 0, axis)
    monkeypatch.setattr(skeleton, "_restore", lambda kept, *_: kept)
    assert np.array_equal(skeletonize(mask), thin(mask))


@pytest.mark.usefixtures("_route")
def test_a_ring_keeps_its_hole():
    x, y, z = np.indices((40, 40, 12)) - np.array([20, 20, 6])[:, None, None, None]
    ring = (np.hypot(x, y) - 13) ** 2 + z**2 <= 9
    result = skeletonize(ring)
    assert len(np.argwhere(result)) >= 2 * 13 * np.pi * 0.7  # a closed line: as many steps as its longest coordinate
    steps = ndimage.convolve(result.astype(int), EVERYWHERE, mode="constant")[result] - 1
    assert steps.min() >= 2  # no end


def test_a_plane_mask_is_thinned_to_its_middle_line():
    mask = np.zeros((9, 30), bool)
    mask[2:7, 2:28] = True
    result = skeletonize(mask)
    assert result[4, 6:24].all()
    assert result.sum() < 40


@pytest.mark.usefixtures("_route")
def test_an_empty_mask_has_an_empty_skeleton():
    assert not skeletonize(np.zeros((5, 6, 7), bool)).any()


@pytest.mark.usefixtures("_route")
def test_a_single_voxel_is_its_own_skeleton():
    mask = np.zeros((3, 3, 3), bool)
    mask[0, 2, 1] = True
    assert np.array_equal(skeletonize(mask), mask)
