"""What difficulty changes in an angiogram, and everything about one sequence that is neither anatomy nor geometry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Range = tuple[float, float]


@dataclass(frozen=True)
class Difficulty:
    """Ranges that the quality of a sequence is drawn from.

    Attributes:
        iodine_per_mm: attenuation of lumen that is filled to the full, natural logarithm for each mm.
        noise: standard deviation of the quantum noise relative to the signal, at the mean signal.
        motion: size of heartbeat and breathing relative to the usual.
        scatter: scattered radiation relative to the primary.
        clutter: expected number of look-alikes (wires, leads).
        twigs: further thin side vessels for each cm of labelled vessel.
        subtracted: share of the sequences that are shown subtracted.
    """

    iodine_per_mm: Range
    noise: Range
    motion: Range
    scatter: Range
    clutter: float
    twigs: Range
    subtracted: float


DIFFICULTIES: Mapping[str, Difficulty] = {
    "easy": Difficulty((0.20, 0.30), (0.004, 0.012), (0.5, 0.8), (0.1, 0.3), 0.2, (0.05, 0.25), 0.1),
    "default": Difficulty((0.1, 0.28), (0.005, 0.028), (0.7, 1.2), (0.15, 0.7), 0.8, (0.1, 0.5), 0.25),
    "hard": Difficulty((0.06, 0.13), (0.02, 0.06), (1.0, 1.5), (0.5, 1.1), 2.0, (0.3, 0.7), 0.35),
}


@dataclass(frozen=True)
class Exposure:
    """How one sequence was taken and shown.

    Attributes:
        iodine_per_mm: see :class:`Difficulty`.
        noise: see :class:`Difficulty`.
        scatter: see :class:`Difficulty`.
        body: share of the attenuation of the body that is left after wedge filters and dynamic compression.
        blur_px: standard deviation of the point spread function for 512 pixels across.
        grain_px: standard deviation of the blur of the noise.
        sharpening: strength of edge enhancement, 0 for none.
        gamma: exponent of the display curve.
        grey: values of the darkest and the brightest part of the field, 0 to 255.
        vignette: loss of signal at the corners.
        haze: blush of the myocardium relative to a filled vessel.
        texture: standard deviation of the small structures of the body.
        ribs: strength of the ribs.
        dome_mm: height of the domes of the diaphragm above the anatomy's, in mm (deep inspiration lowers them).
        offset_px: displacement of the mask frame if one was subtracted, for 512 pixels across (column, row).
        subtracted: whether an early mask frame was subtracted.
        subtracted_grey: grey of what did not change, and grey levels for a whole unit of attenuation, if subtracted.
        collimator: "none", "round", "octagon" or "rectangle".
        collimator_size: half of its opening relative to half of the frame.
        collimator_shift: its centre relative to the frame's half, (column, row).
        collimator_grey: grey behind it.
    """

    iodine_per_mm: float
    noise: float
    scatter: float
    body: float
    blur_px: float
    grain_px: float
    sharpening: float
    gamma: float
    grey: tuple[float, float]
    vignette: float
    haze: float
    texture: float
    ribs: float
    dome_mm: float
    offset_px: tuple[float, float]
    subtracted: bool
    subtracted_grey: tuple[float, float]
    collimator: str
    collimator_size: float
    collimator_shift: tuple[float, float]
    collimator_grey: float


def draw_exposure(difficulty: Difficulty, rng: np.random.Generator) -> Exposure:
    """Draw how a sequence is taken and shown."""
    low, high = difficulty.iodine_per_mm
    shape = str(rng.choice(["none", "round", "octagon", "rectangle"], p=[0.3, 0.35, 0.1, 0.25]))
    size = {"none": (1, 1), "round": (0.98, 1.25), "octagon": (0.9, 1.0), "rectangle": (0.88, 1.0)}[shape]
    dark, bright = rng.uniform(25, 95), rng.uniform(170, 250)
    return Exposure(
        iodine_per_mm=float(low * (high / low) ** rng.random()),
        noise=float(rng.uniform(*difficulty.noise)),
        scatter=float(rng.uniform(*difficulty.scatter)),
        body=float(rng.uniform(0.2, 0.8)),
        blur_px=float(rng.uniform(0.7, 1.6)),
        grain_px=float(rng.uniform(0.3, 1.0)),
        sharpening=float(rng.uniform(0.3, 1.5) if rng.random() < 0.4 else 0),
        gamma=float(rng.uniform(0.65, 1.15)),
        grey=(float(dark), float(bright)),
        vignette=float(rng.uniform(0, 0.35)),
        haze=float(rng.uniform(0, 0.25) if rng.random() < 0.5 else 0),
        texture=float(rng.uniform(0.01, 0.045)),
        ribs=float(rng.uniform(0.1, 0.8)),
        dome_mm=float(rng.uniform(-15, 25)),
        offset_px=(float(rng.normal(0, 1.5)), float(rng.normal(0, 1.5))),
        subtracted=bool(rng.random() < difficulty.subtracted),
        subtracted_grey=(float(rng.uniform(105, 165)), float(rng.uniform(60, 170))),
        collimator=shape,
        collimator_size=float(rng.uniform(*size)),
        collimator_shift=(float(rng.uniform(-0.12, 0.12)), float(rng.uniform(-0.12, 0.12))),
        collimator_grey=float(rng.choice([0, rng.uniform(2, 35)])),
    )
