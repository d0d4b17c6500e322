"""What a bundle says of the published checkpoints of its method."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from torch import Tensor, nn


class Pair(NamedTuple):
    """One tensor of a bundle's network and where it comes from."""

    ours: str
    """Its name in the network."""
    theirs: str
    """Its name in the checkpoint; empty for a counter that the checkpoint does not have."""
    tensor: Tensor
    """Its values, in the network's shape."""


@dataclass(frozen=True, kw_only=True)
class Companion:
    """A module beside the network whose weights the checkpoint holds too, such as heads needed in training only."""

    entry: str
    """Name of its state dict in the checkpoint."""
    suffix: str
    """It is written beside the weights, to ``<stem>_<suffix>.pt``."""
    build: Callable[[nn.Module], nn.Module]
    """Makes the module for a network."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """A kind of published checkpoint: how its tensors are named and stored, and how its network was used."""

    title: str
    """What it is, in words."""
    modules: Callable[[nn.Module], Mapping[str, str]]
    """Gives, for each module of the network that holds tensors, the name it has in the checkpoint, in our order."""
    input_shape: Callable[[nn.Module], Sequence[int]]
    """Gives the shape of a small input, to compare outputs with."""
    part: str = ""
    """Submodule of the network that the checkpoint fills; empty for the whole."""
    file: str = "model.pt"
    """File in the bundle's models folder that it becomes."""
    spelling: Sequence[tuple[str, str]] = ()
    """Patterns and replacements by which the names of a tensor's dialects become one."""
    left_aside: str | None = None
    """Pattern of the names of tensors that are no part of the network, such as a classifier."""
    norm_eps: float = 1e-5
    """What its batch norms add to the variance."""
    axcodes: str | None = None
    """Directions of the axes of its volumes, such as SPL; None for those of the bundle."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Options of inference and evaluation under which its network is used as published."""
    companions: Sequence[Companion] = ()
    """What else the checkpoint holds."""
    notes: Sequence[str] = ()
    """What options cannot say, a sentence each."""
    read_hdf5: Callable[[Path, nn.Module], list[Pair]] | None = None
    """Reads an HDF5 file; None for a file that torch has written."""


def renamed(
    network: nn.Module, rules: Sequence[tuple[str, str | Callable[[re.Match[str]], str]]] = ()
) -> dict[str, str]:
    """Return other names of the modules of a network that hold tensors themselves, in their order.

    Args:
        network: whose modules are named.
        rules: patterns and replacements, all applied one after the other.
    """
    names = dict.fromkeys(name.rpartition(".")[0] for name in network.state_dict())
    renaming = {}
    for name in names:
        renaming[name] = name
        for pattern, replacement in rules:
            renaming[name] = re.sub(pattern, replacement, renaming[name])
    return renaming
