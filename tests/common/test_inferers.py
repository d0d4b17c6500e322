"""Vessel probabilities of whole volumes."""

import pytest
import torch

from common.inferers import VesselInferer, vessel_probability


def two_channels(image):
    """Logits whose vessel probability is the sigmoid of the image."""
    return torch.cat([torch.zeros_like(image), image], dim=1)


def test_two_channels_give_the_softmax_of_the_second():
    logits = torch.randn(2, 2, 3, 4, 5)
    assert torch.allclose(vessel_probability(logits), logits.softmax(1)[:, 1:], atol=1e-6)


def test_one_channel_gives_its_sigmoid_in_single_precision():
    logits = torch.randn(2, 1, 4, 4).half()
    assert torch.equal(vessel_probability(logits), logits.float().sigmoid())


def test_three_channels_are_refused():
    with pytest.raises(ValueError, match="one channel or two"):
        vessel_probability(torch.zeros(1, 3, 2, 2, 2))


@pytest.mark.parametrize("blend", ["gaussian", "constant"])
@pytest.mark.parametrize("shape", [(20, 24, 28), (9, 24, 28), (16, 16, 16)], ids=str)
def test_windows_of_a_pointwise_network_give_its_probability_everywhere(blend, shape):
    image = torch.randn(1, 1, *shape)
    result = VesselInferer([16, 16, 16], blend=blend)(image, two_channels)
    assert torch.allclose(result, image.sigmoid(), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "patch", "overlap", "windows"),
    [
        ((275, 512, 512), (128, 160, 160), 0.75, 600),  # the authors' stride of a quarter window
        ((275, 512, 512), (128, 160, 160), 0.5, 144),
        ((129, 160, 200), (128, 160, 160), 0.75, 4),
        ((128, 160, 160), (128, 160, 160), 0.75, 1),
    ],
    ids=str,
)
def test_the_number_of_windows_is_the_published_one(shape, patch, overlap, windows):
    from monai.data.utils import dense_patch_slices
    from monai.inferers.utils import _get_scan_interval

    interval = _get_scan_interval(shape, patch, 3, (overlap,) * 3)
    assert len(dense_patch_slices(shape, patch, interval)) == windows


def test_a_union_takes_every_voxel_that_one_window_calls_vessel():
    calls = []

    def only_in_the_first_window(window):
        calls.append(window)
        return two_channels(torch.full_like(window, 9.0 if len(calls) == 1 else -9.0))

    image = torch.zeros(1, 1, 16, 16, 24)
    result = VesselInferer([16, 16, 16], blend="union")(image, only_in_the_first_window)
    assert len(calls) == 2
    assert torch.equal(result[0, 0, 0, 0], torch.tensor([1.0] * 16 + [0.0] * 8))


def test_mirror_averaging_is_the_mean_over_all_subsets_of_the_axes():
    ramp = torch.linspace(-2, 2, 16).reshape(1, 1, 16, 1, 1)
    image = torch.zeros(1, 1, 16, 16, 16)
    calls = []

    def position(window):
        calls.append(window)
        return two_channels(window + ramp)

    result = VesselInferer([16, 16, 16], mirror_axes=[0, 1])(image, position)
    assert len(calls) == 4
    assert torch.allclose(result, torch.full_like(result, 0.5), atol=1e-6)  # sigmoid(a) + sigmoid(-a) = 1


def test_gradients_and_memory_are_left_to_the_caller():
    image = torch.randn(1, 1, 16, 16, 16, requires_grad=True)
    VesselInferer([16, 16, 16])(image, two_channels).sum().backward()
    assert image.grad is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [({"blend": "mean"}, "blend must be one of"), ({"mirror_axes": [3]}, r"mirror_axes must lie in 0\.\.2")],
    ids=["blend", "axis"],
)
def test_an_unknown_option_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        VesselInferer([16, 16, 16], **options)
