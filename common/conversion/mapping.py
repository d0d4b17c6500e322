"""Mapping the tensors of a checkpoint to those of a network: by position, every one of them, or not at all."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby, zip_longest
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .source import Pair, Source

COUNTER = "num_batches_tracked"  # of batch norms; older files do not have it, and no evaluation needs it


class Mapped(NamedTuple):
    """The tensors of a network as a checkpoint gives them."""

    pairs: list[Pair]
    """One for each tensor of the network, in its order."""
    known: bool
    """Whether the checkpoint names its tensors as published, so that names confirm what positions say."""


def map_tensors(theirs: Mapping[str, Tensor], network: nn.Module, source: Source) -> Mapped:
    """Map by position; shapes, roles (weight, bias, ...) and names must agree, and none may be missing or left over.

    Args:
        theirs: state dict of the checkpoint, in its order.
        network: whose tensors are wanted; not changed.
        source: how the checkpoint names its tensors.

    Raises:
        ValueError: If the checkpoint does not fit; names the first difference on both sides and what it means.
    """
    theirs = {name: tensor for name, tensor in theirs.items() if not re.search(source.left_aside or r"(?!)", name)}
    counted = any(name.endswith(COUNTER) for name in theirs)
    ours = {name: tensor for name, tensor in network.state_dict().items() if counted or not name.endswith(COUNTER)}
    modules = source.modules(network)
    expected = [_renamed(name, modules) for name in ours]
    found = _without_prefix([_respelled(name, source.spelling) for name in theirs], expected)
    known = set(found) == set(expected)
    _check_sequence(ours, theirs)
    if known:
        _check_order(list(theirs), found, expected)
    else:
        _check_grouping(list(ours), list(theirs))
    _check_values(theirs)
    given = dict(zip(ours, theirs.items(), strict=True))
    return Mapped([_pair(name, tensor, given.get(name)) for name, tensor in network.state_dict().items()], known)


def match_norm_eps(pairs: Sequence[Pair], network: nn.Module, eps: float) -> tuple[list[Pair], int]:
    """Let a network's batch norms do what others did that add ``eps`` to the variance instead of theirs.

    A norm's factor takes the ratio of the two standard deviations, which is exact in evaluation.

    Args:
        pairs: tensors of the network.
        network: whose norms they are for; not changed.
        eps: what the norms added where the tensors come from.

    Returns:
        All tensors, and how many norms were changed.
    """
    values = {pair.ours: pair.tensor for pair in pairs}
    norms = {
        name: module.eps
        for name, module in network.named_modules()
        if isinstance(module, _BatchNorm) and module.eps != eps and f"{name}.weight" in values
    }
    for name, own in norms.items():
        variance = values[f"{name}.running_var"].double()
        ratio = ((variance + own) / (variance + eps)).sqrt()
        values[f"{name}.weight"] = (values[f"{name}.weight"].double() * ratio).float()
    return [pair._replace(tensor=values[pair.ours]) for pair in pairs], len(norms)


def describe(pairs: Sequence[Pair]) -> str:
    """Return a table of a mapping, a line for each module: our name, theirs, its first tensor's shape, the others."""
    rows = []
    for module, group in groupby(pairs, key=lambda pair: pair.ours.rpartition(".")[0]):
        kept = [pair for pair in group if pair.theirs]
        origins = dict.fromkeys(re.split(r"[./][^./]+$", pair.theirs)[0] for pair in kept)
        first, *others = (_role(pair.ours) for pair in kept)
        shapes = " + ".join([f"{first} {list(kept[0].tensor.shape)}", *(role for role in others if role != COUNTER)])
        rows.append((module, ", ".join(origins), shapes))
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    return "\n".join(f"{ours:{widths[0]}}  <-  {theirs:{widths[1]}}  {shapes}" for ours, theirs, shapes in rows)


def _pair(name: str, own: Tensor, given: tuple[str, Tensor] | None) -> Pair:
    if given is None:
        return Pair(name, "", torch.zeros_like(own))
    return Pair(name, given[0], given[1].detach().to(own.dtype).contiguous())


def _renamed(name: str, modules: Mapping[str, str]) -> str:
    module, _, role = name.rpartition(".")
    return f"{modules[module]}.{role}" if modules[module] else role


def _respelled(name: str, spelling: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in spelling:
        name = re.sub(pattern, replacement, name)
    return name


def _without_prefix(names: list[str], expected: Sequence[str]) -> list[str]:
    """Strip what all names begin with, such as ``module.``, if they then are the expected ones."""
    parts = names[0].split(".") if names else []
    for count in range(len(parts)):
        prefix = "".join(f"{part}." for part in parts[:count])
        if not all(name.startswith(prefix) for name in names):
            break
        stripped = [name[len(prefix) :] for name in names]
        if set(stripped) == set(expected):
            return stripped
    return names


def _check_sequence(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> None:
    """Compare roles and shapes one after the other, then the counts."""
    counts = f"the checkpoint has {len(theirs)} tensors, the network {len(ours)}"
    for position, (own, other) in enumerate(zip_longest(ours.items(), theirs.items())):
        if own is None or other is None or _role(own[0]) != _role(other[0]) or own[1].shape != other[1].shape:
            raise ValueError(
                f"{counts}; they differ first at position {position}: the checkpoint has {_describe(other)}, the "
                f"network {_describe(own)}: {_meaning(position, own, other, len(ours), len(theirs))}"
            )


def _meaning(
    position: int, own: tuple[str, Tensor] | None, other: tuple[str, Tensor] | None, ours: int, theirs: int
) -> str:
    """Say what a first difference means."""
    if other is None:
        return "the file is cut off, or its network has fewer levels"
    if own is None:
        return "it holds more than this network, or its network has more levels"
    wanted, found = list(own[1].shape), list(other[1].shape)
    if _role(own[0]) != _role(other[0]):
        return "its tensors are in another order, or its network is another one"
    if sorted(wanted) == sorted(found):
        return "the axes are in another order: was it written by another framework?"
    if wanted[:1] + wanted[2:] == found[:1] + found[2:] and position < 2 and ours == theirs:
        return f"its network takes {found[1]} channels: give --network_def::in_channels {found[1]}"
    if wanted[1:] == found[1:] and position >= ours - 2 and ours == theirs:
        return f"its network gives {found[0]} channels: give --network_def::out_channels {found[0]}"
    return "its network has another width or another form: give the options of its network with --network_def::NAME"


def _check_order(theirs: Sequence[str], found: Sequence[str], expected: Sequence[str]) -> None:
    for position, (name, own, wanted) in enumerate(zip(theirs, found, expected, strict=True)):
        if own != wanted:
            raise ValueError(
                f"the checkpoint has the right tensors in another order: at position {position} stands {name!r}, where "
                f"{wanted!r} belongs: was the file sorted? Save what state_dict() gives, as it gives it"
            )


def _check_grouping(ours: Sequence[str], theirs: Sequence[str]) -> None:
    """Make sure that tensors of one module on one side are of one module on the other."""
    there: dict[str, str] = {}
    back: dict[str, str] = {}
    for position, (own, other) in enumerate(zip(ours, theirs, strict=True)):
        module, origin = own.rpartition(".")[0], other.rpartition(".")[0]
        if there.setdefault(module, origin) != origin or back.setdefault(origin, module) != module:
            raise ValueError(
                f"at position {position} {other!r} would become {own!r}, but {there[module]!r} is {module!r} already, "
                f"and {origin!r} is {back.get(origin)!r}: the tensors are in another order, or of another network"
            )


def _check_values(theirs: Mapping[str, Tensor]) -> None:
    for name, tensor in theirs.items():
        if tensor.is_quantized or tensor.is_complex() or tensor.is_floating_point() == name.endswith(COUNTER):
            raise ValueError(f"{name!r} is of type {tensor.dtype}: weights must be floating-point numbers")
        if not tensor.isfinite().all():
            raise ValueError(f"{name!r} holds NaN or infinite values: the file is damaged, or its training diverged")


def _role(name: str) -> str:
    return name.rpartition(".")[2]


def _describe(item: tuple[str, Tensor] | None) -> str:
    return "no more" if item is None else f"{item[0]!r} {list(item[1].shape)}"
