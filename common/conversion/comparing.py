"""Comparing what a converted network computes with what the original one does."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..files import replacing

TOLERANCE = 1e-4  # of the largest output, at least of 1: other orders of summation differ by far less
READINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "logits": lambda logits: logits,
    "sigmoid of the logits": torch.sigmoid,
    "softmax of the logits": lambda logits: logits.softmax(1),
}
"""What an original network may give out where ours gives logits."""


def random_input(shape: Sequence[int]) -> Tensor:
    """Return numbers in [0, 1) of a shape, always the same ones."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))


def compare_with_module(network: nn.Module, original: nn.Module, image: Tensor) -> str | None:
    """Compare outputs in evaluation for one input, and return what was found, in words.

    None where the original does not run on an image alone, or not here; a warning says why.

    Args:
        network: ours, with the converted weights.
        original: the network of the checkpoint; where it gives several tensors, the first one counts.
        image: input of both.

    Raises:
        ValueError: If the outputs differ.
    """
    try:
        with torch.inference_mode():
            output = _first_tensor(original.eval()(image))
    except (RuntimeError, TypeError) as error:  # it wants more than an image, or a GPU
        warnings.warn(f"the network in the checkpoint does not run here: {error}", stacklevel=2)
        return None
    return _compare(_run(network, image), output, "the network in the checkpoint")


def compare_with_file(network: nn.Module, path: str | Path) -> str:
    """Compare with the output of the original network that a file holds, and return what was found, in words.

    Args:
        network: ours, with the converted weights.
        path: .npz file with the arrays ``input`` and ``output``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it holds something else, or the outputs differ.
    """
    try:
        with np.load(path) as arrays:
            given, output = (torch.from_numpy(arrays[name]).float() for name in ("input", "output"))
    except FileNotFoundError:
        raise
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(
            f"{path} must be an .npz file with the arrays 'input' and 'output' of the original network ({error})"
        ) from error
    try:
        logits = _run(network, given)
    except RuntimeError as error:
        raise ValueError(f"{path}: the network cannot take an input of shape {list(given.shape)}: {error}") from error
    return _compare(logits, output, str(path))


def write_check(network: nn.Module, image: Tensor, path: Path) -> None:
    """Write an input and our output to an .npz file (``input``, ``output``), for owners of the original to compare."""
    with replacing(path) as temporary:
        np.savez(temporary, input=image.numpy(), output=_run(network, image).numpy())


def _run(network: nn.Module, image: Tensor) -> Tensor:
    with torch.inference_mode():
        return _first_tensor(network.eval()(image))


def _first_tensor(output: Any) -> Tensor:
    """Return the first tensor in what a network gives out."""
    while not isinstance(output, Tensor):
        values = list(output.values()) if isinstance(output, Mapping) else output
        if not isinstance(values, list | tuple) or not values:
            raise ValueError(f"the network in the checkpoint gives out {type(output).__name__}, not a tensor")
        output = values[0]
    return output


def _compare(logits: Tensor, output: Tensor, where: str) -> str:
    if logits.shape != output.shape:
        raise ValueError(f"the output has shape {list(output.shape)} in {where}, ours has {list(logits.shape)}")
    differences = {name: float((read(logits) - output).abs().max()) for name, read in READINGS.items()}
    name = min(differences, key=lambda name: differences[name])
    if not differences[name] <= TOLERANCE * max(1.0, float(output.abs().max())):
        raise ValueError(
            f"the converted network does not compute what {where} does: its outputs differ by {differences[name]:.3g} "
            f"(as {name}): was the output made in evaluation mode, by the network whose weights these are?"
        )
    return f"equal to {where} as {name}; largest difference {differences[name]:.2g}"
