"""Betti numbers of shapes that everybody can count, and of random masks against scikit-image."""

import numpy as np
import pytest
from skimage.measure import euler_number as skimage_euler_number
from skimage.measure import label as skimage_label

from common.topology import betti_numbers, euler_number
from common.voxels import Voxels

SIZE = 20
X, Y, Z = np.indices((SIZE,) * 3) - (SIZE - 1) / 2


def ball(radius):
    return np.sqrt(X**2 + Y**2 + Z**2) <= radius


def torus(axis=2, ring=6.0, tube=2.0):
    x, y, z = np.roll([X, Y, Z], 2 - axis, axis=0)
    return (np.hypot(x, y) - ring) ** 2 + z**2 <= tube**2


def without(mask, *voxels):
    mask = mask.copy()
    for voxel in voxels:
        mask[voxel] = False
    return mask


def block(*shape):
    return np.pad(np.ones(shape, bool), 1)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        pytest.param(np.zeros((5, 5, 5), bool), (0, 0, 0), id="nothing"),
        pytest.param(np.ones((1, 1, 1), bool), (1, 0, 0), id="one voxel that fills the array"),
        pytest.param(ball(6), (1, 0, 0), id="ball"),
        pytest.param(ball(6) & ~ball(4), (1, 0, 1), id="hollow ball"),
        pytest.param(ball(9) & ~ball(7) | ball(4), (2, 0, 1), id="ball in a hollow ball"),
        pytest.param(ball(9) & ~ball(7) | ball(5) & ~ball(3), (2, 0, 2), id="hollow ball in a hollow ball"),
        pytest.param(ball(9) & ~torus(), (1, 1, 1), id="ball with a cavity like a ring"),
        pytest.param(ball(9) & ~ball(5.5) | torus(ring=3, tube=1), (2, 1, 1), id="ring in a hollow ball"),
        pytest.param(torus(0), (1, 1, 0), id="ring about X"),
        pytest.param(torus(1), (1, 1, 0), id="ring about Y"),
        pytest.param(torus(2), (1, 1, 0), id="ring about Z"),
        pytest.param(torus(2) & ~torus(2, tube=1), (1, 2, 1), id="hollow ring"),
        pytest.param(without(block(3, 3, 7), (2, slice(None), 2), (2, slice(None), 6)), (1, 2, 0), id="two holes"),
        pytest.param(without(block(3, 3, 5), (2, 2, 2), (2, 2, 4)), (1, 0, 2), id="two cavities"),
        pytest.param(without(block(4, 4, 4), (2, 2, 2), (3, 3, 2)), (1, 0, 2), id="cavities that meet at an edge"),
        pytest.param(without(block(3, 3, 3), (2, 2, 2), (1, 1, 1)), (1, 0, 1), id="cavity behind a corner"),
        pytest.param(
            np.eye(4, dtype=bool)[..., None] & np.eye(4, dtype=bool), (1, 0, 0), id="voxels joined by corners"
        ),
        pytest.param(np.ones((6, 6, 6), bool) & (np.arange(6) % 2 == 0), (3, 0, 0), id="sheets across the array"),
    ],
)
def test_components_tunnels_and_cavities_are_counted(mask, expected):
    assert betti_numbers(Voxels(mask)) == expected


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param(["###.##", "......", "....##"], (3, 0, 0), id="three bars"),
        pytest.param(["####", "#..#", "####"], (1, 1, 0), id="ring"),
        pytest.param([".#.", "#.#", ".#."], (1, 1, 0), id="diamond joined by corners"),
        pytest.param(["#####", "#.#.#", "#####"], (1, 2, 0), id="eight"),
    ],
)
def test_holes_of_a_2d_mask_are_tunnels(rows, expected):
    assert betti_numbers(Voxels(np.array([list(row) for row in rows]) == "#")) == expected


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7, 0.95])
def test_random_masks_have_the_numbers_that_scikit_image_counts(share):
    mask = np.random.default_rng(0).random((24, 20, 16)) < share
    components = skimage_label(mask, connectivity=3).max()
    cavities = skimage_label(np.pad(~mask, 1, constant_values=True), connectivity=1).max() - 1
    euler = skimage_euler_number(mask, connectivity=3)
    assert euler_number(Voxels(mask)) == euler
    assert betti_numbers(Voxels(mask)) == (components, components + cavities - euler, cavities)
