"""Surface distances of shapes whose distances are plain, and agreement with MONAI."""

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance, compute_surface_dice
from scipy import ndimage

from common.surface import assd_mm, hd95_mm, nsd, surface_distances
from common.voxels import Voxels

SPACING = (0.35, 0.5, 0.8)


def between(prediction, label):
    return surface_distances(Voxels(prediction), Voxels(label), SPACING)


def sheet(x, size=24):
    """One voxel thick, across the whole array."""
    mask = np.zeros((size, 9, 10), bool)
    mask[x] = True
    return mask


def blob(seed):
    """A smooth random shape that also touches the border of the array."""
    noise = np.random.default_rng(seed).standard_normal((26, 22, 18))
    return ndimage.gaussian_filter(noise, 2) > 0.02


@pytest.mark.parametrize("side", [1, 2, 3, 6])
def test_the_surface_of_a_cube_is_all_but_its_inside(side):
    cube = np.pad(np.ones((side,) * 3, bool), 2)
    assert len(Voxels(cube).surface()) == side**3 - max(side - 2, 0) ** 3


def test_what_touches_the_border_of_the_array_is_surface():
    assert len(Voxels(np.ones((4, 4, 4), bool)).surface()) == 64 - 8


def test_the_surface_of_a_2d_square_is_its_rim():
    assert len(Voxels(np.pad(np.ones((5, 5), bool), 1)).surface()) == 16


def test_points_are_in_mm():
    mask = np.zeros((4, 4, 4), bool)
    mask[1, 2, 3] = True
    voxels = Voxels(mask)
    assert voxels.points_mm(voxels.surface(), SPACING) == pytest.approx(np.array([[0.35, 1.0, 2.4]]))


@pytest.mark.parametrize("shift", [0, 1, 4])
def test_shifted_sheets_are_everywhere_as_far_apart_as_the_shift(shift):
    distances = between(sheet(5 + shift), sheet(5))
    assert hd95_mm(distances) == pytest.approx(0.35 * shift)
    assert assd_mm(distances) == pytest.approx(0.35 * shift)


@pytest.mark.parametrize("place", range(12))
def test_a_distance_equal_to_the_tolerance_counts_wherever_it_is_measured(place):
    distances = between(sheet(place + 2), sheet(place))
    assert nsd(distances, 0.7) == 1  # 2 x 0.35 mm, which is 0.7000000000000002 at some places
    assert nsd(distances, 0.699) == 0


def test_hd95_is_the_larger_of_the_two_directions():
    label, extra = sheet(2), sheet(12)
    extra[12, :, 1:] = False  # one of ten columns: 9 voxels beside 90
    distances = between(label | extra, label)
    assert len(distances.to_label) == 99
    assert np.percentile(distances.to_prediction, 95) == 0
    assert hd95_mm(distances) == pytest.approx(10 * 0.35)  # 9 of 99 are more than 5 %
    assert np.percentile(np.concatenate(distances), 95) == 0  # 9 of 189, pooled, are fewer


def test_the_mean_distance_weighs_every_surface_voxel_alike():
    label, extra = sheet(2), sheet(12)
    extra[12, :, 1:] = False
    distances = between(label | extra, label)
    assert assd_mm(distances) == pytest.approx(9 * 3.5 / (99 + 90))


def test_nsd_is_the_share_of_surface_voxels_within_the_tolerance():
    label, extra = sheet(2), sheet(12)
    extra[12, :, 1:] = False
    distances = between(label | extra, label)
    assert nsd(distances, 1.0) == pytest.approx(180 / 189)


@pytest.mark.parametrize("seed", [0, 1])
def test_values_are_those_of_monai(seed):
    prediction, label = blob(seed), blob(seed + 10)
    distances = between(prediction, label)
    pair = [torch.from_numpy(mask)[None, None].float() for mask in (prediction, label)]
    hausdorff = compute_hausdorff_distance(*pair, include_background=True, percentile=95, spacing=SPACING)
    average = compute_average_surface_distance(*pair, include_background=True, symmetric=True, spacing=SPACING)
    share = compute_surface_dice(*pair, [0.75], include_background=True, spacing=SPACING)
    assert hd95_mm(distances) == pytest.approx(hausdorff.item(), rel=1e-6)
    assert assd_mm(distances) == pytest.approx(average.item(), rel=1e-6)
    assert nsd(distances, 0.75) == pytest.approx(share.item(), rel=1e-6)
