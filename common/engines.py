"""What runs a network's windows on a CPU: torch, or OpenVINO, which does it in half the time."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable
from functools import partial
from importlib import import_module
from threading import Lock, RLock
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch import Tensor, nn

ENGINES = ("auto", "torch", "openvino", "openvino_bf16")
PRECISIONS = {"openvino": "f32", "openvino_bf16": "bf16"}  # OpenVINO's own default is bf16 where the CPU has it
TOLERANCE = {"openvino": 0.001, "openvino_bf16": 0.05}  # of the largest logit, 1 at least; 5e-6 and 0.013 are usual
# of recording, converting and compiling a network, and of an OpenVINO that is installed and does not load
NETWORK_ERRORS = (RuntimeError, ValueError, TypeError, AttributeError, IndexError, NotImplementedError, ImportError)
CORE = "core_of_coronary_bundles"  # an attribute of the module openvino

_engines: WeakSet[Engine] = WeakSet()
_turn_for_core = Lock()


class Engine:
    """Runs a network on windows: torch, or OpenVINO on a CPU.

    OpenVINO takes each new shape of a window once through the network to record it, and compiles the record in memory;
    nothing is written. The result of that first window is torch's, and OpenVINO's must agree with it. What OpenVINO
    cannot do (a network in training, compiled or scripted, on a GPU, under autocast, in half precision or with
    gradients) is left to torch without a word. Weights that are loaded or trained later are noticed. Threads take
    turns.

    Args:
        name: "torch"; "openvino" (float32); "openvino_bf16" (half the digits, on CPUs that have them); or "auto":
            OpenVINO in float32 where it is installed, else torch.

    Raises:
        ValueError: If the name is unknown.
    """

    def __init__(self, name: str = "torch") -> None:
        if name not in ENGINES:
            raise ValueError(f"engine must be one of {list(ENGINES)}, got {name!r}")
        installed = importlib.util.find_spec("openvino") is not None
        if name in PRECISIONS and not installed:
            warnings.warn(
                f"the engine {name!r} needs OpenVINO (pip install openvino): torch runs the network instead, with the "
                "same result in more time",
                stacklevel=2,
            )
        self.name = "openvino" if name == "auto" else name
        if not installed:
            self.name = "torch"
        self._compiled: dict[tuple[int, ...], Callable[[Tensor], Tensor]] = {}
        self._weights: tuple[Any, ...] = ()
        self._turn = RLock()
        _engines.add(self)

    def __call__(self, network: Callable[..., Tensor]) -> Callable[..., Tensor]:
        """Return what maps windows ``(B, C, *roi_size)`` to the logits of ``network``, ``(B, channels, *roi_size)``."""
        left = self.name == "torch" or isinstance(network, torch.jit.ScriptModule) or hasattr(network, "_orig_mod")
        if left or not isinstance(network, nn.Module):  # what torch.compile returns has the attribute
            return network
        return partial(self._run, network)

    def release(self) -> None:
        """Let go of what was compiled; it is compiled again when it is needed."""
        with self._turn:
            self._compiled.clear()

    def _run(self, network: nn.Module, windows: Tensor) -> Tensor:
        """Return the logits of ``windows``, by OpenVINO where it can."""
        special = network.training or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")
        if special or windows.device.type != "cpu" or windows.dtype != torch.float32:
            return torch.as_tensor(network(windows))
        plain = torch.from_numpy(np.ascontiguousarray(windows.numpy(force=True)))
        with self._turn:
            weights = _fingerprint(network)
            if weights != self._weights:
                self.release()
                self._weights = weights
            return torch.cat([self._run_one(network, window[None]) for window in plain])

    def _run_one(self, network: nn.Module, window: Tensor) -> Tensor:
        """Return the logits of one window; the first of its shape is compiled for, and is torch's."""
        shape = tuple(window.shape)
        if shape in self._compiled:
            return self._compiled[shape](window)
        logits = None
        try:
            recorded, logits = _record(network, window)
            compiled = _compile(recorded, shape, PRECISIONS[self.name])
            apart = float((compiled(window) - logits).abs().max() / logits.abs().max().clamp(min=1))
            reason = None if apart <= TOLERANCE[self.name] else f"logits differ by {apart:.2g} of the largest"
        except NETWORK_ERRORS as error:
            reason = " ".join(str(error).split())[:200]
        if reason is not None:
            warnings.warn(f"torch runs the network, because OpenVINO cannot: {reason}", stacklevel=2)
        self._compiled[shape] = compiled if reason is None else network
        return torch.as_tensor(network(window)) if logits is None else logits


def release_engines() -> None:
    """Let go of what all engines keep in memory between two volumes, which is as much as a window takes."""
    for engine in list(_engines):
        engine.release()


def _record(network: nn.Module, window: Tensor) -> tuple[torch.jit.ScriptModule, Tensor]:
    """Trace a network; return the trace and the logits of the window that it was traced with."""
    seen: list[Tensor] = []
    hook = network.register_forward_hook(lambda _module, _inputs, output: seen.append(output.detach().clone()))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # sizes that a network checks become constants: the shape is fixed
            traced = torch.jit.trace(network, window, check_trace=False)  # type: ignore[no-untyped-call]
    finally:
        hook.remove()
    return traced, seen[0]


def _compile(recorded: torch.jit.ScriptModule, shape: tuple[int, ...], precision: str) -> Callable[[Tensor], Tensor]:
    """Compile a trace for windows of one shape."""
    openvino, frontend = import_module("openvino"), import_module("openvino.frontend")  # optional, and slow to import
    decoder_of = import_module("openvino.frontend.pytorch.ts_decoder").TorchScriptPythonDecoder

    # what openvino.convert_model does, but for the usage figures that it sends to its makers without asking
    decoder = decoder_of(recorded)  # must live on as long as the converter reads it
    converter = frontend.FrontEndManager().load_by_framework("pytorch")
    try:
        model = converter.convert(converter.load(decoder))
    except (frontend.GeneralFailure, frontend.OpConversionFailure, frontend.NotImplementedFailure) as error:
        raise RuntimeError(str(error)) from error
    model.reshape(openvino.PartialShape(shape))
    options = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "PERFORMANCE_HINT": "LATENCY",
    }
    request = _core().compile_model(model, "CPU", options).create_infer_request()
    return lambda window: torch.from_numpy(request.infer([window.numpy()], share_inputs=True)[0])


def _core() -> Any:
    """Return OpenVINO's core: one for the whole process, whichever bundle's copy of this package asks.

    A core that ends takes its CPU plugin with it, and that puts back the stack for signals that it found when it began.
    If this was the stack of a core that has ended before, the next signal, such as that of a data loader's worker that
    exits, ends the process with a segmentation fault. So it is kept where every copy of this package finds it.
    """
    openvino = import_module("openvino")
    with _turn_for_core:
        if not hasattr(openvino, CORE):
            setattr(openvino, CORE, openvino.Core())
        return getattr(openvino, CORE)


def _fingerprint(network: nn.Module) -> tuple[Any, ...]:
    """Return what changes with the weights: places and version counts of all tensors."""
    tensors = [*network.parameters(), *network.buffers()]
    return (id(network), *((t.data_ptr(), 0 if t.is_inference() else t._version) for t in tensors))
