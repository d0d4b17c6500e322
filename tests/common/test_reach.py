"""Searches within a sparse mask; both routes."""

import numpy as np
import pytest

from common import reach
from common import skeleton as skeletons

STEPS = np.array([-4, -3, -2, -1, 1, 2, 3, 4])  # of an array with rows of two voxels and one of margin


@pytest.fixture(params=["numba", "plain"])
def search(request):
    if request.param == "plain":
        return reach
    if skeletons._accelerated is None:
        pytest.skip("numba is not installed")
    return skeletons._reach


def line(search, count):
    """Voxels one after another in an array with a single axis."""
    return search.neighbours_of(np.arange(count), np.array([-1, 1]))


def square(search, edge):
    stride = edge + 1
    places = (np.arange(edge)[:, None] * stride + np.arange(edge)).ravel()
    steps = np.array([-stride - 1, -stride, -stride + 1, -1, 1, stride - 1, stride, stride + 1])
    return search.neighbours_of(places, steps)


def test_neighbours_are_numbered_from_one_and_none_is_zero(search):
    # 1 2
    # 3 .   as places 0 1 / 3, with a margin of one after each row
    table = search.neighbours_of(np.array([0, 1, 3]), STEPS)
    assert [sorted(set(row) - {0}) for row in table.tolist()] == [[], [2, 3], [1, 3], [1, 2]]


def test_depth_counts_steps_from_the_outside(search):
    depth = search.depths(square(search, 5))
    assert depth[0] == 0
    ring, inner = [1] * 5, [1, 2, 2, 2, 1]
    assert depth[1:].reshape(5, 5).tolist() == [ring, inner, [1, 2, 3, 2, 1], inner, ring]


def test_the_largest_value_of_the_surroundings_spreads_by_one_voxel(search):
    values = np.zeros(26, np.int32)
    values[13] = 7  # the middle
    largest = search.largest_around(values, np.arange(1, 26), square(search, 5)).reshape(5, 5)
    assert (largest == 7).sum() == 9
    assert (largest[1:4, 1:4] == 7).all()


def test_distances_start_with_one_and_are_zero_where_there_is_no_way(search):
    table = line(search, 6)
    table[4, table[4] == 5] = table[5, table[5] == 4] = 0  # cut between the fourth and the fifth
    kept = np.array([False, True, False, False, False, False, False])
    assert search.distances(kept, table).tolist() == [0, 1, 2, 3, 4, 0, 0]


def test_spreading_from_more_voxels_only_lowers_distances(search):
    table = line(search, 6)
    distance = search.distances(np.arange(7) == 1, table)
    search.spread(distance, np.array([6]), table)
    assert distance.tolist() == [0, 1, 2, 3, 3, 2, 1]


def test_both_routes_give_the_same():
    if skeletons._accelerated is None:
        pytest.skip("numba is not installed")
    rng = np.random.default_rng(0)
    mask = rng.random((14, 15, 16)) < 0.4
    steps, _ = skeletons._steps(mask.shape)
    places = np.ravel_multi_index(np.nonzero(mask), tuple(size + 1 for size in mask.shape))
    plain, fast = (search.neighbours_of(places, steps) for search in (reach, skeletons._reach))
    assert np.array_equal(plain, fast)
    assert np.array_equal(reach.depths(plain), skeletons._reach.depths(plain))
    kept = np.append(False, rng.random(len(places)) < 0.01)
    assert np.array_equal(reach.distances(kept, plain), skeletons._reach.distances(kept, plain))
