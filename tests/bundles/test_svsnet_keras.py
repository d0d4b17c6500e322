"""The authors' Keras weights in SVS-net's network (acceptance facts of the method)."""

import numpy as np
import pytest
import torch
from svsnet.keras import from_keras, keras_layers
from svsnet.network import SVSNet
from torch import nn


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SVSNet(widths=(2, 3, 4)).eval()


def as_keras(network, seed=0):
    """Weights as the authors' network has them: a bias before every norm, kernels with the channels last."""
    random = np.random.default_rng(seed)
    layers = {}
    for name, layer in keras_layers(network).items():
        module = network.get_submodule(name)
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            kernel = module.weight.detach().numpy()
            layers[layer] = [
                np.moveaxis(kernel, (0, 1), (-1, -2)),
                random.normal(size=len(kernel)).astype(np.float32),
            ]
        else:
            layers[layer] = [random.uniform(0.5, 1, module.num_features).astype(np.float32) for _ in range(4)]
    return layers


def test_layers_have_the_names_of_the_published_graph():
    layers = keras_layers(SVSNet(widths=(2,) * 7))
    expected = {"stem": "conv3d_1", "bottleneck": "conv3d_28", "head": "conv2d_31"}
    for stage, (first, norm) in enumerate([(2, 1), (6, 4), (10, 7), (14, 10), (18, 13), (22, 16)]):
        after = 2 if stage == 5 else 0
        expected |= {
            f"encoder.{stage}.block.conv1": f"conv3d_{first}",
            f"encoder.{stage}.block.norm1": f"batch_normalization_{norm}",
            f"encoder.{stage}.block.conv2": f"conv3d_{first + 1}",
            f"encoder.{stage}.block.norm2": f"batch_normalization_{norm + 1}",
            f"encoder.{stage}.fuse": f"conv3d_{first + 2 + after}",
            f"encoder.{stage}.down.conv": f"conv3d_{first + 3 + after}",
            f"encoder.{stage}.down.norm": f"batch_normalization_{norm + 2}",
        }
    expected |= {"encoder.5.attention.hidden": "conv3d_24", "encoder.5.attention.gate": "conv3d_25"}
    for level in range(1, 7):
        names = {"up.conv": -4, "hidden": -3, "gate": -2, "block.conv1": -1, "block.conv2": 0}
        norms = {"up.norm": 16, "block.norm1": 17, "block.norm2": 18}
        expected |= {f"decoder.{level - 1}.{name}": f"conv2d_{5 * level + n}" for name, n in names.items()}
        expected |= {f"decoder.{level - 1}.{name}": f"batch_normalization_{n + 3 * level}" for name, n in norms.items()}
    assert layers == expected


def test_every_tensor_is_converted_in_its_place(network):
    state = from_keras(as_keras(network), network)
    assert state.keys() == network.state_dict().keys()
    expected = {
        name: module.weight for name, module in network.named_modules() if isinstance(module, nn.Conv2d | nn.Conv3d)
    }
    assert all(torch.equal(state[f"{name}.weight"], weight) for name, weight in expected.items())
    network.load_state_dict(state)


def test_a_bias_before_a_norm_moves_into_its_mean(network):
    layers = as_keras(network)
    layers["conv3d_2"][1][:], layers["batch_normalization_1"][2][:] = 0.3, 0.5
    assert torch.allclose(from_keras(layers, network)["encoder.0.block.norm1.running_mean"], torch.tensor(0.2))


def test_the_converted_block_computes_what_the_biased_one_does(network):
    layers = as_keras(network)
    network.load_state_dict(from_keras(layers, network))
    image = torch.rand(1, 2, 4, 5, 5)
    block = network.encoder[0].block
    weight, bias = block.conv1.weight, torch.tensor(layers["conv3d_2"][1])
    gamma, beta, mean, variance = map(torch.tensor, layers["batch_normalization_1"])
    biased = nn.functional.conv3d(image, weight, bias, padding=1)
    expected = nn.functional.batch_norm(biased, mean, variance, gamma, beta, eps=1e-3)
    assert torch.allclose(block.norm1(block.conv1(image)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda layers: layers.pop("conv2d_3"), "no layer 'conv2d_3'"),
        (lambda layers: layers["conv3d_1"].pop(), "kernel and a bias, got 1"),
        (lambda layers: layers["batch_normalization_2"].pop(), "gamma, beta, mean and variance, got 3"),
        (lambda layers: layers.update(conv3d_4=layers["conv3d_3"]), "has shape .* the network needs"),
    ],
    ids=["missing", "no bias", "no variance", "shape"],
)
def test_weights_of_another_network_are_refused(network, change, message):
    layers = as_keras(network)
    change(layers)
    with pytest.raises(ValueError, match=message):
        from_keras(layers, network)
