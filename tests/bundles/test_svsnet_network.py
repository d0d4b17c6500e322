"""SVS-net's network against the published architecture (acceptance facts of the method)."""

from itertools import pairwise

import pytest
import torch
from monai.losses import DiceLoss
from svsnet.network import DecoderStage, Down, EncoderStage, ResidualBlock, SkipAttention, SVSNet, Up, to_channels_last
from torch import nn

RES = {8: 3_488, 16: 13_888, 32: 55_424, 64: 221_440, 128: 885_248, 256: 3_539_968}
FUSE = {8: 264, 16: 1_040, 32: 4_128, 64: 16_448, 128: 65_664, 256: 262_400}
DOWN = {8: 1_056, 16: 4_160, 32: 16_512, 64: 65_792, 128: 262_656, 256: 1_049_600}
UP = {256: 524_800, 128: 131_328, 64: 32_896, 32: 8_256, 16: 2_080, 8: 528}
MERGE = {256: 197_120, 128: 49_408, 64: 12_416, 32: 3_136, 16: 800, 8: 208}
RES_2D = {256: 1_180_672, 128: 295_424, 64: 73_984, 32: 18_560, 16: 4_672, 8: 1_184}
PARTS = {"stem": 16}  # parameters of each part, in the order of the state dict
for index, channels in enumerate(RES):
    PARTS[f"encoder.{index}.block"] = RES[channels]
    if channels == 256:
        PARTS[f"encoder.{index}.attention"] = 131_584
    PARTS |= {f"encoder.{index}.fuse": FUSE[channels], f"encoder.{index}.down": DOWN[channels]}
PARTS["bottleneck"] = 1_049_088
for index, channels in enumerate(UP):
    PARTS[f"decoder.{index}.up"] = UP[channels]
    PARTS |= {f"decoder.{index}.hidden": 2 * channels**2 + channels, f"decoder.{index}.gate": channels**2 + channels}
    PARTS[f"decoder.{index}.block"] = RES_2D[channels]
PARTS["head"] = 9

TINY = (4, 6, 8)  # H and W multiples of 4


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def lively(module, seed=0):
    """Randomize norms and biases, so that every branch matters."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in module.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            low = 0.5 if "running_var" in name or name.endswith(".weight") else -0.2
            tensor.uniform_(low, low + 1 if low > 0 else 0.2, generator=generator)
    return module.eval()


def zero(*modules):
    for module in modules:
        for parameter in module.parameters():
            nn.init.zeros_(parameter)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SVSNet()


@pytest.fixture
def tiny():
    torch.manual_seed(0)
    return lively(SVSNet(widths=TINY))


@pytest.mark.parametrize(("part", "count"), PARTS.items(), ids=PARTS)
def test_every_part_has_the_published_number_of_parameters(network, part, count):
    assert parameters(network.get_submodule(part)) == count


@pytest.mark.parametrize("channels", MERGE, ids=str)
def test_a_channel_attention_block_has_the_published_number_of_parameters(channels):
    stage = DecoderStage(2 * channels, channels)
    assert parameters(stage.hidden) + parameters(stage.gate) == MERGE[channels]


@pytest.mark.parametrize(
    ("options", "count"),
    [({}, 10_187_345), ({"stage6_attention": False}, 10_055_761), ({"frames": 5}, 10_536_849)],
    ids=["default", "figure", "five frames"],
)
def test_the_whole_has_the_published_number_of_parameters(options, count):
    network = SVSNet(**options)
    assert parameters(network) == count
    assert sum(b.numel() for name, b in network.named_buffers() if not name.endswith("num_batches_tracked")) == 7_056


def test_parts_are_registered_in_the_published_order(network):
    owners = [next(part for part in PARTS if name.startswith(f"{part}.")) for name in network.state_dict()]
    assert list(dict.fromkeys(owners)) == list(PARTS)


def test_tensors_follow_the_published_order_so_that_weights_map_by_position(network):
    norm = lambda channels: [(channels,)] * 4 + [()]  # noqa: E731
    linear = lambda out, into, *kernel: [(out, into, *kernel), (out,)]  # noqa: E731

    def block(channels, *kernel):
        return 2 * [(channels, channels, *kernel), *norm(channels)]

    widths = [8, 16, 32, 64, 128, 256, 512]
    expected = linear(8, 1, 1, 1, 1)
    for channels, wider in pairwise(widths):
        expected += block(channels, 3, 3, 3)
        if channels == 256:
            expected += 2 * linear(256, 256, 1, 1, 1)
        expected += [*linear(channels, channels, 4, 1, 1), (wider, channels, 2, 2, 2), *norm(wider)]
    expected += linear(512, 512, 4, 1, 1)
    for channels in widths[-2::-1]:
        expected += [(channels, 2 * channels, 2, 2), *norm(channels)]
        expected += linear(channels, 2 * channels, 1, 1) + linear(channels, channels, 1, 1) + block(channels, 3, 3)
    expected += linear(1, 8, 1, 1)
    assert [tuple(tensor.shape) for tensor in network.state_dict().values()] == expected
    assert len(expected) == 262


@pytest.mark.parametrize("shape", [(2, 1, 4, 64, 128), (1, 1, 4, 64, 64)], ids=str)
def test_logits_have_the_size_of_a_frame(network, shape):
    with torch.inference_mode():
        assert network.eval()(torch.rand(shape)).shape == (shape[0], 1, *shape[3:])


def test_fewer_widths_halve_less_often(tiny):
    assert tiny.stride == 4
    assert tiny(torch.rand(1, 1, 4, 4, 12)).shape == (1, 1, 4, 12)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 1, 3, 64, 64), "T = 4 frames"),
        ((1, 4, 64, 64), "T = 4 frames"),
        ((1, 1, 4, 64, 96), "multiples of 64"),
        ((1, 1, 4, 100, 64), "multiples of 64"),
    ],
    ids=str,
)
def test_an_input_that_the_network_cannot_take_is_refused(network, shape, message):
    with pytest.raises(ValueError, match=message):
        network(torch.rand(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"frames": 0}, "frames must be at least 1"),
        ({"widths": (8,)}, "widths must be two or more"),
        ({"dropout": 1.0}, "dropout must be None or in"),
    ],
    ids=["frames", "widths", "dropout"],
)
def test_an_option_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SVSNet(**options)


def test_behind_the_last_frame_comes_a_zero_frame():
    down = Down(1, 1).eval()
    down.norm = nn.Identity()
    zero(down.conv)
    down.conv.weight.data[0, 0, :, 0, 0] = torch.tensor([1.0, 10.0])
    image = torch.arange(1.0, 5.0)[None, None, :, None, None].expand(1, 1, 4, 2, 2)
    assert down(image).flatten().tolist() == [21, 32, 43, 4]


def test_below_and_right_of_an_enlarged_map_come_zeros():
    up = Up(1, 1).eval()
    up.norm = nn.Identity()
    up.conv.weight.data = torch.tensor([[1.0, 10.0], [100.0, 1000.0]])[None, None]
    assert up(torch.ones(1, 1, 1, 1))[0, 0].tolist() == [[1111, 101], [11, 1]]


def test_closed_channel_attention_halves_the_skip():
    stage = DecoderStage(8, 4)
    zero(stage.hidden, stage.gate)
    skip, enlarged = torch.rand(2, 2, 4, 6, 8)
    assert torch.allclose(stage.merge(skip, enlarged), 0.5 * skip + enlarged)


def test_channel_attention_sees_the_skip_before_the_enlarged_map():
    stage = DecoderStage(2, 1)
    zero(stage.hidden, stage.gate)
    stage.hidden.weight.data[0, 0] = stage.gate.weight.data[0, 0] = 1
    skip, enlarged = torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 2, 2), 7.0)
    assert torch.allclose(stage.merge(skip, enlarged), torch.tensor(2.0).sigmoid() * skip + enlarged)


def test_closed_skip_attention_halves_the_window():
    attention = SkipAttention(3, frames=4)
    zero(attention)
    window = torch.randn(2, 3, 4, 5, 6)
    assert torch.allclose(attention(window), 0.5 * window)


def test_skip_attention_looks_at_the_peak_of_each_window_alone():
    attention = lively(SkipAttention(3, frames=4))
    sequence = torch.randn(2, 3, 6, 5, 5)
    windows = torch.cat([attention(sequence[:1, :, first : first + 4]) for first in range(3)])
    assert torch.allclose(attention(sequence)[:3], windows, atol=1e-6)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_block_whose_second_norm_is_zero_is_a_rectifier(dimensions):
    block = ResidualBlock(3, dimensions).eval()
    zero(block.norm2)
    image = torch.randn(2, 3, *[4] * dimensions)
    before = image.clone()
    assert torch.equal(block(image), image.relu())
    assert torch.equal(image, before)


def test_a_zero_head_gives_even_odds(tiny):
    zero(tiny.head)
    assert torch.equal(tiny(torch.rand(1, 1, 4, 8, 8)).sigmoid(), torch.full((1, 1, 8, 8), 0.5))


def test_a_sample_does_not_depend_on_the_rest_of_its_batch(tiny):
    images = torch.rand(3, 1, 4, 16, 16)
    assert torch.allclose(tiny(images)[:1], tiny(images[:1]), atol=1e-5)


def test_the_order_of_the_frames_matters(tiny):
    images = torch.rand(1, 1, 4, 16, 16)
    assert not torch.allclose(tiny(images), tiny(images.flip(2)), atol=1e-4)


def test_a_sequence_of_one_window_encodes_to_what_the_decoder_needs(tiny):
    images = torch.rand(2, 1, 4, 16, 16)
    maps = tiny.encode(images)
    assert [fused.shape for fused in maps] == [(2, 4, 1, 16, 16), (2, 6, 1, 8, 8), (2, 8, 1, 4, 4)]
    assert torch.equal(tiny.decode([fused[:, :, 0] for fused in maps]), tiny(images))
    assert all(fused.shape[2] == 4 for fused in tiny.encode(torch.rand(1, 1, 7, 8, 8)))


def test_dropout_acts_in_training_below_stage_five_only():
    torch.manual_seed(0)
    network = SVSNet(widths=(2,) * 7).train()
    images = torch.rand(2, 1, 4, 64, 64)
    fused, again = network.encode(images), network.encode(images)
    assert [torch.equal(a, b) for a, b in zip(fused, again, strict=True)] == [True] * 5 + [False] * 2
    network.eval()
    assert torch.equal(network(images), network(images))


def test_dropout_adds_no_tensor():
    assert SVSNet(widths=TINY, dropout=0.0).state_dict().keys() == SVSNet(widths=TINY).state_dict().keys()
    assert [m.p for m in SVSNet(widths=(2,) * 7).modules() if isinstance(m, nn.Dropout3d)] == [0, 0, 0, 0, 0.5, 0.5]


def test_convolutions_start_from_glorot_and_norms_with_keras_settings(network):
    conv = network.get_submodule("encoder.5.block.conv1")
    bound = (6 / (2 * 256 * 27)) ** 0.5
    assert conv.weight.abs().max().item() == pytest.approx(bound, rel=1e-3)
    assert not any(
        m.bias.any() for m in network.modules() if isinstance(m, nn.Conv2d | nn.Conv3d) and m.bias is not None
    )
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d | nn.BatchNorm3d)]
    assert len(norms) == 36
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.1)}


def test_channels_last_changes_the_layout_and_not_the_result(tiny):
    images = torch.rand(2, 1, 4, 16, 16)
    expected = tiny(images)
    assert torch.allclose(to_channels_last(tiny)(images), expected, atol=1e-5)
    assert tiny.encoder[1].down.conv.weight.is_contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_the_network_can_be_scripted(tiny):
    images = torch.rand(1, 1, 4, 8, 8)
    assert torch.allclose(torch.jit.script(tiny)(images), tiny(images), atol=1e-6)


def test_a_stage_without_attention_fuses_its_block_alone():
    stage = EncoderStage(2, 4, frames=4, attention=False, dropout=0.0).eval()
    images = torch.rand(1, 2, 4, 8, 8)
    assert torch.equal(stage(images)[0], stage.fuse(stage.block(images)))


def bands(size):
    """Four windows with one dark curved band each, moving a pixel a frame, and the band of the frame in the middle."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    masks = torch.stack(
        [
            torch.stack(
                [
                    (rows - size / 2 - t - sample * 2 - size / 8 * torch.sin(columns / (5.0 + sample))).abs() < 3
                    for t in range(4)
                ]
            )
            for sample in range(4)
        ]
    ).float()
    noise = 0.05 * torch.randn(masks.shape, generator=torch.Generator().manual_seed(0))
    return (0.8 - 0.5 * masks + noise)[:, None], masks[:, 2:3]


@pytest.mark.parametrize(
    ("widths", "size"),
    [
        pytest.param((4, 8), 16, id="two resolutions"),
        pytest.param((8, 16, 32, 64, 128, 256, 512), 64, id="published", marks=pytest.mark.slow),
    ],
)
def test_four_windows_are_learnt_in_sixty_steps_and_evaluation_follows(widths, size):
    torch.manual_seed(0)
    images, labels = bands(size)
    network = SVSNet(widths=widths).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.01, momentum=0.9, nesterov=True)
    loss_function = DiceLoss(sigmoid=True, batch=True, smooth_nr=0, smooth_dr=1e-5)
    for _ in range(60):
        optimizer.zero_grad()
        loss_function(network(images), labels).backward()
        optimizer.step()
    with torch.inference_mode():
        masks = (network.eval()(images) >= 0).float()
    assert 2 * (masks * labels).sum() / (masks.sum() + labels.sum()) > 0.9
