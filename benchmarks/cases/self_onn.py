"""CASR-Net's layer, forward and backward, against a loop over torch's convolutions, one for each power."""

from __future__ import annotations

import functools
import importlib
import math
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.case import Case, Variant

BUNDLE = Path(__file__).parents[2] / "bundles" / "casrnet_bundle"
ORDER = 3

Shape = tuple[int, int, int, int]


class Layers(NamedTuple):
    """The same layer in three ways, and its input in [-1, 1], ``(B, C, H, W)``, which requires a gradient."""

    loop: nn.Module
    chunked: nn.Module
    whole: nn.Module
    x: Tensor


class Result(NamedTuple):
    """Output of the layer, and the gradients of its sum of squares with respect to input and weight."""

    output: Tensor
    by_input: Tensor
    by_weight: Tensor


class LoopOfConvolutions(nn.Module):
    """The layer as its formula reads: the sum of ``Conv2d(x ** power)``.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False) for _ in range(ORDER)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H, W)``."""
        outputs = [convolution(x**power) for power, convolution in enumerate(self.convolutions, start=1)]
        return torch.as_tensor(sum(outputs[1:], outputs[0]))


def cases(size: str) -> list[Case]:
    """A middle layer of the decoder for an image of 256 x 256; ``full`` adds the last one, for 512 x 512."""
    middle = _case((2, 384, 32, 32), out_channels=64)
    return [middle] if size == "quick" else [middle, _case((2, 32, 512, 512), out_channels=16)]


def _case(shape: Shape, out_channels: int) -> Case:
    # Each once: input read, output and its gradient, input's gradient written.
    traffic = 4 * math.prod(shape) * 2 + 4 * 2 * shape[0] * out_channels * shape[2] * shape[3]
    return Case(
        name=f"Self-ONN layer of order {ORDER} to {out_channels} channels, forward + backward",
        size="x".join(map(str, shape)),
        prepare=functools.partial(_layers, shape, out_channels),
        peer=Variant("loop of Conv2d", lambda layers: _step(layers.loop, layers.x)),
        ours=[
            Variant("chunked", lambda layers: _step(layers.chunked, layers.x), traffic_bytes=traffic),
            Variant("one convolution", lambda layers: _step(layers.whole, layers.x), traffic_bytes=traffic),
        ],
        check=_same,
    )


def _layers(shape: Shape, out_channels: int) -> Layers:
    if str(BUNDLE) not in sys.path:
        sys.path.insert(0, str(BUNDLE))
    layer = importlib.import_module("casrnet.self_onn").SelfONN2d
    torch.manual_seed(0)
    settings = {"kernel_size": 3, "q": ORDER, "padding": 1, "bias": False}
    whole, chunked = (layer(shape[1], out_channels, chunked=chunked, **settings) for chunked in (False, True))
    loop = LoopOfConvolutions(shape[1], out_channels)
    chunked.load_state_dict(whole.state_dict())
    for weight, kernel in zip(loop.parameters(), whole.weight.split(shape[1], 1), strict=True):
        weight.data.copy_(kernel)
    return Layers(loop, chunked, whole, (torch.rand(shape) * 2 - 1).requires_grad_())


def _step(layer: nn.Module, x: Tensor) -> Result:
    weights = list(layer.parameters())
    output = layer(x)
    by_input, *by_weight = torch.autograd.grad(output.square().sum(), [x, *weights])
    return Result(output.detach(), by_input, torch.cat(by_weight, 1))


def _same(ours: Result, peer: Result) -> str:
    errors = [((a - b).norm() / b.norm()).item() for a, b in zip(ours, peer, strict=True)]
    assert max(errors) < 1e-5, f"output and gradients differ by {errors} of their norm"
    return f"output {errors[0]:.0e}, gradients {max(errors[1:]):.0e} of the norm apart"
