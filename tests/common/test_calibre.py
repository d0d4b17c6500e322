"""Lengths of lines that can be added up by hand, and diameters of tubes."""

import numpy as np
import pytest

from common import calibre
from common.skeleton import skeletonize
from common.voxels import Voxels

SPACING = (0.35, 0.35, 0.5)


def voxel_lengths_mm(skeleton, spacing):
    return calibre.voxel_lengths_mm(Voxels(skeleton), spacing)


def diameters_mm(mask, spacing):
    voxels = Voxels(mask)
    return calibre.diameters_mm(voxels, voxels.subset(skeletonize(mask)), spacing)


def mask_of(*voxels, shape=(12, 12, 12)):
    mask = np.zeros(shape, bool)
    mask[tuple(np.array(voxels).T)] = True
    return mask


def tube(radius_mm, direction, offset_mm, shape=(44, 44, 44)):
    """A round tube through the middle of the array."""
    points = np.moveaxis(np.indices(shape), 0, -1) * SPACING - np.multiply(shape, SPACING) / 2 - offset_mm
    along = points @ np.asarray(direction)
    return np.linalg.norm(points - along[..., None] * direction, axis=-1) <= radius_mm


@pytest.mark.parametrize(
    ("step", "edge_mm"),
    [
        pytest.param((1, 0, 0), 0.35, id="along X"),
        pytest.param((0, 0, 1), 0.5, id="along Z"),
        pytest.param((1, 1, 0), np.hypot(0.35, 0.35), id="in a plane"),
        pytest.param((1, 1, 1), np.sqrt(2 * 0.35**2 + 0.5**2), id="through the corners"),
    ],
)
def test_a_line_is_as_long_as_its_ends_are_apart(step, edge_mm):
    lengths = voxel_lengths_mm(mask_of(*np.outer(range(1, 8), step)), SPACING)
    assert lengths.sum() == pytest.approx(6 * edge_mm)


def test_a_voxel_has_half_of_each_line_that_it_ends():
    lengths = voxel_lengths_mm(mask_of((2, 2, 1), (2, 2, 2), (2, 2, 3)), SPACING)
    assert lengths == pytest.approx([0.25, 0.5, 0.25])


def test_a_voxel_alone_has_no_length():
    assert voxel_lengths_mm(mask_of((1, 1, 1), (5, 5, 5)), SPACING).tolist() == [0, 0]


def test_the_triangles_at_a_branching_count_once():
    stem = [(x, 5, 5) for x in range(1, 10)]
    branch = [(5, y, 5) for y in range(6, 10)]
    assert voxel_lengths_mm(mask_of(*stem, *branch), (1, 1, 1)).sum() == pytest.approx(8 + 4)


def test_a_ring_lacks_one_step():
    ring = {(x, y, 3) for x in range(2, 8) for y in range(2, 8) if x in (2, 7) or y in (2, 7)}
    corners = [(2, 2, 3), (2, 7, 3), (7, 2, 3), (7, 7, 3)]  # cut by a diagonal each
    steps = len(ring) - 2 * len(corners)
    mask = mask_of(*ring.difference(corners))
    assert voxel_lengths_mm(mask, (1, 1, 1)).sum() == pytest.approx(steps + 4 * np.sqrt(2) - np.sqrt(2))


def test_lengths_of_a_2d_skeleton():
    assert voxel_lengths_mm(np.eye(5, dtype=bool), (0.3, 0.4)).sum() == pytest.approx(4 * 0.5)


@pytest.mark.parametrize("diameter", [0.8, 1.2, 1.8, 2.5, 3.5])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_diameter_of_a_tube_is_found_at_any_angle(diameter, seed):
    random = np.random.default_rng(seed)
    direction = random.standard_normal(3)
    mask = tube(diameter / 2, direction / np.linalg.norm(direction), random.uniform(0, 0.4, 3))
    found = diameters_mm(mask, SPACING)
    assert found.shape == (mask.sum(),)
    assert np.median(found) == pytest.approx(diameter, abs=0.2)


@pytest.mark.parametrize("width", [2, 4, 6])
def test_the_diameter_of_a_bar_of_even_width_is_its_width(width):
    bar = np.pad(np.ones((30, width, width), bool), 3)
    found = diameters_mm(bar, (0.5, 0.5, 0.5))
    assert np.median(found) == pytest.approx(0.5 * width)


def test_each_voxel_has_the_diameter_of_the_vessel_it_lies_in():
    narrow, wide = np.zeros((2, 40, 30, 30), bool)
    narrow[:, 4:6, 4:6] = True
    wide[:, 14:22, 14:22] = True
    mask = narrow | wide
    found = diameters_mm(mask, (0.5, 0.5, 0.5))
    assert found[narrow[mask]] == pytest.approx(1.0)
    assert np.median(found[wide[mask]]) == pytest.approx(4.0)
