"""Tensors of a checkpoint in the places of a network."""

import re
from collections import OrderedDict

import pytest
import torch
from torch import nn

from common.conversion.mapping import describe, map_tensors, match_norm_eps
from common.conversion.source import Source, renamed


class Network(nn.Module):
    """Convolution, norm, convolution."""

    def __init__(self, in_channels=1, width=3, out_channels=2, eps=1e-5):
        super().__init__()
        self.first = nn.Conv2d(in_channels, width, (3, 1))
        self.norm = nn.BatchNorm2d(width, eps)
        self.second = nn.Conv2d(width, width, (3, 1))
        self.last = nn.Conv2d(width, out_channels, (1, 3))

    def forward(self, x):
        return self.last(self.second(self.norm(self.first(x))))


RULES = [("^first", "stem"), ("^norm", "bn"), ("^second", "middle"), ("^last", "out.conv")]
SOURCE = Source(title="a network", modules=lambda network: renamed(network, RULES), input_shape=lambda _: (1, 1, 5, 5))


@pytest.fixture
def network():
    torch.manual_seed(0)
    return trained(Network())


def trained(network):
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-1, 1)
            module.running_var.uniform_(0.001, 2)
            nn.init.uniform_(module.weight, 0.5, 1)
    return network.eval()


def published(network, prefix=""):
    """State dict of a network with the published names."""
    names = renamed(network, RULES)
    return OrderedDict(
        (f"{prefix}{names[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}", tensor.clone())
        for name, tensor in network.state_dict().items()
    )


def check_refused(theirs, *message, network=None):
    with pytest.raises(ValueError, match=".*".join(map(re.escape, message))):
        map_tensors(theirs, network or Network(), SOURCE)


def reordered(state, order):
    names = list(state)
    return OrderedDict((names[place], state[names[place]]) for place in order)


@pytest.mark.parametrize("prefix", ["", "module.", "model.module."], ids=["bare", "parallel", "nested"])
def test_published_names_find_their_places_whatever_all_of_them_begin_with(network, prefix):
    mapped = map_tensors(published(network, prefix), Network(), SOURCE)
    assert mapped.known
    assert [pair.ours for pair in mapped.pairs] == list(network.state_dict())
    assert all(torch.equal(pair.tensor, network.state_dict()[pair.ours]) for pair in mapped.pairs)
    assert mapped.pairs[0].theirs == f"{prefix}stem.weight"


def test_unknown_names_are_mapped_by_position_and_reported(network):
    state = OrderedDict((f"x.{name}", tensor) for name, tensor in network.state_dict().items())
    mapped = map_tensors(state, Network(), SOURCE)
    assert not mapped.known
    assert {pair.ours: pair.theirs for pair in mapped.pairs}["last.bias"] == "x.last.bias"


def test_a_file_without_counters_gets_new_ones(network):
    state = OrderedDict(item for item in published(network).items() if "num_batches" not in item[0])
    pairs = {pair.ours: pair for pair in map_tensors(state, Network(), SOURCE).pairs}
    assert pairs["norm.num_batches_tracked"].tensor == 0
    assert pairs["norm.num_batches_tracked"].theirs == ""


@pytest.mark.parametrize("kind", [torch.float16, torch.float64], ids=str)
def test_numbers_take_the_precision_of_the_network(network, kind):
    state = published(network)
    state["stem.weight"] = state["stem.weight"].to(kind)
    assert map_tensors(state, Network(), SOURCE).pairs[0].tensor.dtype == torch.float32


def test_what_is_no_part_of_the_network_is_left_aside(network):
    source = Source(title="", modules=SOURCE.modules, input_shape=SOURCE.input_shape, left_aside=r"^classifier\.")
    state = published(network) | {"classifier.weight": torch.zeros(3, 3)}
    assert len(map_tensors(state, Network(), source).pairs) == len(network.state_dict())
    check_refused(state, "'classifier.weight' [3, 3], the network no more")


def test_a_cut_off_file_is_refused(network):
    check_refused(
        reordered(published(network), range(9)),
        "has 9 tensors, the network 11; they differ first at position 9",
        "has no more, the network 'last.weight' [2, 3, 1, 3]: the file is cut off",
    )


def test_swapped_tensors_of_one_shape_are_refused_by_their_roles(network):
    names = list(published(network))
    order = list(range(len(names)))
    order[3], order[4] = order[4], order[3]  # the norm's bias and mean
    check_refused(
        reordered(published(network), order),
        "position 3",
        "'bn.running_mean' [3], the network 'norm.bias' [3]: its tensors are in another order",
    )


def test_published_names_in_another_order_are_refused_even_where_shapes_agree():
    torch.manual_seed(0)
    network = trained(Network(in_channels=3))
    order = [7, 8, 2, 3, 4, 5, 6, 0, 1, 9, 10]  # the two convolutions are of one shape
    message = "right tensors in another order: at position 0 stands 'middle.weight', where 'stem.weight' belongs"
    check_refused(reordered(published(network), order), message, network=network)


def test_unknown_names_whose_modules_are_torn_apart_are_refused():
    torch.manual_seed(0)
    network = Network(in_channels=3)
    state = OrderedDict((f"x.{name}", tensor) for name, tensor in network.state_dict().items())
    order = list(range(len(state)))
    order[1], order[8] = order[8], order[1]  # the biases of two convolutions
    check_refused(reordered(state, order), "'x.second.bias' would become 'first.bias'", network=network)


def test_axes_in_another_order_are_told_apart_from_other_sizes(network):
    state = published(network)
    state["stem.weight"] = state["stem.weight"].permute(2, 3, 1, 0)
    check_refused(state, "[3, 1, 1, 3], the network 'first.weight' [3, 1, 3, 1]: the axes are in another order")


@pytest.mark.parametrize(
    ("options", "meaning"),
    [
        ({"in_channels": 2}, "takes 2 channels: give --network_def::in_channels 2"),
        ({"out_channels": 4}, "gives 4 channels: give --network_def::out_channels 4"),
        ({"width": 5}, "another width or another form"),
    ],
    ids=["input", "output", "width"],
)
def test_a_network_of_other_sizes_is_refused_with_the_option_to_give(options, meaning):
    check_refused(published(Network(**options)), meaning)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda tensor: tensor.fill_(float("nan")), "'bn.weight' holds NaN"),
        (lambda tensor: tensor.to(torch.int8), "'bn.weight' is of type torch.int8"),
        (lambda tensor: tensor.to(torch.complex64), "'bn.weight' is of type torch.complex64"),
    ],
    ids=["nan", "integers", "complex"],
)
def test_values_that_are_no_weights_are_refused(network, change, message):
    state = published(network)
    state["bn.weight"] = change(state["bn.weight"])
    check_refused(state, message)


def test_norms_of_another_epsilon_compute_what_they_did():
    torch.manual_seed(0)
    theirs, ours = trained(Network(eps=1e-5)), Network(eps=1e-3)
    pairs, changed = match_norm_eps(map_tensors(published(theirs), ours, SOURCE).pairs, ours, 1e-5)
    ours.load_state_dict({pair.ours: pair.tensor for pair in pairs})
    image = torch.rand(2, 1, 5, 5)
    assert changed == 1
    assert torch.allclose(ours.eval()(image), theirs(image), rtol=1e-5, atol=1e-6)
    ours.load_state_dict(theirs.state_dict())
    assert not torch.allclose(ours(image), theirs(image), rtol=1e-3)


def test_norms_of_the_same_epsilon_stay_as_they_are(network):
    pairs = map_tensors(published(network), Network(), SOURCE).pairs
    same, changed = match_norm_eps(pairs, Network(), 1e-5)
    assert changed == 0
    assert all(torch.equal(a.tensor, b.tensor) for a, b in zip(pairs, same, strict=True))


def test_the_table_has_a_line_for_each_module(network):
    lines = describe(map_tensors(published(network), Network(), SOURCE).pairs).splitlines()
    assert lines == [
        "first   <-  stem      weight [3, 1, 3, 1] + bias",
        "norm    <-  bn        weight [3] + bias + running_mean + running_var",
        "second  <-  middle    weight [3, 3, 3, 1] + bias",
        "last    <-  out.conv  weight [2, 3, 1, 3] + bias",
    ]
