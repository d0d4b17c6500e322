"""OpenVINO gives torch's logits, and torch runs what OpenVINO cannot or should not."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from common.engines import Engine

openvino = pytest.importorskip("openvino")


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.BatchNorm3d(4), nn.ReLU(), nn.Conv3d(4, 2, 1)).eval()


@pytest.fixture
def calls(network):
    """The shapes of what torch ran."""
    seen = []
    network.register_forward_hook(lambda _module, inputs, _output: seen.append(tuple(inputs[0].shape)))
    return seen


@pytest.fixture
def windows():
    return torch.rand(3, 1, 8, 8, 8)


@torch.no_grad()
def test_the_logits_are_those_of_torch(network, windows):
    expected = network(windows)
    run = Engine("openvino")(network)
    for _ in range(2):  # the first window is torch's own
        torch.testing.assert_close(run(windows), expected, rtol=0, atol=1e-5)


@torch.no_grad()
def test_each_shape_of_a_window_is_recorded_once(network, calls, windows):
    run = Engine("openvino")(network)
    for _ in range(2):
        run(windows)
        run(windows[..., :4])
    assert calls == [(1, 1, 8, 8, 8), (1, 1, 8, 8, 4)]


@torch.no_grad()
def test_weights_that_change_are_noticed(network, windows):
    run = Engine("openvino")(network)
    before = run(windows)
    other = {name: tensor * 2 for name, tensor in network.state_dict().items()}
    network.load_state_dict(other)
    after = run(windows)
    torch.testing.assert_close(after, network(windows), rtol=0, atol=1e-5)
    assert not torch.allclose(before, after)


def test_gradients_training_and_autocast_stay_with_torch(network, calls, windows):
    engine = Engine("openvino")
    assert engine(network)(windows).requires_grad
    with torch.no_grad():
        engine(network.train())(windows)
        with torch.autocast("cpu", torch.bfloat16):
            engine(network.eval())(windows)
    assert calls == [tuple(windows.shape)] * 3


@torch.no_grad()
def test_another_result_than_that_of_torch_is_refused_with_a_warning(network, windows, monkeypatch):
    compiled = "common.engines._compile"
    monkeypatch.setattr(compiled, lambda *_: lambda window: network(window).flip(1))  # the two classes exchanged
    run = Engine("openvino")(network)
    with pytest.warns(
        UserWarning, match=r"torch runs the network, because OpenVINO cannot: logits differ by 0\.\d+ of"
    ):
        first = run(windows)
    torch.testing.assert_close(first, network(windows))
    torch.testing.assert_close(run(windows), network(windows))


@torch.no_grad()
def test_a_network_that_cannot_be_converted_runs_in_torch(windows):
    class Strange(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    run = Engine("openvino")(Strange().eval())
    with pytest.warns(UserWarning, match="torch runs the network, because OpenVINO cannot"):
        torch.testing.assert_close(run(windows), torch.special.bessel_j0(windows))


def test_a_network_that_torch_has_compiled_stays_with_torch(network):
    class Compiled(nn.Module):
        """As torch.compile returns it; to call that here would import half of torch."""

        _orig_mod = network

    for made in (torch.jit.script(network), Compiled()):
        assert Engine("openvino")(made) is made


@torch.no_grad()
def test_windows_on_other_devices_and_in_half_precision_stay_with_torch(network, calls):
    run = Engine("openvino")(network.to("meta"))
    assert run(torch.empty(2, 1, 8, 8, 8, device="meta")).shape == (2, 2, 8, 8, 8)
    network.to_empty(device="cpu").bfloat16()
    assert run(torch.ones(2, 1, 8, 8, 8, dtype=torch.bfloat16)).dtype == torch.bfloat16
    assert len(calls) == 2


@torch.no_grad()
def test_threads_get_their_own_results(network):
    run = Engine("openvino")(network)
    windows = [torch.full((1, 1, 8, 8, 8), float(value)) for value in range(4)]
    expected = [network(window) for window in windows]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda number: torch.no_grad()(run)(windows[number % 4]), range(400)))
    assert max(float((result - expected[number % 4]).abs().max()) for number, result in enumerate(got)) < 1e-5


def test_without_openvino_there_is_a_warning_only_for_who_asked_for_it(network, monkeypatch, recwarn):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert Engine("auto")(network) is network
    assert not recwarn.list
    with pytest.warns(UserWarning, match="pip install openvino"):
        assert Engine("openvino")(network) is network


@torch.no_grad()
def test_an_openvino_that_does_not_load_leaves_the_network_to_torch(network, windows, monkeypatch):
    def broken(_name):
        raise ImportError("libopenvino.so.2640: cannot open shared object file")

    monkeypatch.setattr("common.engines.import_module", broken)
    with pytest.warns(UserWarning, match="because OpenVINO cannot: libopenvino"):
        torch.testing.assert_close(Engine("auto")(network)(windows), network(windows))


def test_an_unknown_engine_is_refused():
    with pytest.raises(ValueError, match=r"engine must be one of \['auto', 'torch'.*got 'onnx'"):
        Engine("onnx")


COPIES_THAT_GO = """
import common, gc, importlib, os, signal, sys, torch
from torch import nn

signal.signal(signal.SIGCHLD, lambda *_: None)  # as torch's data loader has one for its workers
network = nn.Conv3d(1, 1, 3).eval()
copies = []
for _ in range(2):  # of this package, as bundles carry them
    copies.append(importlib.import_module("common.engines").Engine("openvino"))
    del sys.modules["common.engines"], common.engines
    with torch.no_grad():
        copies[-1](network)(torch.rand(1, 1, 8, 8, 8))
while copies:
    del copies[0]
    gc.collect()
if os.fork() == 0:
    os._exit(0)
os.wait()
"""


@pytest.mark.slow
def test_a_child_that_exits_after_the_engines_does_no_harm():
    run = subprocess.run([sys.executable, "-X", "faulthandler", "-c", COPIES_THAT_GO], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
