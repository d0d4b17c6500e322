"""Masks of frames turned into volumes for MONAI Label."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from common.angiograms.volumes import FramesToVolumed

AFFINE = torch.diag(torch.tensor([-0.3, -0.3, 1, 1], dtype=torch.float64))


def data_of(pred):
    image = MetaTensor(torch.zeros(9, 4, 5), meta={"original_affine": AFFINE})  # of another size than the file
    return {"image": image, "pred": pred}


@pytest.mark.parametrize("kind", [torch.Tensor, MetaTensor])
def test_frame_row_and_column_become_the_last_the_second_and_the_first_axis(kind):
    pred = torch.zeros(2, 4, 5)
    pred[1, 3, 0] = 1  # second frame, last row, first column
    volume = FramesToVolumed("pred", "image")(data_of(kind(pred)))["pred"]
    assert (volume.shape, volume.dtype) == ((1, 5, 4, 2), torch.uint8)
    assert volume.nonzero().tolist() == [[0, 0, 3, 1]]


def test_the_volume_has_the_affine_of_the_file():
    volume = FramesToVolumed("pred", "image")(data_of(torch.zeros(2, 4, 5)))["pred"]
    np.testing.assert_array_equal(volume.affine, AFFINE)


def test_what_is_no_sequence_of_frames_is_refused():
    with pytest.raises(ValueError, match=r"'pred' must be \(T, H, W\).*got \(1, 2, 4, 5\)"):
        FramesToVolumed("pred", "image")(data_of(torch.zeros(1, 2, 4, 5)))
