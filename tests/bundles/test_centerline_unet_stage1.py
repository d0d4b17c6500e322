"""Stage 1 of the guided pipeline: finding vessels at half the resolution."""

import nibabel
import numpy as np
import pytest
import torch
from centerline_unet.network import CenterlineUNet
from centerline_unet.resolution import HalveResolutiond, halve, halved_affine
from centerline_unet.stage1 import StageOne
from monai.data import MetaTensor

AFFINE = np.diag([-0.5, -0.5, 0.5, 1])  # LPS voxels of half a millimetre
SHAPE = (40, 36, 32)


class Bright(CenterlineUNet):
    """Calls vessel what is bright."""

    def forward(self, x):
        return torch.cat([torch.zeros_like(x), 20 * (x - 0.5)], dim=1)


@pytest.fixture
def stage1(tmp_path):
    network = Bright(in_channels=1, widths=(2, 2))
    torch.save(network.state_dict(), tmp_path / "coarse.pt")
    return StageOne(network, tmp_path / "coarse.pt", (16, 16, 16))


def bar():
    """A volume with a bright bar of 6 x 6 voxels along its last axis, (1, X, Y, Z)."""
    image = torch.zeros(1, *SHAPE)
    image[0, 16:22, 14:20, 2:30] = 1
    return image


def test_the_first_stage_finds_a_vessel_and_its_line(stage1):
    probability, branches = stage1(bar(), AFFINE)
    assert probability.shape == (1, *SHAPE)
    assert (probability[0, 17:21, 15:19, 4:28] > 0.9).all()
    assert not probability[0, :10].any()
    (branch,) = branches
    points = nibabel.affines.apply_affine(np.linalg.inv(AFFINE), branch.points)
    np.testing.assert_allclose(points[:, :2], np.tile([18.5, 16.5], (len(points), 1)), atol=0.75)
    assert np.ptp(points[:, 2]) > 20


def test_small_spots_and_the_probability_around_them_are_dropped(stage1):
    image = bar()
    image[0, 2:6, 2:6, 2:6] = 1  # 8 mm^3
    probability, branches = stage1(image, AFFINE)
    assert len(branches) == 1
    assert not probability[0, :10, :10].any()


def test_a_volume_full_of_vessel_is_not_believed(stage1):
    with pytest.raises(ValueError, match=r"100% of the volume vessel.*contrast CT"):
        stage1(torch.ones(1, *SHAPE), AFFINE)


def test_missing_weights_of_the_first_stage_are_named_with_their_cure(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"stage 1.*gone\.pt.*the config coarse.*--centerline none"):
        StageOne(CenterlineUNet(in_channels=1, widths=(2, 2)), tmp_path / "gone.pt", (16, 16, 16))


def test_half_the_resolution_keeps_means_thin_vessels_and_places():
    volume = torch.arange(24.0).reshape(1, 2, 4, 3)
    mean, peak = halve(volume), halve((volume == 0).float(), "max")
    assert mean.shape == (1, 1, 2, 2)
    assert mean[0, 0, 0, 0] == volume[0, :2, :2, :2].mean()
    assert peak[0, 0, 0].tolist() == [1, 0]
    affine = torch.tensor(AFFINE)
    first = halved_affine(affine) @ torch.tensor([0.0, 0, 0, 1], dtype=affine.dtype)
    torch.testing.assert_close(first, affine @ torch.tensor([0.5, 0.5, 0.5, 1], dtype=affine.dtype))


def test_the_transform_halves_as_the_first_stage_does():
    image = MetaTensor(torch.rand(1, 6, 5, 4), affine=AFFINE)
    halved = HalveResolutiond(["image", "label"], ["mean", "max"])({"image": image, "label": image > 0.5})
    torch.testing.assert_close(halved["image"].as_tensor(), halve(image))
    assert halved["label"].shape == (1, 3, 3, 2)
    torch.testing.assert_close(halved["image"].affine, halved_affine(image.affine))
    with pytest.raises(ValueError, match="mode"):
        HalveResolutiond(["image"], "median")


def test_windows_that_the_network_cannot_halve_are_refused_before_any_scan_is_read(tmp_path):
    with pytest.raises(ValueError, match=r"coarse_patch_size must be multiples of 16.*\(40, 40, 40\)"):
        StageOne(CenterlineUNet(in_channels=1), tmp_path / "any.pt", (40, 40, 40))


def test_an_unknown_way_of_halving_is_refused():
    with pytest.raises(ValueError, match="mode must be one of"):
        halve(torch.zeros(1, 2, 2, 2), "median")
