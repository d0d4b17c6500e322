"""Lists of voxels, their neighbours and their parts."""

import numpy as np
import pytest
from scipy import ndimage

from common.voxels import Voxels, all_offsets, connected, face_offsets, find, joined

OFFSETS = [(1, 0, 0), (0, -1, 0), (1, 1, -1)]


@pytest.fixture
def mask():
    return np.random.default_rng(0).random((7, 8, 9)) < 0.4


def test_indices_are_those_of_the_mask_in_memory_order(mask):
    voxels = Voxels(mask)
    assert len(voxels) == mask.sum()
    assert np.array_equal(voxels.index(voxels.places), np.argwhere(mask))


@pytest.mark.parametrize("offset", OFFSETS, ids=str)
def test_neighbours_are_the_shifted_mask_and_nothing_beyond_the_border(mask, offset):
    shifted = np.roll(np.pad(mask, 1), [-step for step in offset], axis=(0, 1, 2))[1:-1, 1:-1, 1:-1]
    assert np.array_equal(Voxels(mask).has_neighbour(offset), shifted[mask])


def test_the_outside_is_what_dilation_adds(mask):
    grown = ndimage.binary_dilation(np.pad(mask, 1), np.ones((3, 3, 3)))
    voxels = Voxels(mask)
    assert np.array_equal(voxels.index(voxels.outside(all_offsets(3))) + 1, np.argwhere(grown & ~np.pad(mask, 1)))


def test_components_are_those_of_scipy(mask):
    sparse = mask & (np.random.default_rng(1).random(mask.shape) < 0.2)
    expected, count = ndimage.label(sparse, np.ones((3, 3, 3)))
    numbers, found = Voxels(sparse).components
    assert found == count > 2
    assert len(set(zip(numbers, expected[sparse], strict=True))) == count


def test_a_subset_lists_the_common_voxels_in_the_same_places(mask):
    other = np.random.default_rng(1).random(mask.shape) < 0.5
    voxels = Voxels(mask)
    subset = voxels.subset(other)
    assert np.array_equal(subset.index(subset.places), np.argwhere(mask & other))
    assert subset.count_in(voxels) == len(subset)
    assert voxels.count_in(subset) == len(subset)


@pytest.mark.parametrize(("axes", "faces", "all_around"), [(2, 4, 8), (3, 6, 26)])
def test_a_voxel_has_as_many_neighbours_as_faces_edges_and_corners(axes, faces, all_around):
    assert len(face_offsets(axes)) == faces
    assert len(all_offsets(axes)) == all_around


def test_what_is_not_there_is_not_found():
    assert find(np.array([3, 5, 9]), np.array([5, 4, 9, 10, 0])).tolist() == [1, -1, 2, -1, -1]


def test_places_a_step_apart_are_joined_into_parts():
    pairs = joined(np.array([3, 5, 7, 20, 22]), 2)
    assert pairs.tolist() == [[0, 1, 3], [1, 2, 4]]
    numbers, parts = connected(5, pairs)
    assert (numbers.tolist(), parts) == ([0, 0, 0, 1, 1], 2)
