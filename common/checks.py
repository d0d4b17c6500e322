"""Argument checks whose messages name the argument, what was expected and what came."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


def check_same_shape(**arrays: Tensor | NDArray[np.generic]) -> None:
    """Raise a ``ValueError`` that lists every shape unless all arrays have the same one."""
    shapes = {name: tuple(array.shape) for name, array in arrays.items()}
    if len(set(shapes.values())) > 1:
        listed = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"shapes must be equal, got {listed}")


def check_switches(**switches: object) -> None:
    """Raise a ``ValueError`` unless every option is True or False: the text "false" would count as true."""
    for name, value in switches.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False, got {value!r}; a command line needs the capital letter")
