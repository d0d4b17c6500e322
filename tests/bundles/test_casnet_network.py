"""CAS-Net's network against the published architecture (acceptance facts of the method)."""

import pytest
import torch
from casnet.network import AttentionGuidedFusion, CASNet, ScaleAwareEnhancement
from torch import nn

PARTS = {  # parameters of each part, in the order of the state dict
    "encoder.0": 7_472,
    "encoder.1": 42_208,
    "encoder.2": 168_384,
    "encoder.3": 672_640,
    "encoder.4": 2_688_768,
    "bottleneck": 1_033_728,
    "decoder.0.fusion": 41_088,
    "decoder.0.block": 1_327_872,
    "decoder.0.up": 262_272,
    "decoder.1.fusion": 10_304,
    "decoder.1.block": 332_160,
    "decoder.1.up": 65_600,
    "decoder.2.fusion": 2_592,
    "decoder.2.block": 83_136,
    "decoder.2.up": 16_416,
    "decoder.3.fusion": 656,
    "decoder.3.block": 20_832,
    "decoder.3.up": 4_112,
    "head": 12_778,
}


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def lively(network, seed=0):
    """Randomize norms and biases and shrink weights, so that no attention saturates and every branch matters."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point():
            if tensor.ndim > 1:
                tensor.mul_(0.85)
            else:
                low = 0.5 if "running_var" in name or name.endswith(".weight") else -0.2
                tensor.uniform_(low, low + 1 if low > 0 else 0.2, generator=generator)
    return network.eval()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return CASNet()


@pytest.mark.parametrize(("part", "count"), PARTS.items(), ids=PARTS)
def test_every_part_has_the_published_number_of_parameters(network, part, count):
    assert parameters(network.get_submodule(part)) == count


def test_the_whole_has_the_published_number_of_parameters_and_tensors(network):
    assert parameters(network) == sum(PARTS.values()) == 6_793_018
    assert len(list(network.parameters())) == 144
    assert len(network.state_dict()) == 210


def test_parts_are_registered_in_the_published_order(network):
    owners = [next(part for part in PARTS if name.startswith(part)) for name in network.state_dict()]
    assert list(dict.fromkeys(owners)) == list(PARTS)


def test_tensors_of_the_first_and_last_block_follow_the_published_order(network):
    shapes = [tuple(tensor.shape) for tensor in network.state_dict().values()]
    norm = [(16,)] * 4 + [()]
    assert shapes[:16] == [(16, 1, 3, 3, 3), (16,), *norm, (16, 16, 3, 3, 3), (16,), *norm, (16, 1, 1, 1, 1), (16,)]
    head = [shape for width in (128, 64, 32, 16) for shape in ((8, width, 1, 1, 1), (8,))]
    assert shapes[-16:] == [*head, *[(8, 16, 3, 3, 3), (8,)] * 3, (2, 8, 3, 3, 3), (2,)]


def test_an_attention_block_registers_gates_then_query_key_value():
    block = ScaleAwareEnhancement(8)
    names = list(dict.fromkeys(name.split(".")[0] for name in block.state_dict()))
    assert names == ["gates", "query", "key", "value"]
    assert [tuple(block.get_parameter(f"{name}.weight").shape[2:]) for name in names[1:]] == [
        (3, 1, 1),
        (1, 3, 1),
        (1, 1, 3),
    ]


def test_each_further_input_channel_adds_its_share_of_the_first_block():
    assert parameters(CASNet(in_channels=3)) - parameters(CASNet()) == 2 * (16 * 27 + 16)


def test_logits_have_the_size_of_the_image_and_one_channel_per_class():
    network = CASNet(width=8, out_channels=3).eval()
    assert network(torch.rand(2, 1, 16, 32, 48)).shape == (2, 3, 16, 32, 48)


def test_the_smallest_volume_works_in_evaluation(network):
    assert network.eval()(torch.rand(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)


@pytest.mark.parametrize("shape", [(1, 1, 32, 40, 40), (1, 1, 8, 16, 16), (1, 16, 16, 16)], ids=str)
def test_a_side_that_cannot_be_halved_four_times_is_refused(network, shape):
    with pytest.raises(ValueError, match=r"multiples of 16, got .*pad it"):
        network(torch.rand(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 12}, "width must be a positive multiple of 8"),
        ({"decoder_input": "up"}, "decoder_input must be"),
        ({"final_activation": "softmax"}, "final_activation must be"),
    ],
    ids=["width", "decoder_input", "final_activation"],
)
def test_an_option_that_does_not_exist_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CASNet(**options)


def test_a_sample_does_not_depend_on_the_rest_of_its_batch():
    network = lively(CASNet(width=8))
    images = torch.rand(2, 1, 32, 32, 32)
    with torch.inference_mode():
        assert torch.allclose(network(images)[:1], network(images[:1]), atol=1e-5)


def test_the_sigmoid_head_is_the_sigmoid_of_the_logits():
    torch.manual_seed(0)
    logits = CASNet(width=8).eval()
    sigmoid = CASNet(width=8, final_activation="sigmoid").eval()
    sigmoid.load_state_dict(logits.state_dict())
    image = torch.rand(1, 1, 16, 16, 16)
    assert torch.equal(sigmoid(image), logits(image).sigmoid())


def test_without_the_transposed_convolutions_the_decoder_takes_the_fused_skip_alone():
    network = CASNet(width=8, decoder_input="agff").eval()
    assert not any("up." in name for name in network.state_dict())
    assert network(torch.rand(1, 1, 16, 16, 16)).shape == (1, 2, 16, 16, 16)


def test_dropout_adds_no_tensor_and_changes_the_training_output_only():
    torch.manual_seed(0)
    network = lively(CASNet(width=8, dropout=0.9))
    assert network.state_dict().keys() == CASNet(width=8).state_dict().keys()
    image = torch.rand(2, 1, 16, 16, 16)
    assert torch.equal(network(image), network(image))
    network.bottleneck.eval()
    network.dropout.train()
    assert not torch.equal(network(image), network(image))


def test_half_of_the_fusion_attention_is_never_used():
    fusion = AttentionGuidedFusion(8)
    encoder, deeper = torch.rand(1, 8, 4, 4, 4), torch.rand(1, 16, 2, 2, 2)
    before = fusion(encoder, deeper)
    with torch.no_grad():
        fusion.attention[2].weight[8:] = 0
    assert torch.equal(fusion(encoder, deeper), before)


def test_reducing_before_enlarging_equals_reducing_after_it():
    fusion = AttentionGuidedFusion(8)
    deeper = torch.rand(1, 16, 3, 4, 5)
    late = fusion.reduce(nn.functional.interpolate(deeper, (6, 8, 10), mode="trilinear", align_corners=True))
    early = nn.functional.interpolate(fusion.reduce(deeper), (6, 8, 10), mode="trilinear", align_corners=True)
    assert torch.allclose(early, late, atol=1e-5)


def test_attention_rows_sum_to_one():
    """With constant values every position receives exactly that constant, added to its own map."""
    block = lively(ScaleAwareEnhancement(8))
    block.value.weight.data.zero_()
    image = torch.rand(1, 8, 3, 4, 5)
    shifted = block(image)
    bias = block.value.bias.data.clone()
    block.value.bias.data.zero_()
    assert torch.allclose(shifted - block(image), bias[None, :, None, None, None].expand_as(shifted), atol=1e-5)


def test_attention_equals_its_written_out_form():
    block = lively(ScaleAwareEnhancement(8))
    mixed = torch.rand(1, 8, 2, 3, 4)
    for gate in block.gates:  # gates wide open: sigmoid(50) is 1
        gate[1].weight.data.zero_()
        gate[1].bias.data.fill_(50)
    query, key, value = (conv(mixed).flatten(2)[0] for conv in (block.query, block.key, block.value))  # (C, N)
    scores = torch.einsum("cn,ck->nk", query, key) / 8**0.5
    expected = torch.einsum("nk,ck->cn", scores.softmax(1), value).reshape(mixed.shape) + mixed
    assert torch.allclose(block(mixed), expected, atol=1e-5)


@pytest.mark.parametrize(("group", "rate"), [(0, 1), (1, 2), (2, 3), (3, 5)])
def test_a_dilated_branch_sees_exactly_its_offsets(group, rate):
    convolution = ScaleAwareEnhancement(8).gates[group][0]
    impulse = torch.zeros(1, 2, 13, 13, 13)
    impulse[..., 6, 6, 6] = 1
    reached = (convolution(impulse) - convolution.bias[:, None, None, None]).abs().sum(1)[0].nonzero() - 6
    assert {tuple(offset) for offset in reached.tolist()} == {
        (x, y, z) for x in (-rate, 0, rate) for y in (-rate, 0, rate) for z in (-rate, 0, rate)
    }


@pytest.mark.parametrize("change", ["query and key", "scale", "attention input"])
def test_a_change_of_the_architecture_shows(change):
    torch.manual_seed(0)
    network, changed = lively(CASNet(width=8)), lively(CASNet(width=8, scaled_attention=change != "scale"))
    changed.load_state_dict(network.state_dict())
    if change == "query and key":  # same shape of kernel for both, so that they can be exchanged
        block = changed.bottleneck
        block.query, block.key = block.key, block.query
    if change == "attention input":
        for level in changed.decoder:
            weight = level.fusion.attention[0].weight.data
            weight.copy_(weight.roll(weight.shape[1] // 2, dims=1))
    image = torch.rand(1, 1, 32, 32, 32)
    with torch.inference_mode():
        reference, other = network(image), changed(image)
    assert (reference - other).abs().max() > 0.01 * reference.abs().max()


def test_convolutions_start_from_kaiming_and_transposed_ones_do_not():
    torch.manual_seed(0)
    fresh = CASNet()
    for part, fan_in in {"encoder.4.conv2": 256 * 27, "bottleneck.query": 256 * 3}.items():
        assert fresh.get_parameter(f"{part}.weight").std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.02)
        assert not fresh.get_parameter(f"{part}.bias").any()
    assert fresh.get_parameter("decoder.0.up.bias").any()
