"""Weight files of a bundle: checked before use, kept before they are overwritten, halved before they are shipped."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from .files import replacing


def check_weights(path: str | Path, network: nn.Module) -> None:
    """Make sure that a file holds exactly the weights of a network.

    MONAI's loaders warn, or fail with a page of keys; random weights must never be used by mistake.

    Args:
        path: a state dict, or a mapping with the state dict under "model", as ``torch.save`` writes it.
        network: what it is to be loaded into; not changed.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is unreadable, or names, number or shapes of the tensors differ from the network's.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"no weights at {path}: train first (which writes models/model.pt), or name a file with --checkpoint"
        )
    state = _read(path)
    expected = network.state_dict()
    _compare_names(path, set(expected), set(state))
    for name, tensor in expected.items():
        if state[name].shape != tensor.shape:
            raise ValueError(
                f"{path}: {name!r} has shape {tuple(state[name].shape)}, the network needs {tuple(tensor.shape)}: "
                "was it trained with another width or number of channels? Give the same --network_def options"
            )
        if not state[name].isfinite().all():
            raise ValueError(f"{path}: {name!r} holds NaN or infinite values: the training that wrote it diverged")


def load_weights(path: str | Path, network: nn.Module) -> None:
    """Load weights that pass :func:`check_weights` into ``network``, in place; raises what it raises."""
    check_weights(path, network)
    network.load_state_dict(_read(Path(path)))


def keep_released(path: str | Path) -> None:
    """Copy released weights to ``<name>_released.pt`` beside them, before a training first overwrites them.

    Args:
        path: file that the training will write, such as ``models/model.pt``; nothing happens if it does not exist, or
            if a copy is already there.

    Raises:
        OSError: If the folder cannot be written.
    """
    path = Path(path)
    kept = path.with_name(f"{path.stem}_released{path.suffix}")
    if path.is_file() and not kept.exists():
        with replacing(kept) as temporary:
            shutil.copyfile(path, temporary)


def halve_weights(source: str | Path, target: str | Path) -> None:
    """Write a state dict with parameters in half precision and buffers as they are, for release.

    Args:
        source: state dict of a network as training writes it.
        target: file to write; may be ``source``.

    Raises:
        ValueError: If a weight is too large for half precision.
    """
    halved = {name: _halve(name, tensor) for name, tensor in _read(Path(source)).items()}
    with replacing(target) as temporary:
        torch.save(halved, temporary)


def _halve(name: str, tensor: Tensor) -> Tensor:
    if not tensor.is_floating_point() or "running_" in name:
        return tensor
    half = tensor.half()
    if not half.isfinite().all():
        raise ValueError(f"{name!r} has values beyond the range of half precision")
    return half


def _read(path: Path) -> Mapping[str, Tensor]:
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a file of weights that torch can load: fetch or train it again") from error
    state = content.get("model", content) if isinstance(content, dict) else content
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path} must hold a state dict, or one under the key 'model'")
    return state


def _compare_names(path: Path, expected: set[str], found: set[str]) -> None:
    missing, unknown = sorted(expected - found), sorted(found - expected)
    if missing or unknown:
        raise ValueError(
            f"{path} does not fit the network: {len(missing)} tensors missing (first: {missing[:2]}), {len(unknown)} "
            f"unknown (first: {unknown[:2]}): is it the checkpoint of another network?"
        )
