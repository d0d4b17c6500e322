"""The SynCAS network: the published architecture, layer by layer."""

import pytest
import torch
from syncas.heads import ProjectionHead, ProjectionHeads
from syncas.network import SynCASNet
from torch.nn import functional

ENCODER = [(1, 16), (16, 16), (16, 16), (16, 32), (32, 32), (32, 64), (64, 64), (64, 128), (128, 128)]
DECODER = [(384, 128), (128, 128), (192, 64), (64, 64), (96, 32), (32, 32), (48, 16), (16, 16)]
WIDTHS = [*ENCODER, (128, 256), (256, 256), *DECODER]


def published(state, x, training):
    """The forward pass of the published layer list, written from the list with the tensors taken by position."""
    tensors = iter(state.values())

    def block(x):
        conv, weight, bias, mean, variance, _ = (next(tensors) for _ in range(6))
        x = functional.conv3d(functional.pad(x, (1,) * 6, mode="reflect"), conv)
        x = functional.batch_norm(x, mean.clone(), variance.clone(), weight, bias, training, 0.1, 1e-5)
        return functional.relu(x)

    x = block(x)
    skips = []
    for level in range(5):
        first = block(functional.max_pool3d(x, 2) if level else x)
        x = block(first)
        skips.append(x)
        if level == 3:
            taps = [first]
    for level in (3, 2, 1, 0):
        x = torch.cat([skips[level], functional.interpolate(x, scale_factor=2, mode="nearest")], 1)
        first = block(x)
        x = block(first)
        if level in (2, 1):
            taps.append(first)
    taps.append(x)
    return functional.conv3d(functional.pad(x, (1,) * 6, mode="reflect"), next(tensors)), taps


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = SynCASNet()
    for name, tensor in network.state_dict().items():  # nothing is 0 or 1 by default, so nothing can hide
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5) if "var" in name or "weight" in name else tensor.normal_(0, 0.2)
    return network


def test_the_state_dict_has_the_published_tensors_in_the_published_order(network):
    shapes = [tuple(tensor.shape) for tensor in network.state_dict().values()]
    expected = [shape for before, after in WIDTHS for shape in [(after, before, 3, 3, 3), *[(after,)] * 4, ()]]
    assert shapes == [*expected, (2, 16, 3, 3, 3)]
    assert len(shapes) == 115


def test_it_has_the_published_number_of_parameters(network):
    assert sum(parameter.numel() for parameter in network.parameters()) == 5_893_296


def test_the_heads_have_the_published_number_of_parameters(network):
    heads = ProjectionHeads(network.tap_channels)
    assert [sum(p.numel() for p in head.parameters()) for head in heads] == [33_024, 24_832, 20_736, 18_688]


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_it_computes_what_the_published_layer_list_computes(network, training):
    image = torch.randn(2, 1, 32, 48, 32, generator=torch.Generator().manual_seed(1))
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with torch.no_grad():
        logits, taps = network.train(training).with_features(image)
        network.load_state_dict(state)  # training has moved the running statistics
        expected_logits, expected_taps = published(state, image, training)
    assert torch.equal(logits, expected_logits)
    assert all(torch.equal(tap, expected) for tap, expected in zip(taps, expected_taps, strict=True))


def test_the_taps_lie_at_an_eighth_a_quarter_half_and_full_resolution(network):
    with torch.no_grad():
        logits, taps = network.eval().with_features(torch.zeros(1, 1, 64, 48, 32))
    assert tuple(logits.shape) == (1, 2, 64, 48, 32)
    assert [tuple(tap.shape) for tap in taps] == [
        (1, 128, 8, 6, 4),
        (1, 64, 16, 12, 8),
        (1, 32, 32, 24, 16),
        (1, 16, 64, 48, 32),
    ]


def test_the_forward_pass_returns_the_logits_alone(network):
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        assert torch.equal(network.eval()(image), network.with_features(image)[0])


@pytest.mark.parametrize("shape", [(40, 32, 32), (32, 16, 32), (32, 32, 33)])
def test_edges_it_cannot_halve_four_times_are_refused(network, shape):
    with pytest.raises(ValueError, match="multiples of 16 and at least 32"):
        network(torch.zeros(1, 1, *shape))


def test_dropout_adds_no_tensor_and_acts_in_training_only(network):
    dropping = SynCASNet(width=4, dropout=0.2)
    assert list(dropping.state_dict()) == list(network.state_dict())
    image = torch.randn(1, 1, 32, 32, 32)
    with torch.no_grad():
        assert torch.equal(dropping.eval()(image), dropping(image))
        dropping.train()
        assert not torch.equal(dropping(image), dropping(image))


@pytest.mark.parametrize(("options", "message"), [({"width": 0}, "width"), ({"dropout": 1.0}, "dropout")])
def test_options_that_make_no_network_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SynCASNet(**options)


def test_a_head_maps_to_the_unit_sphere():
    vectors = ProjectionHead(8)(torch.randn(3, 5, 8))
    assert tuple(vectors.shape) == (3, 5, 128)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(3, 5))
