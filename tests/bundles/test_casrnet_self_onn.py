"""The Self-ONN layer against its formula, written out by hand and as a sum of convolutions."""

import math

import pytest
import torch
from casrnet.self_onn import SelfONN2d
from torch import nn
from torch.nn import functional

SETTINGS = {
    "plain": {"kernel_size": 3},
    "stride": {"kernel_size": 3, "stride": 2, "padding": 1},
    "dilation": {"kernel_size": 3, "dilation": 2, "padding": 2},
    "oblong kernel": {"kernel_size": (1, 5), "padding": (0, 2), "q": 5},
    "high order": {"kernel_size": 1, "q": 7},
    "no bias": {"kernel_size": 3, "bias": False, "q": 2},
    "reflect": {"kernel_size": 3, "padding": (1, 2), "padding_mode": "reflect"},
    "replicate": {"kernel_size": 3, "padding": 2, "padding_mode": "replicate"},
    "circular": {"kernel_size": 3, "padding": 1, "padding_mode": "circular", "stride": (2, 1)},
}
each_setting = pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)


def layer(*args, **settings):
    torch.manual_seed(0)
    return SelfONN2d(*args, **settings).double()


def bounded(*shape):
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 2 - 1


def set_weights(layer, weights, bias):
    layer.weight.data.copy_(torch.tensor(weights).reshape(layer.weight.shape))
    layer.bias.data.fill_(bias)


def test_one_pixel_gives_the_polynomial_of_its_value():
    polynomial = layer(1, 1, 1, q=3)
    set_weights(polynomial, [1.0, 2.0, 4.0], 0.1)
    value = polynomial(torch.full((1, 1, 1, 1), 0.5, dtype=torch.float64)).item()
    assert value == pytest.approx(0.1 + 1 * 0.5 + 2 * 0.5**2 + 4 * 0.5**3) == pytest.approx(1.6)


def test_the_weight_holds_all_channels_of_one_power_before_the_next_power():
    polynomial = layer(2, 1, 1, q=3)
    set_weights(polynomial, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 0.25)
    x = torch.tensor([0.5, -1.0], dtype=torch.float64).reshape(1, 2, 1, 1)
    by_hand = 0.25 + (1 * 0.5 - 2 * 1) + (3 * 0.25 + 4 * 1) + (5 * 0.125 - 6 * 1)
    assert polynomial(x).item() == pytest.approx(by_hand) == pytest.approx(-1.875)


@each_setting
def test_the_layer_is_the_sum_of_one_convolution_for_each_power(settings):
    settings = {"q": 3, **settings}
    ours = layer(2, 3, **settings)
    options = {name: value for name, value in settings.items() if name != "q"}
    x = bounded(2, 2, 9, 11)
    total = 0.0
    for power, kernel in enumerate(ours.weight.split(2, dim=1), start=1):
        convolution = nn.Conv2d(2, 3, **{**options, "bias": False}).double()
        convolution.weight.data.copy_(kernel)
        total = total + convolution(x**power)
    bias = 0.0 if ours.bias is None else ours.bias[:, None, None]
    assert (ours(x) - total - bias).abs().max() < 1e-12


@each_setting
def test_convolving_power_by_power_changes_neither_output_nor_gradient(settings):
    whole, chunked = layer(2, 3, **settings), layer(2, 3, chunked=True, **settings)
    chunked.load_state_dict(whole.state_dict())
    x, y = (bounded(2, 2, 9, 11).requires_grad_() for _ in range(2))
    first, second = whole(x), chunked(y)
    first.square().sum().backward()
    second.square().sum().backward()
    assert (first - second).abs().max() < 1e-12
    assert (x.grad - y.grad).abs().max() < 1e-11
    assert (whole.weight.grad - chunked.weight.grad).abs().max() < 1e-10


def test_the_first_order_is_a_convolution_bit_for_bit():
    ours = layer(2, 3, 3, q=1, padding=1)
    x = bounded(1, 2, 8, 8)
    assert torch.equal(ours(x), functional.conv2d(x, ours.weight, ours.bias, padding=1))


def test_a_zero_image_gives_the_bias():
    ours = layer(2, 3, 3, padding=1)
    out = ours(torch.zeros(1, 2, 5, 5, dtype=torch.float64))
    assert torch.equal(out, ours.bias[None, :, None, None].expand_as(out))


def test_odd_powers_alone_make_an_odd_function():
    ours = layer(2, 3, 3, q=4, bias=False)
    for even in (1, 3):
        ours.weight.data[:, 2 * even : 2 * even + 2] = 0
    x = bounded(1, 2, 8, 8)
    assert torch.equal(ours(-x), -ours(x))


def test_a_new_layer_stays_within_the_published_bounds_and_reaches_them():
    fresh = [layer(2, 3, 3, q=3) for _ in range(20)]
    for number, ours in enumerate(fresh):
        torch.manual_seed(number)
        ours.reset_parameters()
    weight = torch.stack([ours.weight for ours in fresh]).abs().max().item()
    bias = torch.stack([ours.bias for ours in fresh]).abs().max().item()
    fan_in, fan_out = 3 * 2 * 9, 3 * 9
    bound = 5 / 3 * math.sqrt(6 / (fan_in + fan_out))
    assert bound == pytest.approx(0.453609, abs=1e-6)
    assert 1 / math.sqrt(fan_in) == pytest.approx(0.136083, abs=1e-6)
    assert 0.98 * bound < weight <= bound
    assert 0.9 / math.sqrt(fan_in) < bias <= 1 / math.sqrt(fan_in)


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
def test_gradients_are_right_at_zero_and_below(chunked):
    ours = layer(1, 2, 3, q=5, padding=1, chunked=chunked)
    x = torch.tensor([[0.0, -0.7, 0.3], [-1.0, 0.0, 1.0], [0.5, -0.2, 0.0]], dtype=torch.float64)
    x = x[None, None].requires_grad_()
    assert torch.autograd.gradcheck(ours, (x,))
    assert torch.autograd.gradgradcheck(ours, (x,))


def test_powers_are_taken_in_single_precision_under_autocast():
    ours = SelfONN2d(1, 1, 1, q=7, bias=False)
    ours.weight.data.zero_()[:, 0] = 1.0
    with torch.autocast("cpu", torch.bfloat16):
        out = ours(torch.full((1, 1, 2, 2), 0.5, dtype=torch.bfloat16))
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, torch.full_like(out, 0.5))


def test_a_layer_in_half_precision_takes_and_gives_half_precision():
    ours = SelfONN2d(2, 3, 3).to(torch.bfloat16)
    assert ours(torch.zeros(1, 2, 4, 4, dtype=torch.bfloat16)).dtype == torch.bfloat16


def test_a_printed_layer_names_its_order():
    assert "q=3" in repr(SelfONN2d(1, 2, 3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"q": 0}, "q must be at least 1, got 0"),
        ({"padding": -1}, "padding must be at least 0, got -1"),
        ({"kernel_size": (3, 0)}, "kernel_size must be at least 1, got 0"),
        ({"in_channels": 0}, "in_channels must be at least 1"),
        ({"padding_mode": "same"}, "padding_mode must be one of"),
    ],
    ids=["order", "automatic padding", "kernel", "channels", "mode"],
)
def test_settings_that_cannot_work_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        SelfONN2d(**{"in_channels": 1, "out_channels": 1, "kernel_size": 3, **settings})
