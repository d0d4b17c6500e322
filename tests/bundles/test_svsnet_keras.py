"""The authors' Keras weights in SVS-net's network (acceptance facts of the method)."""

import sys

import h5py
import numpy as np
import pytest
import torch
from svsnet.keras import from_keras, keras_layers, read_keras
from svsnet.network import SVSNet
from torch import nn
from torch.nn import functional

ROLES = {2: ["kernel", "bias"], 4: ["gamma", "beta", "moving_mean", "moving_variance"]}


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


def write_hdf5(path, layers, layout="weights"):
    """Write weights as Keras 2 does: its weights alone, a whole model, one wrapped for several GPUs, a later one."""
    numbers = {"conv3d": 28, "conv2d": 31, "batch_normalization": 36} if layout == "counted on" else {}
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights") if layout == "model" else file
        owners = {}
        for layer, arrays in layers.items():
            kind, number = layer.rsplit("_", 1)
            name = f"{kind}_{int(number) + numbers.get(kind, 0)}"
            weights = {f"{name}/{role}:0": array for role, array in zip(ROLES[len(arrays)], arrays, strict=True)}
            owners.setdefault("model_1" if layout == "wrapped" else name, {}).update(weights)
        owners = {"input_1": {}, **dict(sorted(owners.items())), "activation_1": {}}  # not in their computing order
        group.attrs["layer_names"] = [name.encode() for name in owners]
        for owner, weights in owners.items():
            layer = group.create_group(owner)
            layer.attrs["weight_names"] = [name.encode() for name in weights]
            for name, array in weights.items():
                layer.create_dataset(name, data=array)


def keras_forward(layers, image, levels):
    """The published graph as Keras computes it, written from its description over arrays in their own layout."""
    counts = {"conv3d": 0, "conv2d": 0, "batch_normalization": 0}

    def arrays(kind):
        counts[kind] += 1
        return [torch.from_numpy(array) for array in layers[f"{kind}_{counts[kind]}"]]

    def conv(x, stride=1, same=True):
        kernel, bias = arrays(f"conv{x.ndim - 2}d")
        kernel = kernel.movedim((-1, -2), (0, 1))
        padding = []
        for size in kernel.shape[:1:-1]:  # what is odd goes behind
            padding += [(size - 1) // 2, size // 2] if same else [0, 0]
        if stride != 1:
            padding[:4] = [0] * 4  # even sides, halved by a kernel of 2
        run = functional.conv3d if x.ndim == 5 else functional.conv2d
        return run(functional.pad(x, padding), kernel, bias, stride)

    def norm(x):
        gamma, beta, mean, variance = (array.view(-1, *[1] * (x.ndim - 2)) for array in arrays("batch_normalization"))
        return (x - mean) / (variance + 1e-3).sqrt() * gamma + beta

    def residual(x):
        hidden = norm(conv(x)).relu()
        return (norm(conv(hidden)) + x).relu()

    x = conv(image)
    skips = []
    for level in range(levels):
        x = fused = residual(x)
        if level == levels - 1:
            fused = x * conv(conv(x.amax((2, 3, 4), keepdim=True)).relu()).sigmoid()
        skips.append(conv(fused, same=False)[:, :, 0])
        x = norm(conv(x, stride=(1, 2, 2))).relu()
    x = conv(x, same=False)[:, :, 0]
    for skip in reversed(skips):
        x = norm(conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3))).relu()
        means = torch.cat([skip, x], 1).mean((2, 3), keepdim=True)
        x = residual(skip * conv(conv(means).relu()).sigmoid() + x)
    return conv(x).sigmoid()


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


@pytest.mark.parametrize("layout", ["weights", "model", "wrapped", "counted on"])
def test_every_layout_of_a_keras_file_gives_the_same_layers(network, tmp_path, layout):
    layers = as_keras(network)
    write_hdf5(tmp_path / "weights.h5", layers, layout)
    found = read_keras(tmp_path / "weights.h5")
    assert found.keys() == layers.keys()
    assert all(np.array_equal(a, b) for name in layers for a, b in zip(found[name], layers[name], strict=True))


def test_layers_that_the_network_does_not_have_are_refused(network):
    layers = as_keras(network)
    layers["conv3d_99"] = layers["conv3d_1"]
    with pytest.raises(ValueError, match=r"layers that the network has not: \['conv3d_99'\]"):
        from_keras(layers, network)


def test_a_file_of_keras_3_is_refused(tmp_path):
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        file.create_dataset("layers/conv3d/vars/0", data=np.zeros((1, 1, 1, 1, 8)))
    with pytest.raises(ValueError, match=r"not a file of weights that Keras 2 has written: .* Keras 3"):
        read_keras(tmp_path / "weights.h5")


def test_a_layer_of_another_kind_is_refused(network, tmp_path):
    layers = as_keras(network)
    write_hdf5(tmp_path / "weights.h5", layers | {"dense_1": layers["conv3d_1"]})
    with pytest.raises(ValueError, match="'dense_1' has the arrays"):
        read_keras(tmp_path / "weights.h5")


def test_a_file_that_is_cut_off_is_refused(network, tmp_path):
    write_hdf5(tmp_path / "weights.h5", as_keras(network))
    content = (tmp_path / "weights.h5").read_bytes()
    (tmp_path / "weights.h5").write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match="not a file of weights that Keras 2 has written"):
        read_keras(tmp_path / "weights.h5")


def test_without_h5py_the_package_to_install_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(ValueError, match="pip install h5py"):
        read_keras(tmp_path / "weights.h5")
