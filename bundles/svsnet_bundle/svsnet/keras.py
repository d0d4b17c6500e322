"""Weights of the authors' Keras network, as ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .network import SVSNet

Arrays = Sequence[NDArray[np.float32]]


def keras_layers(network: SVSNet) -> dict[str, str]:
    """Return the Keras layer that each convolution and normalization of the network has its weights from.

    The authors' names count the layers of each kind in the order in which they are computed, which is ours.

    Returns:
        Names in the network, such as ``encoder.0.block.conv1``, to names in the authors' file, such as ``conv3d_2``.
    """
    kinds = {
        nn.Conv3d: "conv3d",
        nn.Conv2d: "conv2d",
        nn.BatchNorm3d: "batch_normalization",
        nn.BatchNorm2d: "batch_normalization",
    }
    counts = dict.fromkeys(kinds.values(), 0)
    layers = {}
    for name, module in network.named_modules():
        kind = kinds.get(type(module))
        if kind:
            counts[kind] += 1
            layers[name] = f"{kind}_{counts[kind]}"
    return layers


def from_keras(layers: Mapping[str, Arrays], network: SVSNet) -> dict[str, Tensor]:
    """Convert the authors' weights, to be loaded with ``network.load_state_dict``.

    Their convolutions have a bias in front of every normalization, ours none: it is taken off the running mean, which
    is exact.

    Args:
        layers: arrays of each Keras layer, as its ``get_weights()`` gives them: kernel ``(*spatial, in, out)`` and
            bias; gamma, beta, moving mean and moving variance.
        network: of the same architecture; not changed.

    Raises:
        ValueError: If a layer is missing, or does not fit.
    """
    state: dict[str, Tensor] = {}
    removed = torch.zeros(())
    for name, layer in keras_layers(network).items():
        if layer not in layers:
            raise ValueError(f"the Keras weights have no layer {layer!r} ({name}): are they of another network?")
        arrays = [torch.tensor(np.asarray(array)) for array in layers[layer]]
        if layer.startswith("conv"):
            kernel, bias = _convolution(layer, arrays)
            state[f"{name}.weight"] = kernel
            if network.get_submodule(name).bias is None:
                removed = bias
            else:
                state[f"{name}.bias"] = bias
        else:
            state |= _normalization(layer, name, arrays, removed)
    _check_shapes(state, network)
    return state


def _convolution(layer: str, arrays: list[Tensor]) -> tuple[Tensor, Tensor]:
    if len(arrays) != 2:
        raise ValueError(f"Keras layer {layer!r} must have a kernel and a bias, got {len(arrays)} arrays")
    kernel, bias = arrays
    spatial = range(kernel.ndim - 2)
    return kernel.permute(-1, -2, *spatial).contiguous(), bias


def _normalization(layer: str, name: str, arrays: list[Tensor], removed: Tensor) -> dict[str, Tensor]:
    if len(arrays) != 4:
        raise ValueError(f"Keras layer {layer!r} must have gamma, beta, mean and variance, got {len(arrays)} arrays")
    gamma, beta, mean, variance = arrays
    return {
        f"{name}.weight": gamma,
        f"{name}.bias": beta,
        f"{name}.running_mean": mean - removed,
        f"{name}.running_var": variance,
        f"{name}.num_batches_tracked": torch.tensor(0),
    }


def _check_shapes(state: Mapping[str, Tensor], network: SVSNet) -> None:
    for name, expected in network.state_dict().items():
        if state[name].shape != expected.shape:
            raise ValueError(
                f"{name!r} has shape {tuple(state[name].shape)} in the Keras weights, the network needs "
                f"{tuple(expected.shape)}: give it the same frames and widths"
            )
