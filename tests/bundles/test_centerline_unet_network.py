"""The centerline U-Net's networks against the published architecture (acceptance facts of the method)."""

import pytest
import torch
from centerline_unet.network import CenterlineUNet
from torch import nn

PARTS = {  # parameters of each part in 2-D and 3-D, in the order of the state dict
    "encoder.0": (9_984, 29_568),
    "encoder.1": (55_680, 166_272),
    "encoder.2": (221_952, 664_320),
    "encoder.3": (886_272, 2_655_744),
    "encoder.4": (3_542_016, 10_619_904),
    "decoder.0": (1_837_056, 4_720_640),
    "decoder.1": (459_776, 1_180_672),
    "decoder.2": (115_200, 295_424),
    "decoder.3": (28_928, 73_984),
    "head": (66, 66),
}


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.fixture(scope="module", params=[2, 3], ids=["2-D", "3-D"])
def network(request):
    torch.manual_seed(0)
    return CenterlineUNet(request.param)


@pytest.fixture
def dims(network):
    return network.head.weight.ndim - 2


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_the_published_number_of_parameters(network, dims, part):
    assert parameters(network.get_submodule(part)) == PARTS[part][dims - 2]


def test_the_whole_has_the_published_number_of_parameters_and_tensors(network, dims):
    assert (
        parameters(network) == sum(counts[dims - 2] for counts in PARTS.values()) == (7_156_930, 20_406_594)[dims - 2]
    )
    assert len(list(network.parameters())) == 90
    assert len(network.state_dict()) == 144
    assert len([part for part in network.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm)]) == 18


@pytest.mark.parametrize(("dims", "fewer"), [(2, 288), (3, 864)])
def test_without_the_centerline_channel_only_the_first_convolution_shrinks(dims, fewer):
    both, alone = (CenterlineUNet(dims, channels).state_dict() for channels in (2, 1))
    different = [name for name in both if both[name].shape != alone[name].shape]
    assert different == ["encoder.0.0.conv.weight"]
    assert both[different[0]].numel() - alone[different[0]].numel() == fewer


def test_the_state_dict_has_the_published_order(network):
    parts = list(dict.fromkeys(".".join(name.split(".")[:2]) for name in network.state_dict()))
    assert parts == [*list(PARTS)[:-1], "head.weight", "head.bias"]
    norm = ["norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "norm.num_batches_tracked"]
    unit = [*norm, "conv.weight", "conv.bias"]  # the norm first
    first = [name.removeprefix("encoder.0.") for name in network.state_dict() if name.startswith("encoder.0.")]
    assert first == [f"{number}.{name}" for number in (0, 2) for name in unit]
    up = [name.removeprefix("decoder.0.") for name in network.state_dict() if name.startswith("decoder.0.")]
    joined = [f"convolve.{number}.{name}" for number in (0, 2) for name in unit]
    assert up == ["enlarge.weight", "enlarge.bias", "join.weight", "join.bias", *joined]


def test_only_the_encoder_has_dropout_unless_told_otherwise(network, dims):
    assert [part.p for part in network.modules() if isinstance(part, nn.Dropout)] == [0.05] * 5 + [0.0] * 4
    other = CenterlineUNet(dims, widths=(2, 2, 2), dropout=0.3)
    assert [part.p for part in other.modules() if isinstance(part, nn.Dropout)] == [0.3] * 5


@pytest.mark.parametrize("side", [24, 40])
def test_a_side_that_cannot_be_halved_four_times_is_refused(network, dims, side):
    shape = (16,) * (dims - 1) + (side,)
    with pytest.raises(ValueError, match=rf"multiple of 16.*{side}"):
        network(torch.zeros(1, 2, *shape))


def test_the_smallest_patch_keeps_its_shape(network, dims):
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 2, *(16,) * dims)).shape == (1, 2, *(16,) * dims)


def test_an_implementation_from_the_description_gives_the_same_logits(network, dims):
    """The published forward pass, written out over the tensors of the state dict in their order."""
    network.eval()
    x = torch.randn(1, 2, *(32,) * dims, generator=torch.Generator().manual_seed(0))
    tensors = iter(network.state_dict().values())
    functional = torch.nn.functional
    conv = (functional.conv2d, functional.conv3d)[dims - 2]
    enlarge = (functional.conv_transpose2d, functional.conv_transpose3d)[dims - 2]
    pool = (functional.max_pool2d, functional.max_pool3d)[dims - 2]

    def unit(x):
        gain, shift, mean, variance, _, weight, bias = (next(tensors) for _ in range(7))
        view = (1, -1) + (1,) * dims
        y = conv(x, weight, bias, padding=1)
        y = (y - mean.view(view)) / (variance.view(view) + 1e-5).sqrt() * gain.view(view) + shift.view(view)
        return torch.where(y > 0, y, 0.01 * y)

    with torch.no_grad():
        skips = [unit(unit(x))]
        for _ in range(4):
            skips.append(unit(unit(pool(skips[-1], 2))))
        y = skips.pop()
        while skips:
            up = enlarge(y, next(tensors), next(tensors), stride=2)
            y = unit(unit(conv(torch.cat([skips.pop(), up], 1), next(tensors), next(tensors))))
        expected = conv(y, next(tensors), next(tensors))
        torch.testing.assert_close(network(x), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"spatial_dims": 4}, "2 or 3, got 4"), ({"widths": (8,)}, r"at least two levels, got \[8\]")],
    ids=["axes", "widths"],
)
def test_settings_that_make_no_network_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        CenterlineUNet(**arguments)
