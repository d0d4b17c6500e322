"""Published checkpoints of SVS-net, for ``python -m svsnet.common convert``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from re import Match

from torch import nn

from .common.conversion.source import Pair, Source, renamed
from .keras import ROLES, from_keras, keras_layers, read_keras
from .network import BN_EPS


def _stage(name: str) -> Callable[[Match[str]], str]:
    return lambda match: name.format(int(match[1]) + 1)


RULES = (
    (r"\bblock\.conv(\d)$", r"block.conv\1.conv"),
    (r"\bblock\.norm(\d)$", r"block.bn\1"),
    (r"^stem$", "conv0.conv"),
    (r"^encoder\.(\d)\.block", _stage("enc{}")),
    (r"^encoder\.(\d)\.attention\.hidden", _stage("att{}.fc1")),
    (r"^encoder\.(\d)\.attention\.gate", _stage("att{}.fc2")),
    (r"^encoder\.(\d)\.fuse", _stage("skip{}.project")),
    (r"^encoder\.(\d)\.down\.conv", _stage("down{}.0.conv")),
    (r"^encoder\.(\d)\.down\.norm", _stage("down{}.1")),
    (r"^bottleneck", "bottleneck.project"),
    (r"^decoder\.(\d)\.up\.conv", _stage("up{}_conv.0.conv")),
    (r"^decoder\.(\d)\.up\.norm", _stage("up{}_conv.1")),
    (r"^decoder\.(\d)\.hidden", _stage("up{}_att.fc1")),
    (r"^decoder\.(\d)\.gate", _stage("up{}_att.fc2")),
    (r"^decoder\.(\d)\.block", _stage("up{}_block")),
    (r"^head", "out"),
)
OUR_ROLES = {
    "conv": ("weight", "bias"),
    "batch_normalization": ("weight", "bias", "running_mean", "running_var"),
}


def port_modules(network: nn.Module) -> Mapping[str, str]:
    """Return the names that the PyTorch port gives to our modules."""
    return renamed(network, RULES)


def keras_pairs(path: Path, network: nn.Module) -> list[Pair]:
    """Convert the authors' weights from an HDF5 file; see :func:`.keras.from_keras`.

    Raises:
        ValueError: If the file is none of Keras 2, or does not fit the network.
    """
    state = from_keras(read_keras(path), network)
    layers = keras_layers(network)
    pairs = []
    for name in network.state_dict():
        module, _, role = name.rpartition(".")
        kind = next(kind for kind in ROLES if layers[module].startswith(kind))
        theirs = dict(zip(OUR_ROLES[kind], ROLES[kind], strict=True)).get(role)
        pairs.append(Pair(name, f"{layers[module]}/{theirs}" if theirs else "", state[name]))
    return pairs


def _input_shape(network: nn.Module) -> tuple[int, ...]:
    return (1, network.stem.in_channels, network.frames, network.stride, 2 * network.stride)


PUBLISHED = {
    "keras": Source(
        title="SVS-net, the authors' Keras weights",
        modules=keras_layers,
        input_shape=_input_shape,
        norm_eps=BN_EPS,
        options={"intensity": "frame_max"},
        notes=(
            "biases in front of a norm are taken off its mean, which is exact",
            "it was trained and tested on frames of 512 x 512 pixels",
        ),
        read_hdf5=keras_pairs,
    ),
    "pytorch": Source(
        title="SVS-net, the PyTorch port",
        modules=port_modules,
        input_shape=_input_shape,
        norm_eps=1e-5,
        options={"intensity": "frame_max"},
        notes=(
            "it was trained on frames resized to 512 x 512 pixels",
            "if its labels were of the last of four frames, as that code takes them by default, the mask written for a "
            "frame here is of the one after it",
        ),
    ),
}
