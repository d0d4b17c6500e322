"""SVS-net on whole sequences: one prediction for every frame, however they are computed."""

import pytest
import torch
from monai.data import MetaTensor
from svsnet.inferers import SequenceInferer
from svsnet.network import SVSNet
from svsnet.windows import window_indices
from torch import nn


class Show(nn.Module):
    """A network that gives one frame of its window back, and counts the windows of every call."""

    def __init__(self, place=2):
        super().__init__()
        self.place = place
        self.calls = []

    def forward(self, windows):
        self.calls.append(len(windows))
        return windows[:, :, self.place]


def numbered(frames, size=64):
    """A sequence whose pixels hold their frame's number."""
    return torch.arange(float(frames))[None, :, None, None].expand(1, frames, size, size).clone()


def shown(logits):
    return logits[0, :, 0, 0].tolist()


@pytest.fixture(scope="module")
def tiny():
    torch.manual_seed(0)
    return SVSNet(widths=(4, 6, 8)).eval()


def infer(sequence, network, **options):
    with torch.inference_mode():
        return SequenceInferer(**options)(sequence, network)


@pytest.mark.parametrize("batch", [1, 3, 4, 100])
@pytest.mark.parametrize("edge", ["replicate", "reflect"])
@pytest.mark.parametrize("frames", [2, 5, 9])
def test_every_frame_gets_the_output_of_its_own_window(tiny, frames, edge, batch):
    sequence = torch.rand(1, frames, 8, 12)
    with torch.inference_mode():
        expected = [tiny(sequence[:, None, window_indices(frames, t, edge=edge)])[0, 0] for t in range(frames)]
    logits = infer(sequence, tiny, edge=edge, window_batch=batch)
    assert torch.allclose(logits[0], torch.stack(expected), atol=1e-5)


def test_the_frame_in_the_middle_of_the_window_is_its_own():
    assert shown(infer(numbered(6), Show())) == [0, 1, 2, 3, 4, 5]
    assert shown(infer(numbered(6), Show(place=3))) == [1, 2, 3, 4, 5, 5]


def test_a_stride_reaches_further_in_time():
    assert shown(infer(numbered(6), Show(place=0), frame_stride=2)) == [0, 0, 0, 0, 0, 1]


def test_online_each_output_is_the_frame_before_and_no_later_frame_is_seen():
    assert shown(infer(numbered(6), Show(), online=True)) == [0, 0, 1, 2, 3, 4]
    assert shown(infer(numbered(6), Show(place=3), online=True)) == [0, 1, 2, 3, 4, 5]
    assert shown(infer(numbered(6), Show(), online=True, frame_stride=2)) == [0, 0, 0, 1, 2, 3]


def test_still_windows_hold_one_frame():
    for place in range(4):
        assert shown(infer(numbered(3), Show(place), still=True, online=True)) == [0, 1, 2]


def test_windows_run_in_batches_of_equal_size_and_never_alone():
    network = Show()
    infer(numbered(9), network, window_batch=4)
    assert network.calls == [3, 3, 3]
    with pytest.warns(UserWarning, match="one frame"):
        infer(numbered(1), network)
    assert network.calls[3:] == [2]


@pytest.mark.parametrize("mode", ["window", "dense"])
def test_several_sequences_give_what_each_gives_alone(tiny, mode):
    sequences = torch.rand(3, 6, 8, 8)
    logits = infer(sequences, tiny, mode=mode)
    for sequence, expected in zip(sequences, logits, strict=True):
        assert torch.allclose(infer(sequence[None], tiny, mode=mode)[0], expected, atol=1e-5)


@pytest.mark.parametrize("mode", ["window", "dense"])
def test_frames_of_any_size_are_padded_with_their_edge_and_cropped(tiny, mode):
    sequence = torch.rand(1, 5, 9, 14)
    padded = nn.functional.pad(sequence, (0, 2, 0, 3), mode="replicate")
    expected = infer(padded, tiny, mode=mode)[..., :9, :14]
    assert torch.equal(infer(sequence, tiny, mode=mode), expected)


def test_a_network_that_does_not_say_what_it_needs_gets_multiples_of_64():
    sizes = []

    def network(windows):
        sizes.append(tuple(windows.shape[3:]))
        return windows[:, :, 2]

    assert infer(numbered(4, size=70), network).shape == (1, 4, 70, 70)
    assert sizes == [(128, 128)]


@pytest.mark.parametrize("frames", [2, 4])
def test_dense_equals_windows_where_the_sequence_is_no_longer_than_one(tiny, frames):
    sequence = torch.rand(1, frames, 8, 8)
    assert torch.allclose(infer(sequence, tiny, mode="dense"), infer(sequence, tiny), atol=1e-6)


def test_dense_differs_from_windows_inside_a_longer_sequence_only(tiny):
    sequence = torch.rand(1, 9, 8, 8)
    difference = (infer(sequence, tiny, mode="dense") - infer(sequence, tiny)).abs().amax((0, 2, 3))
    assert difference[[0, 1, 8]].max() < 1e-6
    assert difference[2:8].min() > 1e-4


def test_dense_encodes_the_sequence_once(tiny):
    sequence = torch.rand(1, 9, 8, 8)
    with torch.inference_mode():
        expected = tiny.decode([fused[0].transpose(0, 1) for fused in tiny.encode(sequence[:, None])])
    assert torch.allclose(infer(sequence, tiny, mode="dense", window_batch=4)[0, 2:8], expected[:, 0], atol=1e-5)


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_dense_has_the_frames_of_windows_at_any_stride(stride, online):
    """With all convolutions over time seeing one frame only, both are the same function."""
    torch.manual_seed(0)
    network = SVSNet(widths=(4, 6, 8)).eval()
    for module in network.modules():
        if isinstance(module, nn.Conv3d) and module.kernel_size[0] == 3:
            module.weight.data[:, :, [0, 2]] = 0
        if isinstance(module, nn.Conv3d) and module.kernel_size == (2, 2, 2):
            module.weight.data[:, :, 1] = 0
    sequence = torch.rand(1, 13, 8, 8)
    options = {"frame_stride": stride, "online": online}
    dense = infer(sequence, network, mode="dense", **options)
    assert torch.allclose(dense, infer(sequence, network, **options), atol=1e-5)


def test_the_stride_follows_from_the_frame_time_where_it_is_known():
    options = {"trained_ms": 66.0, "frame_stride": 3}
    fast = MetaTensor(numbered(6), meta={"frame_ms": 33.0})
    with pytest.warns(UserWarning, match="frame_stride 3 is not used: with 33 ms .* the stride is 2"):
        assert shown(infer(fast, Show(place=0), **options)) == [0, 0, 0, 0, 0, 1]
    assert shown(infer(fast, Show(place=1), trained_ms=0, frame_stride=3)) == [0, 0, 0, 0, 1, 2]
    assert shown(infer(numbered(6), Show(place=1), **options)) == [0, 0, 0, 0, 1, 2]
    both = MetaTensor(numbered(6).expand(2, -1, -1, -1), meta={"frame_ms": torch.tensor([66.0, 0.0])})
    with pytest.warns(UserWarning, match="the stride is 1"):
        logits = infer(both, Show(place=1), **options)
    assert logits[:, :, 0, 0].tolist() == [[0, 0, 1, 2, 3, 4], [0, 0, 0, 0, 1, 2]]


def test_metadata_and_single_precision_come_out():
    sequence = MetaTensor(numbered(4).double(), meta={"filename_or_obj": "a.nii.gz"})
    logits = infer(sequence, lambda windows: windows[:, :, 2].half())
    assert logits.meta["filename_or_obj"] == "a.nii.gz"
    assert logits.dtype == torch.float32


def test_a_network_inside_a_wrapper_is_found(tiny):
    wrapper = nn.Module()
    wrapper.module = tiny
    wrapper.forward = tiny.forward
    sequence = torch.rand(1, 6, 9, 8)
    for mode in ("window", "dense"):
        assert torch.equal(infer(sequence, wrapper, mode=mode), infer(sequence, tiny, mode=mode))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"window_batch": 0}, "window_batch must be at least 1"),
        ({"mode": "sparse"}, "mode must be one of"),
        ({"edge": "drop"}, "edge must be"),
        ({"edge": "wrap"}, "edge must be one of"),
        ({"frames": 0}, "n, frames and stride"),
        ({"mode": "dense", "still": True}, "nothing to share"),
        ({"trained_ms": -1.0}, "trained_ms must be"),
        ({"still": "false"}, "still must be True or False"),
    ],
    ids=str,
)
def test_an_option_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SequenceInferer(**options)


@pytest.mark.parametrize(
    ("shape", "network", "options", "message"),
    [
        ((1, 1, 4, 8, 8), Show(), {}, r"sequences \(B, N, H, W\)"),
        ((1, 0, 8, 8), Show(), {}, "at least one frame"),
        ((1, 4, 8, 8), SVSNet(frames=3, widths=(2, 4)), {}, "takes windows of 3 frames"),
        ((1, 6, 64, 64), Show(), {"mode": "dense"}, "needs a network with encode"),
        ((1, 4, 64, 64), lambda windows: windows[:, [0, 0], 2], {}, "one output channel"),
    ],
    ids=["volume", "empty", "frames", "dense", "channels"],
)
def test_what_does_not_fit_together_is_refused(shape, network, options, message):
    with pytest.raises(ValueError, match=message):
        infer(torch.rand(shape), network, **options)
