"""Frames through a network of single images: order, padding, flips."""

import pytest
import torch
from casrnet.inferers import FrameInferer, pad_to_multiple
from monai.data import MetaTensor


def first_channel(frames):
    assert all(side % 32 == 0 for side in frames.shape[2:])
    return frames[:, :1]


def position(frames):
    """A network that is not symmetric: its logit grows along the columns."""
    return torch.arange(frames.shape[3]).expand(len(frames), 1, *frames.shape[2:]) / 64.0


@pytest.mark.parametrize("frame_batch", [1, 2, 16])
def test_every_frame_of_every_sequence_keeps_its_place(frame_batch):
    images = torch.rand(2, 4 * 3, 40, 70)
    logits = FrameInferer(frame_batch=frame_batch)(images, first_channel)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, images[:, ::3])


def test_no_more_frames_than_asked_for_are_run_at_once():
    sizes = []
    FrameInferer(frame_batch=3)(torch.rand(1, 21, 32, 32), lambda x: sizes.append(len(x)) or x[:, :1])
    assert sizes == [3, 3, 1]


def test_two_logits_become_the_logit_of_the_vessel():
    images = torch.rand(1, 2, 32, 32)
    assert torch.equal(FrameInferer(channels=2)(images, lambda x: x), images[:, 1:] - images[:, :1])


def test_metadata_are_kept():
    images = MetaTensor(torch.rand(1, 3, 32, 32), meta={"pixel_mm": 0.3})
    assert FrameInferer()(images, first_channel).meta["pixel_mm"] == 0.3


def test_padding_mirrors_the_image_without_repeating_its_border():
    image = torch.arange(20.0).expand(1, 1, 32, 20)
    assert pad_to_multiple(image, 32)[0, 0, 0, 20:].tolist() == [18.0 - i for i in range(12)]


def test_an_image_too_small_to_be_mirrored_repeats_its_border():
    image = torch.arange(5.0).expand(1, 1, 32, 5)
    assert pad_to_multiple(image, 32)[0, 0, 0, 5:].tolist() == [4.0] * 27


def test_an_image_that_fits_is_not_copied():
    image = torch.rand(1, 1, 32, 64)
    assert pad_to_multiple(image, 32) is image


def test_flips_average_probabilities():
    logits = FrameInferer(channels=1, flips=(1,))(torch.zeros(1, 1, 32, 40), position)
    seen = torch.arange(64.0) / 64
    mean = (seen[:40].sigmoid() + seen.flip(0)[:40].sigmoid()) / 2
    assert torch.allclose(logits[0, 0, 0].sigmoid(), mean, atol=1e-6)


def test_flips_change_nothing_for_a_network_that_does_not_see_them():
    images = torch.rand(1, 6, 32, 32)
    flipped = FrameInferer(flips=(0, 1))(images, first_channel)
    assert torch.allclose(flipped, FrameInferer()(images, first_channel), atol=1e-5)


def test_flips_along_both_axes_run_the_network_four_times():
    calls = []
    FrameInferer(flips=(1, 0, 1))(torch.rand(1, 3, 32, 32), lambda x: calls.append(1) or x[:, :1])
    assert len(calls) == 4


@pytest.mark.parametrize("shape", [(1, 4, 32, 32), (3, 32, 32), (0, 3, 32, 32)], ids=str)
def test_channels_that_make_no_whole_frames_are_refused(shape):
    with pytest.raises(ValueError, match=r"inputs must be \(B, T \* 3, H, W\)"):
        FrameInferer()(torch.rand(shape), first_channel)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"frame_batch": 0}, "must be at least 1, got 3, 32, 0"), ({"flips": (2,)}, "flips must be a list of axes")],
    ids=["batch", "flips"],
)
def test_settings_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        FrameInferer(**options)
