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
