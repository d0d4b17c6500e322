"""A point becomes a ball and a line a tube, in mm."""

import numpy as np
import pytest

from common.dilation import dilate_mm


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.35, 0.35, 0.5), (0.5, 0.4, 3.0)], ids=str)
@pytest.mark.parametrize("radius_mm", [0.0, 0.7, 1.5])
def test_a_point_becomes_all_voxels_within_the_radius(spacing, radius_mm):
    mask = np.zeros((15, 15, 15), bool)
    mask[7, 7, 7] = True
    away_mm = np.sqrt(
        sum((np.arange(-7, 8) * step).reshape(np.roll((-1, 1, 1), axis)) ** 2 for axis, step in enumerate(spacing))
    )
    assert np.array_equal(dilate_mm(mask, radius_mm, spacing), away_mm <= radius_mm + 1e-5)


def test_a_line_becomes_a_tube_that_ends_at_the_border():
    line = np.zeros((10, 9, 9), bool)
    line[:, 4, 4] = True
    tube = dilate_mm(line, 1.0, (0.5, 0.5, 0.5))
    assert (tube == tube[:1]).all()
    assert tube[0].sum() == 13  # voxels of a disc of radius 2


def test_a_planar_mask_is_dilated_in_its_plane():
    mask = np.zeros((5, 5), bool)
    mask[2, 2] = True
    assert dilate_mm(mask, 1.0, (1.0, 2.0)).sum() == 3  # one voxel up and down, none across


def test_an_empty_mask_stays_empty_and_the_input_is_kept():
    mask = np.zeros((4, 4, 4), bool)
    assert not dilate_mm(mask, 2.0, (1.0, 1.0, 1.0)).any()
    mask[0, 0, 0] = True
    dilate_mm(mask, 2.0, (1.0, 1.0, 1.0))
    assert mask.sum() == 1


def test_a_negative_radius_and_a_spacing_of_other_length_are_refused():
    mask = np.zeros((4, 4, 4), bool)
    with pytest.raises(ValueError, match="radius_mm must be at least 0, got -1"):
        dilate_mm(mask, -1.0, (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match=r"3 positive numbers for a mask of \(4, 4, 4\), got \(1.0, 1.0\)"):
        dilate_mm(mask, 1.0, (1.0, 1.0))
