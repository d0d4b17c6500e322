"""The self-organized operational layer (Self-ONN): a convolution over the powers of its input."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class SelfONN2d(nn.Module):
    """Sum of one convolution for each power 1..q of the input: a convolution whose kernel is a polynomial.

    With q = 1 it is an ordinary convolution. Higher powers need a bounded input, in [-1, 1]: put a tanh before it.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel_size: rows and columns of the kernel, or one number for both.
        q: highest power.
        stride: step of the kernel in pixels.
        padding: rows and columns added on every side, or one number for both.
        dilation: distance of the kernel's elements in pixels.
        bias: add a learned constant to every output channel.
        padding_mode: what is added: "zeros", "reflect", "replicate" or "circular".
        chunked: convolve one power after the other. Equal up to rounding, with less memory; faster on a CPU.

    Raises:
        ValueError: If a number is out of range or ``padding_mode`` is unknown.

    Source:
        Kiranyaz et al., "Self-organized operational neural networks with generative neurons", Neural Networks 140
        (2021). The weight is power-major, ``(out, q * in, rows, columns)``: block k holds the kernels of power k + 1.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        q: int = 3,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        chunked: bool = False,
    ) -> None:
        super().__init__()
        if padding_mode not in PADDING_MODES:
            raise ValueError(f"padding_mode must be one of {PADDING_MODES}, got {padding_mode!r}")
        self.in_channels = _at_least(1, "in_channels", in_channels)
        self.out_channels = _at_least(1, "out_channels", out_channels)
        self.q = _at_least(1, "q", q)
        self.kernel_size = _pair(1, "kernel_size", kernel_size)
        self.stride = _pair(1, "stride", stride)
        self.padding = _pair(0, "padding", padding)
        self.dilation = _pair(1, "dilation", dilation)
        self.padding_mode = padding_mode
        self.chunked = chunked
        self.weight = nn.Parameter(torch.empty(out_channels, q * in_channels, *self.kernel_size))
        self.bias = nn.Parameter(torch.empty(out_channels)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weight from Xavier's uniform distribution with the gain of a tanh, the bias as torch's Conv2d."""
        nn.init.xavier_uniform_(self.weight, nn.init.calculate_gain("tanh"))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.weight[0].numel())
            nn.init.uniform_(self.bias, -bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, in_channels, H, W)`` to ``(B, out_channels, H', W')``, which are those of a Conv2d."""
        padding = self.padding
        if self.padding_mode != "zeros" and any(padding):  # padding and powers commute: pad the smaller tensor
            rows, columns = padding
            x = functional.pad(x, (columns, columns, rows, rows), self.padding_mode)
            padding = (0, 0)
        powers = (power.to(self.weight.dtype) for power in _powers(x, self.q))
        place = (self.stride, padding, self.dilation)
        if not self.chunked:
            return functional.conv2d(torch.cat(list(powers), 1), self.weight, self.bias, *place)
        first, *others = torch.split(self.weight, self.in_channels, 1)
        total = functional.conv2d(next(powers), first, self.bias, *place)
        for power, weight in zip(powers, others, strict=True):
            total += functional.conv2d(power, weight, None, *place)
        return total

    def extra_repr(self) -> str:
        """Name the settings where the layer is printed."""
        return (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, q={self.q}, "
            f"stride={self.stride}, padding={self.padding}, dilation={self.dilation}, bias={self.bias is not None}"
        )


def _powers(x: Tensor, q: int) -> Iterator[Tensor]:
    """Yield powers 1..q by products, which have finite gradients everywhere; in float32 where the input has less."""
    power = x = x.float() if x.element_size() < 4 else x
    yield power
    for _ in range(q - 1):
        power = power * x
        yield power


def _at_least(lowest: int, name: str, value: int) -> int:
    if value < lowest:
        raise ValueError(f"{name} must be at least {lowest}, got {value}")
    return value


def _pair(lowest: int, name: str, value: int | tuple[int, int]) -> tuple[int, int]:
    rows, columns = (value, value) if isinstance(value, int) else value
    return _at_least(lowest, name, rows), _at_least(lowest, name, columns)
