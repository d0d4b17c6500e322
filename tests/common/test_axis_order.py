"""Networks that see other axes than their pipeline."""

import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import Orientation
from torch import nn

from common.axis_order import with_axcodes


class Recorder(nn.Module):
    """Keeps what it saw and returns it twice, as two channels."""

    def forward(self, x):
        self.seen = x
        return torch.cat([x, 2 * x], dim=1)


@pytest.fixture
def volume():
    return torch.rand(1, 1, 2, 3, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("axcodes", ["SPL", "LPS", "SLP", "RAS", "ILA"])
def test_the_network_sees_what_reorienting_the_volume_would_give(volume, axcodes):
    network = with_axcodes(Recorder(), axcodes)
    network(volume)
    expected = Orientation(axcodes=axcodes, labels=None)(MetaTensor(volume[0], affine=torch.eye(4)))
    assert torch.equal(network.seen[0], expected.as_tensor())


@pytest.mark.parametrize("axcodes", ["SPL", "LPS", "SLP", "ILA"])
def test_the_output_has_the_order_of_the_input(volume, axcodes):
    assert torch.equal(with_axcodes(Recorder(), axcodes)(volume), torch.cat([volume, 2 * volume], dim=1))


def test_two_letters_turn_images(volume):
    network = with_axcodes(Recorder(), "PL")
    image = volume[..., 0]
    assert torch.equal(network(image)[:, :1], image)
    assert torch.equal(network.seen, image.transpose(2, 3).flip(2, 3))


def test_no_tensor_changes_its_name():
    network = nn.Sequential(nn.Conv3d(1, 1, 3))
    names = list(network.state_dict())
    assert list(with_axcodes(network, "SPL").state_dict()) == names


@pytest.mark.parametrize(
    "axcodes", ["SPX", "SPI", "SP", "SPLI"], ids=["unknown", "one axis twice", "not of an image", "too many"]
)
def test_codes_that_name_no_order_are_refused(axcodes):
    with pytest.raises(ValueError, match=r"each axis of 'RAS?' once.*SP"):
        with_axcodes(Recorder(), axcodes)
