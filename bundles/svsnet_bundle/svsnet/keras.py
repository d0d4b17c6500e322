"""Weights of the authors' Keras network, as ours."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .network import SVSNet

Arrays = Sequence[NDArray[np.float32]]

ROLES = {
    "conv": ("kernel", "bias"),
    "batch_normalization": ("gamma", "beta", "moving_mean", "moving_variance"),
}
"""Arrays of a layer, in the order of its ``get_weights()``."""


def read_keras(path: str | Path) -> dict[str, Arrays]:
    """Read the weights of a Keras 2 network from an HDF5 file, as ``save_weights`` or ``save`` writes it.

    Layers of a kind are counted anew from 1: Keras goes on counting where a session has built other networks before.

    Args:
        path: file, such as ``train_best_weights.h5``.

    Returns:
        For each layer, such as ``conv3d_2``, its arrays as ``get_weights()`` gives them.

    Raises:
        ValueError: If h5py is not installed, the file is none of Keras 2, or a layer has other arrays than a
            convolution or a normalization.
    """
    try:
        h5py = import_module("h5py")  # for this alone, so not for everybody
    except ImportError as error:
        raise ValueError("reading Keras weights needs the package h5py: pip install h5py") from error
    layers: dict[str, dict[str, NDArray[np.float32]]] = {}
    try:
        with h5py.File(path, "r") as file:
            group = file.get("model_weights", file)
            for layer in _names(group, "layer_names"):
                for weight in _names(group[layer], "weight_names"):
                    *_, owner, role = weight.split(":")[0].split("/")  # model_1/conv3d_2/kernel:0 of a wrapped network
                    layers.setdefault(owner, {})[role] = np.asarray(group[layer][weight], np.float32)
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not a file of weights that Keras 2 has written: {error}") from error
    return {name: _ordered(name, layers[owner]) for owner, name in _renumbered(layers).items()}


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
    expected = keras_layers(network)
    if unknown := sorted(set(layers) - set(expected.values())):
        raise ValueError(f"the Keras weights have layers that the network has not: {unknown[:4]}: are they of another?")
    for name, layer in expected.items():
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


def _names(group: object, attribute: str) -> list[str]:
    """Read names that Keras keeps as an attribute of a group."""
    attributes = getattr(group, "attrs", {})
    if attribute not in attributes:
        raise ValueError(f"a group has no {attribute!r}: Keras 3 writes another form; save it from Keras 2")
    return [name.decode() if isinstance(name, bytes) else str(name) for name in attributes[attribute]]


def _renumbered(layers: Mapping[str, object]) -> dict[str, str]:
    """Return the names of layers counted from 1 within each kind, in the order of their numbers."""
    parts = {name: re.fullmatch(r"(.+?)(?:_(\d+))?", name) for name in layers}
    order = sorted(parts, key=lambda name: int(parts[name][2] or 0))
    counts: dict[str, int] = {}
    renumbered = {}
    for name in order:
        kind = parts[name][1]
        counts[kind] = counts.get(kind, 0) + 1
        renumbered[name] = f"{kind}_{counts[kind]}"
    return renumbered


def _ordered(layer: str, arrays: Mapping[str, NDArray[np.float32]]) -> Arrays:
    roles = next((roles for kind, roles in ROLES.items() if layer.startswith(kind)), None)
    if roles is None or set(roles) != set(arrays):
        raise ValueError(f"Keras layer {layer!r} has the arrays {sorted(arrays)}, not those of {' or '.join(ROLES)}")
    return [arrays[role] for role in roles]


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
