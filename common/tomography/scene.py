"""What every way of rendering a scan starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from .detector import Detector


@dataclass(frozen=True)
class Scene:
    """Slices on an endless background, and the scanner that sees them.

    Attributes:
        values: slices less their background, in the detector's units, ``(X, Y, Z)``.
        border: the background of each, ``(Z,)``.
        counts: photons of a ray at its brightest, ``(Z,)``.
        rngs: source of randomness of each slice.
        detector: what is counted.
        blur_px: standard deviations of the blur before and after.
        device: where torch shall project; None for the CPU.
    """

    values: NDArray[np.float32]
    border: NDArray[np.float32]
    counts: NDArray[np.float64]
    rngs: Sequence[np.random.Generator]
    detector: Detector
    blur_px: tuple[float, float]
    device: str | torch.device | None
