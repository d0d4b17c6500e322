"""Weight files."""

import pytest
import torch
from torch import nn

from common.weights import check_weights, halve_weights, keep_released, load_weights


@pytest.fixture
def network():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))


@pytest.fixture
def path(tmp_path, network):
    torch.save(network.state_dict(), tmp_path / "model.pt")
    return tmp_path / "model.pt"


def test_fitting_weights_pass_and_the_network_stays_as_it_is(path, network):
    before = network[0].weight.clone()
    torch.save({"model": nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).state_dict()}, path)
    check_weights(path, network)
    assert torch.equal(network[0].weight, before)


def test_loaded_weights_are_those_of_the_file(path, network):
    fresh = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    halve_weights(path, path)
    load_weights(path, fresh)
    assert torch.allclose(fresh[0].weight, network[0].weight, rtol=1e-3, atol=1e-6)
    assert fresh[0].weight.dtype == torch.float32


def test_missing_weights_are_never_replaced_by_random_ones(tmp_path, network):
    with pytest.raises(FileNotFoundError, match=r"no weights at .*model.pt: train first"):
        check_weights(tmp_path / "model.pt", network)


def test_wrong_keys_are_counted_and_named(path, network):
    state = network.state_dict()
    state["head.weight"] = state.pop("0.weight")
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"1 tensors missing \(first: \['0.weight'\]\), 1 unknown \(first: \['head.we"):
        check_weights(path, network)


def test_a_wrong_shape_is_named(path):
    with pytest.raises(ValueError, match=r"'0.weight' has shape \(2, 1, 3, 3\), the network needs \(2, 1, 5, 5\)"):
        check_weights(path, nn.Sequential(nn.Conv2d(1, 2, 5), nn.BatchNorm2d(2)))


def test_weights_that_are_not_numbers_are_refused(path, network):
    state = network.state_dict()
    state["0.bias"][0] = torch.nan
    torch.save(state, path)
    with pytest.raises(ValueError, match=r"'0.bias' holds NaN"):
        check_weights(path, network)


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"], ids=["empty", "text"])
def test_a_file_that_is_no_checkpoint_is_refused(path, network, content):
    path.write_bytes(content)
    with pytest.raises(ValueError, match="not a file of weights"):
        check_weights(path, network)


def test_a_checkpoint_without_a_state_dict_is_refused(path, network):
    torch.save({"model": {"epoch": 3}}, path)
    with pytest.raises(ValueError, match="must hold a state dict"):
        check_weights(path, network)


def test_released_weights_are_kept_once(path):
    released = path.read_bytes()
    keep_released(path)
    path.write_bytes(b"trained")
    keep_released(path)
    assert (path.parent / "model_released.pt").read_bytes() == released


def test_nothing_is_kept_where_nothing_was_released(tmp_path):
    keep_released(tmp_path / "model.pt")
    assert list(tmp_path.iterdir()) == []


def test_halved_weights_keep_buffers_and_come_close(path, network):
    network[1].running_mean.fill_(1 / 3)
    torch.save(network.state_dict(), path)
    halve_weights(path, path)
    halved = torch.load(path, weights_only=True)
    assert halved["0.weight"].dtype == torch.float16
    assert torch.equal(halved["1.running_mean"], network[1].running_mean)
    assert halved["1.num_batches_tracked"].dtype == torch.int64
    assert torch.allclose(halved["0.weight"].float(), network[0].weight, rtol=1e-3, atol=1e-6)


def test_weights_beyond_half_precision_are_refused(path, network):
    network[0].weight.data[0] = 1e6
    torch.save(network.state_dict(), path)
    with pytest.raises(ValueError, match=r"'0.weight' has values beyond"):
        halve_weights(path, path)
