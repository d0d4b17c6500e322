"""What counts as vessel in a mask file, and which files are no masks."""

import nibabel
import numpy as np
import pytest

from common.angiograms.masks import read_masks, vessel_masks


def values(*given):
    return np.array([[given]], np.float32)


@pytest.mark.parametrize(
    ("given", "vessel"),
    [((0, 1), 1), ((0, 255), 1), ((9, 127, 128), 1), ((0, 65535), 1), ((0, 0), 0), ((1, 1), 2)],
    ids=["0 and 1", "grey", "blurred edge", "16 bits", "empty", "full"],
)
def test_vessels_are_1_or_above_half_of_the_grey_values(given, vessel):
    mask = vessel_masks(values(*given), "a.png")
    assert mask.dtype == bool
    assert mask.sum() == vessel


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((0, 1, 14), "reaches from 0 to 14 and holds 14; write"),
        ((0, 100), "grey with vessels above 127, but this one reaches from 0 to 100"),
        ((0, 0.3, 1), "holds 0.3"),
        ((-1, 0, 1), "reaches from -1 to 1 and holds -1"),
        ((0, np.nan), "NaN or infinite"),
        ((0, np.inf), "NaN or infinite"),
    ],
    ids=["branch map", "dark grey", "probabilities", "negative", "NaN", "infinity"],
)
def test_values_that_are_no_mask_are_refused_rather_than_taken_as_empty(given, message):
    with pytest.raises(ValueError, match=rf"a\.png: .*{message}"):
        vessel_masks(values(*given), "a.png")


def test_a_mask_whose_header_scales_it_is_read(tmp_path):
    image = nibabel.Nifti1Image(np.array([[0, 255], [0, 0]], np.uint8), np.eye(4))
    image.header.set_slope_inter(1 / 255, 0)  # 255 times which is a little more than 1
    nibabel.save(image, tmp_path / "a.nii")
    assert read_masks(tmp_path / "a.nii").tolist() == [[[False, False], [True, False]]]
