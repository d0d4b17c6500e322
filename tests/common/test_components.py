"""Connected components."""

import numpy as np
import pytest
from scipy import ndimage

from common import components
from common.components import foreground_box, keep_largest_components, label_components, remove_small_components


@pytest.fixture(params=["numba", "plain"], autouse=True)
def route(request, monkeypatch):
    if request.param == "plain":
        monkeypatch.setattr(components, "_accelerated", None)
    elif components._accelerated is None:
        pytest.skip("numba is not installed")


@pytest.fixture
def sizes():
    """Components of 1, 2 and 3 voxels, in this order."""
    mask = np.zeros((9, 9, 9), bool)
    mask[0, 0, 0] = True
    mask[2, 2, 2:4] = True
    mask[6, 6, 4:7] = True
    return mask


@pytest.mark.parametrize("share", [0.02, 0.08, 0.5])
def test_labels_are_those_of_scipy(share):
    mask = np.random.default_rng(0).random((20, 24, 28)) < share
    expected, count = ndimage.label(mask, np.ones((3, 3, 3)))
    labels, number = label_components(mask)
    assert number == count
    assert np.array_equal(labels, expected)


def test_voxels_that_share_a_corner_are_one_component():
    assert label_components(np.eye(3, dtype=bool)[:, :, None] & np.eye(3, dtype=bool)[:, None, :])[1] == 1


def test_pixels_that_share_a_corner_are_one_component():
    assert label_components(np.eye(4, dtype=bool))[1] == 1


def test_small_components_go_and_those_of_the_limit_stay(sizes):
    assert remove_small_components(sizes, 2).sum() == 5


@pytest.mark.parametrize(("count", "voxels"), [(1, 3), (2, 5), (9, 6)])
def test_the_largest_components_stay(sizes, count, voxels):
    assert keep_largest_components(sizes, count).sum() == voxels


def test_of_two_equal_components_the_first_stays():
    mask = np.array([1, 0, 1], bool)[:, None, None]
    assert keep_largest_components(mask, 1).ravel().tolist() == [True, False, False]


def test_at_least_one_component_must_be_kept(sizes):
    with pytest.raises(ValueError, match="count must be at least 1"):
        keep_largest_components(sizes, 0)


def test_nothing_in_gives_nothing_out():
    empty = np.zeros((3, 4, 5), bool)
    assert label_components(empty)[1] == 0
    assert not remove_small_components(empty, 1).any()
    assert not keep_largest_components(empty, 1).any()
    assert foreground_box(empty) is None


def test_the_box_is_tight_and_its_margin_stays_inside(sizes):
    mask = sizes.copy()
    mask[0, 0, 0] = False
    assert foreground_box(mask) == (slice(2, 7), slice(2, 7), slice(2, 7))
    assert foreground_box(mask, margin=3) == (slice(0, 9),) * 3
