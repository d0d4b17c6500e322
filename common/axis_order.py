"""Networks that were trained on volumes with other directions of the axes."""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))


def with_axcodes(network: nn.Module, axcodes: str) -> nn.Module:
    """Let a network see every image with its axes in another order and direction, and turn its output back.

    Weights of a network whose volumes were arrays (z, y, x) then run in a pipeline of (x, y, z): kernels stay as they
    are, windows and spacing keep the pipeline's order. Acts on calls of the network, not on methods of its own.

    Args:
        network: maps ``(B, C, *spatial)`` to ``(B, C', *spatial)``; changed in place.
        axcodes: directions to which the axes of its volumes point, a letter of each pair RL, AP and SI; ``SPL`` is what
            most array libraries make of a scan in the usual position. Two letters for images without the third axis.

    Returns:
        The network.

    Raises:
        ValueError: If the codes are no directions, or not of the axes of RAS.
    """
    given = "RA" if len(axcodes) == 2 else "RAS"
    axes = [_axis(code, given) for code in axcodes]
    if sorted(axes) != list(range(len(given))):
        raise ValueError(f"axcodes must name each axis of {given!r} once, such as SPL for RAS, got {axcodes!r}")
    flips = [place + 2 for place, axis in enumerate(axes) if axcodes[place] != given[axis]]
    back = [axes.index(axis) for axis in range(len(axes))]
    network.register_forward_pre_hook(partial(_enter, order=axes, flips=flips))
    network.register_forward_hook(partial(_leave, order=back, flips=flips))
    return network


def _axis(code: str, given: str) -> int:
    return next((axis for axis, own in enumerate(given) if code in (own, OPPOSITE[own])), -1)


def _enter(_: nn.Module, inputs: tuple[Any, ...], order: list[int], flips: list[int]) -> tuple[Any, ...]:
    image: Tensor = inputs[0]
    return (image.permute(0, 1, *(axis + 2 for axis in order)).flip(flips), *inputs[1:])


def _leave(_: nn.Module, __: tuple[Any, ...], output: Tensor, order: list[int], flips: list[int]) -> Tensor:
    return output.flip(flips).permute(0, 1, *(axis + 2 for axis in order))
