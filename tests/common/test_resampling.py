"""Axis by axis comes out what MONAI's Spacing gives, and comes back."""

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Compose, Orientationd, Spacingd
from scipy.spatial.transform import Rotation

from common.resampling import resample_axis
from common.transforms import ResampleToSpacingd


def affine(turn=0.0, spacing=(0.35, 0.4, 0.7)):
    """Of an oblique scanner bed; axes in another order where ``turn`` is not zero."""
    matrix = np.diag([*spacing, 1.0])
    matrix[:3, :3] = Rotation.from_euler("zx", [turn, turn], degrees=True).as_matrix() @ matrix[:3, :3]
    matrix[:3, 3] = [-30, 12, 7]
    return torch.tensor(matrix)


@pytest.fixture
def item():
    """A ramp with noise, stored as a NIfTI file is, and a label of it."""
    voxels = torch.from_numpy(np.asfortranarray(np.random.default_rng(0).normal(0, 300, (31, 22, 17)), np.float32))
    return lambda turn=0.0: {
        "image": MetaTensor(voxels[None], affine=affine(turn)),
        "label": MetaTensor((voxels > 100)[None].to(torch.uint8), affine=affine(turn)),
    }


@pytest.mark.parametrize(  # no new voxel half way between two old ones, where rounding decides
    ("turn", "spacing"),
    [(turn, spacing) for turn in (0, 7, 90) for spacing in ((0.5313, 0.5717, 0.5119), (0.3137, 0.9241, 0.6871))]
    + [(0, (0.35, 0.4, 0.7))],
)
def test_the_result_and_its_inverse_are_those_of_monai(item, turn, spacing):
    def transform(kind):
        first = Orientationd(["image", "label"], axcodes="RAS", labels=None)
        options = {"pixdim": spacing, "mode": ["bilinear", "nearest"], "dtype": np.float64}
        return Compose([first, kind(["image", "label"], **options)])

    theirs, ours = transform(Spacingd), transform(ResampleToSpacingd)
    expected, got = theirs(item(turn)), ours(item(turn))
    for there, here in ((expected, got), (theirs.inverse(expected), ours.inverse(got))):
        torch.testing.assert_close(here["image"].as_tensor(), there["image"].as_tensor(), rtol=0, atol=2e-3)
        np.testing.assert_array_equal(here["label"], there["label"])
        torch.testing.assert_close(here["image"].affine, there["image"].affine, rtol=0, atol=1e-9)
        assert here["image"].dtype == here["label"].dtype == torch.float32
    assert here["image"].shape == (1, 31, 22, 17)
    assert not here["image"].applied_operations


@pytest.mark.parametrize("shape", [(2, 31, 22, 17), (3, 31, 22)], ids=["two channels", "plane"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize("dtype", [torch.uint8, torch.float64, torch.bfloat16], ids=str)
def test_channels_planes_and_other_types_go_the_same_way(shape, mode, dtype):
    image = MetaTensor((torch.rand(shape, generator=torch.Generator().manual_seed(0)) * 200).to(dtype), affine=affine())
    options = {"keys": "image", "pixdim": (0.5313, 0.5717, 0.5119)[: len(shape) - 1], "mode": mode, "dtype": np.float64}
    theirs, ours = Spacingd(**options), ResampleToSpacingd(**options)
    expected, got = theirs({"image": image}), ours({"image": image})
    for there, here in ((expected, got), (theirs.inverse(expected), ours.inverse(got))):
        torch.testing.assert_close(here["image"].as_tensor(), there["image"].as_tensor().float(), rtol=0, atol=2e-3)
        torch.testing.assert_close(here["image"].affine, there["image"].affine, rtol=0, atol=1e-9)


def test_gradients_pass():
    image = MetaTensor(torch.rand(1, 8, 8, 8), affine=affine()).requires_grad_()
    assert ResampleToSpacingd("image", 0.5)({"image": image})["image"].requires_grad


def test_axes_that_turn_are_left_to_monai(item):
    options = {"keys": "image", "pixdim": 0.5, "diagonal": True, "dtype": np.float64}
    expected, got = Spacingd(**options)(item(7)), ResampleToSpacingd(**options)(item(7))
    assert torch.equal(got["image"].as_tensor(), expected["image"].as_tensor())


def test_splines_are_left_to_monai(item):
    options = {"keys": "image", "pixdim": 0.5, "mode": 3, "padding_mode": "nearest"}
    expected, got = Spacingd(**options)(item()), ResampleToSpacingd(**options)(item())
    assert torch.equal(got["image"].as_tensor(), expected["image"].as_tensor())


def test_the_later_of_two_voxels_equally_far_is_the_nearest():
    line = np.arange(4) * 0.5 + 1e-9 * np.array([0, -1, 0, 1])
    assert resample_axis(torch.arange(3), 0, line, "nearest").tolist() == [0, 1, 1, 2]


def test_beyond_its_ends_a_volume_goes_on():
    line = np.array([-2, 0.25, 5])
    assert resample_axis(torch.tensor([[1.0, 3.0]]), 1, line, "bilinear").tolist() == [[1, 1.5, 3]]
    assert resample_axis(torch.tensor([[4.0]]), 1, line, "bilinear").tolist() == [[4, 4, 4]]
