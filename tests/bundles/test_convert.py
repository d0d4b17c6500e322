"""Published checkpoints, built in the names and the order that their authors' code gives, become weights of bundles."""

import json
import sys
from collections import OrderedDict
from importlib import import_module

import numpy as np
import pytest
import torch
from casrnet.network import CASRNet
from monai.bundle import ConfigParser
from syncas.heads import ProjectionHeads

from common import __main__ as command_line
from common.conversion.command import convert
from common.weights import load_weights

from ..conftest import ROOT
from .test_svsnet_keras import as_keras, keras_forward, write_hdf5

SMALL = {  # of a network and of the command
    "casnet": {"width": 8},
    "syncas": {"width": 2},
    "centerline_unet": {"widths": [2, 3, 4, 5, 6]},
    "casrnet": {"init_features": 4, "growth_rate": 2, "block_config": [2, 1, 1, 1], "widths": [4] * 5},
    "svsnet": {"widths": [2, 3, 4, 5, 6, 7, 8]},
}
NETWORKS = {
    "casnet": "CASNet",
    "syncas": "SynCASNet",
    "centerline_unet": "CenterlineUNet",
    "casrnet": "CASRNet",
    "svsnet": "SVSNet",
}


def casnet():
    for level in ["enc_input", *(f"encoder{number}" for number in (1, 2, 3, 4))]:
        yield from (f"{level}.{name}" for name in ("conv1", "bn1", "conv2", "bn2", "conv1x1"))
    yield from (f"safe.branches.{branch}.{layer}" for branch in range(4) for layer in (0, 1))
    yield from ("safe.q_conv", "safe.k_conv", "safe.v_conv")
    for level in (4, 3, 2, 1):
        yield from (f"agff{level}.{name}" for name in ("channel_reduce", "mlp.0", "mlp.2"))
        yield from (f"decoder{level}.conv.{layer}" for layer in (0, 1, 3, 4))
        yield f"deconv{level}"
    yield from (f"msfa.compress.{scale}" for scale in range(4))
    yield from (f"msfa.att_convs.{scale}" for scale in range(3))
    yield "msfa.out_conv"


def syncas():
    for conv in (0, 3, 6, 10, 13, 17, 20, 24, 27, 31, 34, 38, 41, 45, 48, 52, 55, 59, 62):
        yield from (f"model.{conv}", f"model.{conv + 1}")
    yield "model.65"


def centerline_unet():
    def block(name):
        return [f"{name}.conv_conv.{unit}.{layer}" for unit in (0, 2) for layer in ("norm", "conv")]

    yield from block("encoder.stem")
    for level in (1, 2, 3, 4):
        yield from block(f"encoder.down{level}.maxpool_conv.1")
    for level in (1, 2, 3, 4):
        yield from (f"decoder.up{level}.up", f"decoder.up{level}.conv.0", *block(f"decoder.up{level}.conv.1"))
    yield "decoder.out_conv"


def densenet():
    yield from ("features.conv0", "features.norm0")
    for block, layers in enumerate([2, 1, 1, 1], start=1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            yield from (f"{name}.{part}" for part in ("norm1", "conv1", "norm2", "conv2"))
        if block < 4:
            yield from (f"features.transition{block}.{part}" for part in ("norm", "conv"))
    yield "features.norm5"


def svsnet():
    yield "conv0.conv"
    for stage in (1, 2, 3, 4, 5, 6):
        yield from (f"enc{stage}.{name}" for name in ("conv1.conv", "bn1", "conv2.conv", "bn2"))
        if stage == 6:
            yield from ("att6.fc1", "att6.fc2")
        yield from (f"skip{stage}.project", f"down{stage}.0.conv", f"down{stage}.1")
    yield "bottleneck.project"
    for level in (1, 2, 3, 4, 5, 6):
        yield from (f"up{level}_conv.0.conv", f"up{level}_conv.1", f"up{level}_att.fc1", f"up{level}_att.fc2")
        yield from (f"up{level}_block.{name}" for name in ("conv1.conv", "bn1", "conv2.conv", "bn2"))
    yield "out"


CASES = [  # package, source, module names in the order of the authors' code, options of the network
    pytest.param("casnet", "official", casnet, {}, id="CAS-Net"),
    pytest.param("syncas", "official", syncas, {}, id="SynCAS"),
    pytest.param("centerline_unet", "official", centerline_unet, {}, id="centerline U-Net, 3-D"),
    pytest.param("centerline_unet", "official-2d", centerline_unet, {"spatial_dims": 2}, id="centerline U-Net, 2-D"),
    pytest.param("casrnet", "imagenet", densenet, {}, id="DenseNet"),
    pytest.param("svsnet", "pytorch", svsnet, {}, id="SVS-net, port"),
]


def new_network(package, seed=0, **options):
    """A small network in evaluation whose norms and biases are not what all networks begin with."""
    torch.manual_seed(seed)
    network = getattr(import_module(f"{package}.network"), NETWORKS[package])(**SMALL[package] | options).eval()
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5) if "var" in name or "weight" in name else tensor.uniform_(-0.2, 0.2)
    return network


def filled(package, network):
    """The part of a network that a checkpoint fills."""
    return network.encoder.features if package == "casrnet" else network


def as_published(package, network, names):
    """State dict of the network with the published names, by position."""
    state = filled(package, network).state_dict()
    modules = dict(zip(dict.fromkeys(name.rpartition(".")[0] for name in state), names(), strict=True))
    return OrderedDict(
        (f"{modules[name.rpartition('.')[0]]}.{name.rpartition('.')[2]}", tensor.clone())
        for name, tensor in state.items()
    )


def image_for(package, network):
    shape = import_module(f"{package}.published").PUBLISHED
    shape = next(iter(shape.values())).input_shape(filled(package, network))
    return torch.rand(*shape, generator=torch.Generator().manual_seed(7))


def converted(package, path, out, **options):
    flags = {f"network_def::{name}": value for name, value in SMALL[package].items()}
    return convert(str(path), bundle=str(ROOT / "bundles" / f"{package}_bundle"), out=str(out), **flags | options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pth"


@pytest.fixture
def out(tmp_path):
    return tmp_path / "models" / "model.pt"


@pytest.mark.parametrize(("package", "source", "names", "options"), CASES)
def test_the_network_computes_exactly_what_the_published_one_does(package, source, names, options, path, out):
    original, network = new_network(package, **options), new_network(package, seed=1, **options)
    state = as_published(package, original, names)
    if package == "svsnet":
        for module in original.modules():
            module.eps = 1e-5 if isinstance(module, torch.nn.modules.batchnorm._BatchNorm) else None
    torch.save(state, path)
    converted(package, path, out, source=source)
    load_weights(out, filled(package, network))
    image = image_for(package, original)
    with torch.inference_mode():
        expected, found = filled(package, original)(image), filled(package, network)(image)
    if package == "svsnet":  # the norms' factors are others, so the last digits are
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    else:
        assert torch.equal(found, expected)
    assert json.loads(out.with_suffix(".json").read_text())["converted"]["names_as_published"]


@pytest.mark.parametrize(("package", "source", "names", "options"), CASES)
def test_swapped_modules_of_equal_shapes_are_refused(package, source, names, options, path, out):
    state = as_published(package, new_network(package, **options), names)
    keys = list(state)
    shapes = [state[key].shape for key in keys]
    kernels = [i for i, key in enumerate(keys) if key.endswith(".weight") and state[key].ndim > 2]
    i, j = next((i, j) for i in kernels for j in kernels if i < j and shapes[i] == shapes[j])
    keys[i], keys[j] = keys[j], keys[i]
    torch.save(OrderedDict((key, state[key]) for key in keys), path)
    with pytest.raises(ValueError, match=f"in another order: at position {i} stands"):
        converted(package, path, out, source=source)
    assert not out.exists()


@pytest.mark.parametrize("package", NETWORKS)
def test_options_of_published_networks_are_options_of_inference_and_evaluation(package):
    for name in ("inference.yaml", "evaluate.yaml"):
        config = ConfigParser()
        config.read_config(ROOT / "bundles" / f"{package}_bundle" / "configs" / name)
        for source in import_module(f"{package}.published").PUBLISHED.values():
            named = {option for option in source.options if not option.startswith("network_def::")}
            assert {option for option in named | {"network"} if option not in config} == set()


@pytest.mark.parametrize(
    ("package", "source", "names", "order"),
    [
        ("casnet", "official", casnet, "SPL"),
        ("casnet", "imagecas-x", casnet, "LPS"),
        ("syncas", "official", syncas, "SPL"),
    ],
    ids=["CAS-Net, official", "CAS-Net, ImageCAS-X", "SynCAS"],
)
def test_with_its_overlay_a_bundle_sees_volumes_as_the_published_network_did(package, source, names, order, path, out):
    original = new_network(package)
    torch.save(as_published(package, original, names), path)
    converted(package, path, out, source=source)
    config = ConfigParser()
    config.read_config(
        [ROOT / "bundles" / f"{package}_bundle" / "configs" / "inference.yaml", out.with_suffix(".json")]
    )
    config["device"] = "cpu"
    network = config.get_parsed_content("network").eval()
    load_weights(out, network)
    shape = (16, 32, 16) if package == "casnet" else (32, 48, 32)
    volume = torch.rand(1, 1, *shape, generator=torch.Generator().manual_seed(3))  # to the right, front and top
    seen = volume.flip(2, 3)  # to the left, back and top
    seen = seen.permute(0, 1, 4, 3, 2) if order == "SPL" else seen
    with torch.inference_mode():
        expected = original(seen)
        expected = (expected.permute(0, 1, 4, 3, 2) if order == "SPL" else expected).flip(2, 3)
        assert torch.equal(network(volume), expected)


def test_heads_of_syncas_are_written_beside_the_network(path, out):
    network = new_network("syncas")
    heads = ProjectionHeads(network.tap_channels)
    weights = {f"module.{name}": tensor for name, tensor in as_published("syncas", network, syncas).items()}
    log = {"logging": {"dice": [np.float64(0.5)]}, "_best_ema": np.float64(0.4), "current_epoch": 99}
    torch.save({"network_weights": weights, "projection_heads_weights": heads.state_dict(), **log}, path)
    converted("syncas", path, out)
    found = ProjectionHeads(network.tap_channels)
    load_weights(out.with_name("model_heads.pt"), found)
    assert all(torch.equal(found.state_dict()[name], tensor) for name, tensor in heads.state_dict().items())
    assert json.loads(out.with_suffix(".json").read_text())["converted"]["entry"] == "network_weights"


def test_heads_that_do_not_fit_stop_the_conversion(path, out):
    network = new_network("syncas")
    heads = ProjectionHeads(network.tap_channels[:3]).state_dict()
    state = {"network_weights": as_published("syncas", network, syncas), "projection_heads_weights": heads}
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"has 12 tensors, the network 16.*has no more"):
        converted("syncas", path, out)
    assert not out.exists()


@pytest.mark.parametrize(
    "dialect", ["features.denseblock1.denselayer1.norm.1.", "denseblock1.denselayer1.layers.norm1."]
)
def test_dialects_of_densenets_give_the_same_encoder(path, out, dialect):
    network = new_network("casrnet")
    state = as_published("casrnet", network, densenet)
    if ".norm.1." in dialect:  # as torchvision's first files, which have no counters
        state = {name.replace("norm1", "norm.1").replace("norm2", "norm.2"): t for name, t in state.items()}
        state = {name.replace("conv1", "conv.1").replace("conv2", "conv.2"): t for name, t in state.items()}
        state = {name: tensor for name, tensor in state.items() if "num_batches" not in name}
    else:
        state = network.encoder.features.state_dict()
    assert any(name.startswith(dialect) for name in state)
    torch.save(state | {"classifier.weight": torch.zeros(9, 9), "classifier.bias": torch.zeros(9)}, path)
    converted("casrnet", path, out)
    fresh = CASRNet(**SMALL["casrnet"], encoder_weights=out)
    expected = {name: t for name, t in network.encoder.state_dict().items() if "num_batches" not in name}
    assert all(torch.equal(fresh.encoder.state_dict()[name], tensor) for name, tensor in expected.items())


def test_keras_weights_compute_what_their_graph_computes(tmp_path, out):
    original, network = new_network("svsnet"), new_network("svsnet", seed=1)
    layers = as_keras(original)
    write_hdf5(tmp_path / "weights.h5", layers)
    converted("svsnet", tmp_path / "weights.h5", out)
    load_weights(out, network)
    image = image_for("svsnet", network)
    with torch.inference_mode():
        found = network(image).sigmoid()
    assert torch.allclose(found, keras_forward(layers, image, len(SMALL["svsnet"]["widths"]) - 1), atol=1e-5)
    assert float(found.std()) > 1e-3  # else nothing is compared


def test_casnet_checkpoints_of_both_trainings_are_alike_so_one_must_say_which(path, out):
    torch.save(as_published("casnet", new_network("casnet"), casnet), path)
    with pytest.raises(ValueError, match=r"fits official or imagecas-x.*say which it is with --source"):
        converted("casnet", path, out)


@pytest.mark.parametrize("dims", [2, 3])
def test_the_centerline_network_is_told_from_its_kernels(path, out, dims):
    torch.save(
        as_published("centerline_unet", new_network("centerline_unet", spatial_dims=dims), centerline_unet), path
    )
    converted("centerline_unet", path, out)
    content = json.loads(out.with_suffix(".json").read_text())
    assert content["converted"]["source"] == ("official-2d" if dims == 2 else "official")
    assert content.get("network_def::spatial_dims") == (2 if dims == 2 else None)


def test_the_final_sigmoid_of_the_authors_is_recognized(path, out, tmp_path):
    original = new_network("casnet", final_activation="sigmoid")
    torch.save(as_published("casnet", original, casnet), path)
    image = image_for("casnet", original)
    with torch.inference_mode():
        np.savez(tmp_path / "theirs.npz", input=image.numpy(), output=original(image).numpy())
    out.parent.mkdir()
    out.with_name("model_check.npz").write_bytes(b"of an earlier conversion")
    converted("casnet", path, out, source="official", verify=str(tmp_path / "theirs.npz"))
    assert "as sigmoid of the logits" in json.loads(out.with_suffix(".json").read_text())["converted"]["compared"]
    assert not out.with_name("model_check.npz").exists()


def test_an_output_that_differs_stops_the_conversion(path, out, tmp_path):
    original = new_network("casnet")
    torch.save(as_published("casnet", original, casnet), path)
    np.savez(tmp_path / "theirs.npz", input=image_for("casnet", original).numpy(), output=np.zeros((1, 2, 16, 32, 48)))
    with pytest.raises(ValueError, match="does not compute what"):
        converted("casnet", path, out, source="official", verify=str(tmp_path / "theirs.npz"))
    assert not out.exists()


def test_a_checkpoint_that_can_be_run_is_compared(path, out):
    original = new_network("casnet")
    torch.jit.trace(original, image_for("casnet", original), check_trace=False).save(str(path))
    converted("casnet", path, out, source="imagecas-x", allow_pickle=True)
    found = json.loads(out.with_suffix(".json").read_text())["converted"]
    assert "equal to the network in the checkpoint as logits" in found["compared"]
    assert not found["names_as_published"]


def test_without_an_original_a_check_is_left_for_its_owner(path, out):
    original = new_network("casnet")
    torch.save(as_published("casnet", original, casnet), path)
    converted("casnet", path, out, source="official")
    with np.load(out.with_name("model_check.npz")) as arrays, torch.inference_mode():
        assert np.array_equal(original(torch.from_numpy(arrays["input"])).numpy(), arrays["output"])


def test_weights_are_exact_unless_halved(path, out):
    state = as_published("casnet", new_network("casnet"), casnet)
    torch.save(state, path)
    converted("casnet", path, out, source="official")
    exact = torch.load(out, weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(exact.values(), state.values(), strict=True))
    converted("casnet", path, out, source="official", half=True, overwrite=True)
    halved = torch.load(out, weights_only=True)
    assert halved["head.output.weight"].dtype == torch.float16
    assert halved["encoder.0.norm1.running_mean"].dtype == torch.float32


def test_released_weights_are_kept_and_others_not_replaced_without_a_word(path, out):
    torch.save(as_published("casnet", new_network("casnet"), casnet), path)
    out.parent.mkdir()
    out.write_bytes(b"released")
    converted("casnet", path, out, source="official")
    assert out.with_name("model_released.pt").read_bytes() == b"released"
    out.write_bytes(b"of a long training")
    with pytest.raises(ValueError, match=r"not the released ones .*--overwrite True"):
        converted("casnet", path, out, source="official")
    assert out.read_bytes() == b"of a long training"
    converted("casnet", path, out, source="official", overwrite=True)
    assert out.with_name("model_released.pt").read_bytes() == b"released"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"source": "keras"}, "source must be auto or one of official, imagecas-x, got 'keras'"),
        ({"sorce": "official"}, "there is no option 'sorce'"),
        ({"bundle": "casnet"}, "no bundle at casnet"),
        ({"source": "official", "out": "model.json", "network_def::width": 8}, "ends in .pt, got model.json"),
    ],
    ids=["source", "typing", "bundle", "out"],
)
def test_what_does_not_exist_is_refused(path, out, options, message):
    torch.save(as_published("casnet", new_network("casnet"), casnet), path)
    arguments = {"bundle": str(ROOT / "bundles" / "casnet_bundle"), "out": str(out), **options}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        convert(str(path), **arguments)


def test_a_missing_file_is_named(tmp_path, out):
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*none.pth"):
        converted("casnet", tmp_path / "none.pth", out)


def test_a_keras_file_is_not_for_a_network_of_torch(tmp_path, out):
    (tmp_path / "weights.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(ValueError, match=r"HDF5 file, as Keras writes it.*official, imagecas-x"):
        converted("casnet", tmp_path / "weights.h5", out)


def test_the_command_prints_the_map_and_what_to_do_next(path, out, monkeypatch, capsys):
    torch.save({"state_dict": as_published("casnet", new_network("casnet"), casnet)}, path)
    words = ["convert", str(path), "--bundle", str(ROOT / "bundles" / "casnet_bundle"), "--source", "imagecas-x"]
    monkeypatch.setattr(sys, "argv", ["common", *words, "--out", str(out), "--network_def::width", "8"])
    command_line.main()
    printed = capsys.readouterr().out
    assert "bottleneck.query              <-  safe.q_conv           weight [128, 128, 3, 1, 1] + bias\n" in printed
    assert f"\"['configs/inference.yaml','{out.with_suffix('.json')}']\"" in printed
    assert json.loads(out.with_suffix(".json").read_text())["network_def::width"] == 8
