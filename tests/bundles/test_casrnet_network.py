"""CASR-Net's network and the loader of its encoder's weights (acceptance facts of the method)."""

import re

import pytest
import torch
from casrnet.encoder_weights import load_encoder_weights
from casrnet.network import CASRNet, DecoderStage, DenseNetEncoder, freeze_statistics
from casrnet.self_onn import SelfONN2d
from monai.optimizers import generate_param_groups
from torch import nn

TINY = {"init_features": 8, "growth_rate": 4, "block_config": (1, 1, 1, 1), "widths": (8, 8, 8, 4, 4)}
ENCODER, HEAD, NORMS = 6_953_856, 145, 1_984
STAGES = [(1024, 1024, 256), (256, 512, 128), (128, 256, 64), (64, 64, 32), (32, 0, 16)]
DIALECTS = {
    "MONAI": r"\1.layers.\2\3.",
    "torchvision": r"\1.\2\3.",
    "torchvision, legacy": r"\1.\2.\3.",
}


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def network(**options):
    torch.manual_seed(0)
    return CASRNet(**{**TINY, **options})


@pytest.fixture(scope="module")
def full():
    torch.manual_seed(0)
    return CASRNet().eval()


def stages(q):
    with torch.device("meta"):
        return [DecoderStage(*channels, q) for channels in STAGES]


def test_the_network_has_the_stated_number_of_parameters_in_every_part(full):
    assert parameters(full) == 26_910_929
    assert parameters(full.encoder) == ENCODER
    assert parameters(full.head) == HEAD
    assert [parameters(stage) for stage in full.decoder] == [15_926_272, 3_097_088, 774_400, 138_368, 20_800]


@pytest.mark.parametrize(
    ("q", "total"), [(1, 13_607_633), (2, 20_259_281), (3, 26_910_929), (5, 40_214_225), (7, 53_517_521)], ids=str
)
def test_the_number_of_parameters_grows_with_every_power(q, total):
    assert ENCODER + HEAD + sum(map(parameters, stages(q))) == total == ENCODER + HEAD + NORMS + q * 6_651_648


def test_plain_convolutions_have_as_many_parameters_as_layers_of_the_first_order():
    assert [parameters(stage) for stage in stages(None)] == [parameters(stage) for stage in stages(1)]


def test_every_stage_can_have_an_order_of_its_own():
    orders = [layer.q for layer in network(q=[1, 2, 3, 4, 5]).modules() if isinstance(layer, SelfONN2d)]
    assert orders == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]


def test_the_full_network_gives_one_logit_for_each_pixel_and_taps_five_resolutions(full):
    with torch.inference_mode():
        assert full(torch.rand(2, 3, 96, 64)).shape == (2, 1, 96, 64)
        taps = full.encoder(torch.rand(1, 3, 64, 64))
    assert [tuple(tap.shape[1:]) for tap in taps] == [
        (64, 32, 32),
        (256, 16, 16),
        (512, 8, 8),
        (1024, 4, 4),
        (1024, 2, 2),
    ]


def test_the_taps_lead_to_the_same_deepest_map_as_the_encoder_run_as_a_whole():
    torch.manual_seed(0)
    encoder = DenseNetEncoder(3, 8, 4, (2, 1, 2, 1)).eval()
    image = torch.rand(1, 3, 64, 64)
    taps = encoder(image)
    assert torch.equal(taps[-1], encoder.features(image))
    assert [tap.shape[1] for tap in taps] == encoder.channels
    assert all((tap >= 0).all() for tap in taps[:-1])  # after a ReLU, which no later block has changed in place
    assert (taps[-1] < 0).any()  # without one


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize("scale", [1.0, 1e3], ids=["usual image", "image scaled by 1000"])
def test_every_self_onn_layer_receives_values_between_minus_one_and_one(scale, chunked):
    bounded = network(chunked=chunked)
    largest = []
    for module in bounded.modules():
        if isinstance(module, SelfONN2d):
            module.register_forward_pre_hook(lambda _, inputs: largest.append(inputs[0].abs().max().item()))
    assert bounded(scale * torch.randn(2, 3, 64, 64)).isfinite().all()
    assert len(largest) == 10
    assert max(largest) <= 1


def test_without_the_bound_a_stage_receives_what_the_encoder_makes():
    received = []
    free = network(bound_input=False)
    free.decoder[0].layers[0].register_forward_pre_hook(lambda _, inputs: received.append(inputs[0].abs().max()))
    free(1e3 * torch.randn(2, 3, 64, 64))
    assert max(received) > 1


def test_half_precision_gives_finite_logits_for_an_image_of_large_values():
    with torch.autocast("cpu", torch.float16), torch.inference_mode():
        assert network(q=7)(1e3 * torch.randn(2, 3, 64, 64)).isfinite().all()


def test_a_sample_does_not_depend_on_the_rest_of_its_batch():
    whole = network().eval()
    images = torch.rand(2, 3, 64, 32)
    with torch.inference_mode():
        assert torch.allclose(whole(images)[1:], whole(images[1:]), atol=1e-6)


def test_every_parameter_receives_a_gradient():
    whole = network()
    whole(torch.rand(2, 3, 64, 64)).square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in whole.parameters())


def test_dropout_adds_no_tensor_and_changes_the_training_output_only():
    whole = network(dropout=0.5)
    assert whole.state_dict().keys() == network().state_dict().keys()
    image = torch.rand(1, 3, 64, 64)
    whole.eval()
    assert torch.equal(whole(image), whole(image))
    whole.dropout.train()
    assert not torch.equal(whole(image), whole(image))


@pytest.mark.parametrize("shape", [(1, 3, 64, 48), (1, 3, 16, 32), (3, 64, 64), (1, 3, 0, 32)], ids=str)
def test_a_side_that_cannot_be_halved_five_times_is_refused(shape):
    with pytest.raises(ValueError, match=r"multiples of 32, got .*pad it"):
        network()(torch.rand(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"decoder": "onn"}, 'decoder must be "self_onn" or "conv"'),
        ({"q": 0}, "q must be a number of at least 1"),
        ({"q": [3, 3]}, "q must be a number of at least 1 or 5 of them"),
        ({"widths": (8, 8)}, "widths must be 5 positive numbers"),
        ({"dropout": 1.0}, "dropout must be None or in"),
        ({"block_config": (1, 1)}, "dense layers of four blocks"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_option_that_does_not_exist_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)


def test_frozen_statistics_survive_a_training_step_while_the_factors_are_trained():
    frozen = freeze_statistics(network()).train()
    assert frozen.decoder[0].layers[1].training
    before = {name: tensor.clone() for name, tensor in frozen.encoder.state_dict().items()}
    optimizer = torch.optim.SGD(frozen.parameters(), 0.1)
    frozen(torch.rand(1, 3, 64, 64)).square().mean().backward()
    optimizer.step()
    after = frozen.encoder.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if "running" in name)
    assert not torch.equal(before["features.norm0.weight"], after["features.norm0.weight"])


def test_encoder_and_decoder_are_trained_at_rates_of_their_own_by_monai():
    whole = network()
    groups = generate_param_groups(whole, [lambda net: net.encoder], ["select"], [1e-4])
    optimizer = torch.optim.AdamW(groups, 3e-4)
    assert [group["lr"] for group in optimizer.param_groups] == [1e-4, 3e-4]
    counts = [sum(parameter.numel() for parameter in group["params"]) for group in optimizer.param_groups]
    assert counts == [parameters(whole.encoder), parameters(whole) - parameters(whole.encoder)]


def in_dialect(encoder, dialect):
    state = {
        re.sub(r"(denselayer\d+)\.layers\.(norm|conv)([12])\.", DIALECTS[dialect], name): tensor
        for name, tensor in encoder.features.state_dict().items()
        if "num_batches" not in name
    }
    return {f"features.{name}": tensor for name, tensor in state.items()} | {"classifier.weight": torch.zeros(9, 9)}


def lively_encoder():
    torch.manual_seed(1)
    encoder = DenseNetEncoder(3, 8, 4, (2, 1, 1, 1))
    for tensor in encoder.state_dict().values():
        if tensor.is_floating_point():
            tensor.uniform_(0.1, 0.5)
    return encoder.eval()


def test_densenet121_has_604_tensors_to_load(full):
    names = [name for name in full.encoder.features.state_dict() if "num_batches" not in name]
    assert len(names) == 604 == 120 + 121 * 4


@pytest.mark.parametrize("wrapped", [False, True], ids=["bare", "wrapped"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_weights_in_any_dialect_give_the_same_encoder(tmp_path, dialect, wrapped):
    source = lively_encoder()
    state = in_dialect(source, dialect)
    if wrapped:
        state = {"state_dict": {name.removeprefix("features."): tensor for name, tensor in state.items()}, "epoch": 3}
    torch.save(state, tmp_path / "densenet.pth")
    loaded = DenseNetEncoder(3, 8, 4, (2, 1, 1, 1)).eval()
    load_encoder_weights(tmp_path / "densenet.pth", loaded.features)
    image = torch.rand(1, 3, 64, 64)
    assert all(torch.equal(a, b) for a, b in zip(source(image), loaded(image), strict=True))


def test_the_network_takes_the_weights_by_path(tmp_path):
    source = network().encoder
    torch.save(in_dialect(source, "torchvision, legacy"), tmp_path / "densenet.pth")
    torch.manual_seed(5)
    whole = CASRNet(**TINY, encoder_weights=tmp_path / "densenet.pth")
    assert torch.equal(whole.encoder.features.conv0.weight, source.features.conv0.weight)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_a_gray_image_in_all_channels_looks_the_same_to_an_adapted_first_kernel(tmp_path, channels):
    source = lively_encoder()
    source.features.conv0.weight.data[:] = source.features.conv0.weight.data[:, :1]  # the same kernel for each color
    torch.save(in_dialect(source, "torchvision"), tmp_path / "densenet.pth")
    loaded = DenseNetEncoder(channels, 8, 4, (2, 1, 1, 1)).eval()
    load_encoder_weights(tmp_path / "densenet.pth", loaded.features)
    gray = torch.rand(1, 1, 64, 64)
    expected, found = source(gray.expand(-1, 3, -1, -1)), loaded(gray.expand(-1, channels, -1, -1))
    assert torch.allclose(found[0], expected[0], rtol=1e-4)


def test_a_missing_tensor_is_named(tmp_path):
    state = in_dialect(lively_encoder(), "torchvision")
    del state["features.denseblock1.denselayer2.conv1.weight"]
    torch.save(state, tmp_path / "densenet.pth")
    with pytest.raises(ValueError, match=r"lacks 1 of the \d+ .*denseblock1\.denselayer2\.layers\.conv1\.weight"):
        load_encoder_weights(tmp_path / "densenet.pth", lively_encoder().features)


@pytest.mark.parametrize("name", ["conv0.weight", "norm5.bias", "denseblock2.denselayer1.conv2.weight"])
def test_a_tensor_of_another_shape_is_named(tmp_path, name):
    state = in_dialect(lively_encoder(), "torchvision")
    state[f"features.{name}"] = state[f"features.{name}"][:-1]
    torch.save(state, tmp_path / "densenet.pth")
    with pytest.raises(ValueError, match=rf"{name.split('.')[0]}.*has shape"):
        load_encoder_weights(tmp_path / "densenet.pth", lively_encoder().features)


def test_weights_that_are_not_finite_are_refused(tmp_path):
    state = in_dialect(lively_encoder(), "torchvision")
    state["features.norm5.bias"][0] = torch.nan
    torch.save(state, tmp_path / "densenet.pth")
    with pytest.raises(ValueError, match="NaN"):
        load_encoder_weights(tmp_path / "densenet.pth", lively_encoder().features)


def test_a_file_that_does_not_exist_is_named_with_the_cure(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no encoder weights at .*absent\.pth: save the state dict"):
        CASRNet(**TINY, encoder_weights=tmp_path / "absent.pth")


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>"], ids=["empty", "web page"])
def test_a_file_that_holds_no_weights_is_refused(tmp_path, content):
    path = tmp_path / "densenet.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a file of weights"):
        load_encoder_weights(path, nn.Sequential())


def test_a_file_that_holds_a_single_tensor_is_refused(tmp_path):
    torch.save(torch.zeros(3), tmp_path / "densenet.pth")
    with pytest.raises(ValueError, match="must hold a state dict"):
        load_encoder_weights(tmp_path / "densenet.pth", nn.Sequential())
