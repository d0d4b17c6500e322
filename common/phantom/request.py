"""Which phantoms to make: the arguments of a data set, checked, and what determines a case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .ccta import DIFFICULTIES

VERSION = 1
"""Rises when the same seed gives other images or labels."""

MODALITIES = ("ccta", "ncct", "xca")

FRAME = (512, 512)
"""Rows and columns of an angiogram unless a shape is given."""

FRAMES = 12
"""Frames of an angiogram unless their number is given."""


@dataclass(frozen=True)
class Request:
    """What determines a case; see :func:`common.phantom.dataset.write_dataset`."""

    seed: int
    number: int
    modality: str
    shape: tuple[int, int, int] | tuple[int, int] | None
    spacing: tuple[float, float, float] | None
    difficulty: str
    orientation: str | None
    background: str | None = None
    heart_mask: str | None = None
    views: int | None = None
    frames: int | None = None
    version: int = VERSION

    @property
    def case(self) -> str:
        """Name of the case."""
        return f"{self.modality}_{self.seed}_{self.number:04d}"

    @property
    def images(self) -> tuple[str, ...]:
        """File names of its images, one for each view."""
        if self.views is None or self.views == 1:
            return (f"{self.case}.nii.gz",)
        return tuple(f"{self.case}_v{view}.nii.gz" for view in range(self.views))

    @property
    def voxels(self) -> tuple[int, int, int] | None:
        """Shape of a volume, None where it is to be drawn; angiograms have none."""
        return self.shape if self.shape is not None and len(self.shape) == 3 else None

    @property
    def pixels(self) -> tuple[int, int]:
        """Rows and columns of an angiogram."""
        return self.shape if self.shape is not None and len(self.shape) == 2 else FRAME

    def rng(self, *purpose: int) -> np.random.Generator:
        """Return the random numbers for one purpose, which depend on seed and number only."""
        return np.random.default_rng([self.seed, self.number, *purpose])


def checked_request(
    cases: int,
    seed: int,
    modality: str,
    shape: Sequence[int] | None,
    spacing: Sequence[float] | float | None,
    difficulty: str,
    orientation: str | None,
    background: str | None,
    heart_mask: str | None,
    views: int,
    frames: int | None = None,
) -> Request:
    """Check the arguments of a data set and return the request for its first case."""
    if cases < 1 or seed < 0:
        raise ValueError(f"cases must be at least 1 and seed at least 0, got {cases} and {seed}")
    if modality not in MODALITIES:
        raise ValueError(f"modality must be one of {', '.join(MODALITIES)}, got {modality!r}")
    if views < 1:
        raise ValueError(f"views must be at least 1, got {views}")
    if views > 1 and modality != "ncct":
        raise ValueError(f"views must be at least 1, and 1 for {modality}, got {views}")
    if difficulty not in DIFFICULTIES:
        raise ValueError(f"difficulty must be one of {', '.join(DIFFICULTIES)}, got {difficulty!r}")
    sizes = _numbers(shape)
    if modality == "xca":
        _check_none(modality, spacing=spacing, orientation=orientation, background=background, heart_mask=heart_mask)
        return _xca_request(seed, sizes, shape, difficulty, frames)
    _check_none(modality, frames=frames)
    if shape is not None and (len(sizes) != 3 or min(sizes) < 16 or any(v % 1 for v in sizes)):
        raise ValueError(f"shape must be three whole numbers of at least 16 voxels, such as 160,160,128, got {shape!r}")
    edges = _numbers(spacing) * (3 if isinstance(spacing, (int, float)) else 1)
    if spacing is not None and (len(edges) != 3 or not all(0.1 <= v <= 5 for v in edges)):
        raise ValueError(f"spacing must be one or three numbers from 0.1 to 5 mm, such as 0.4,0.4,0.5, got {spacing!r}")
    if orientation is not None and sorted(_axis(v) for v in orientation.upper()) != [0, 1, 2]:
        raise ValueError(f"orientation must name three different axes, such as RAS or LPS, got {orientation!r}")
    if (background is None) != (heart_mask is None):
        raise ValueError(f"background and heart_mask go together, got {background!r} and {heart_mask!r}")
    if background is not None and (shape is not None or orientation is not None):
        raise ValueError("shape and orientation follow from background: leave them out, or leave out background")
    if modality == "ncct":
        _check_slices(edges, orientation, background)
    return Request(
        seed=int(seed),
        number=0,
        modality=modality,
        shape=(int(sizes[0]), int(sizes[1]), int(sizes[2])) if sizes else None,
        spacing=(edges[0], edges[1], edges[2]) if edges else None,
        difficulty=difficulty,
        orientation=None if orientation is None else orientation.upper(),
        background=None if background is None else str(background),
        heart_mask=None if heart_mask is None else str(heart_mask),
        views=views if modality == "ncct" else None,
    )


def _xca_request(seed: int, sizes: Sequence[float], shape: object, difficulty: str, frames: int | None) -> Request:
    """Check what only angiograms ask for and return the request for the first case."""
    if shape is not None and (len(sizes) != 2 or min(sizes) < 32 or any(v % 1 for v in sizes)):
        raise ValueError(f"shape of xca must be rows and columns of at least 32 pixels, such as 512,512, got {shape!r}")
    count = FRAMES if frames is None else frames
    if isinstance(count, bool) or not isinstance(count, int) or not 1 <= count <= 300:
        raise ValueError(f"frames must be a whole number from 1 to 300, got {frames!r}")
    rows, columns = sizes or FRAME
    return Request(int(seed), 0, "xca", (int(rows), int(columns)), None, difficulty, None, frames=count)


def _check_none(modality: str, **arguments: object) -> None:
    """Refuse arguments that mean nothing for a modality."""
    given = [name for name, value in arguments.items() if value is not None]
    if given:
        raise ValueError(f"{' and '.join(given)} cannot be chosen for modality {modality}: leave it out")


def _check_slices(spacing: Sequence[float], orientation: str | None, background: str | None) -> None:
    """Check what only non-contrast CT asks for; without an orientation the slices lie along the last axis."""
    if background is not None:
        raise ValueError("background is for ccta only: modality ncct renders the whole chest, leave background out")
    pixel = [edge for edge, letter in zip(spacing, (orientation or "LPS").upper(), strict=False) if _axis(letter) != 2]
    if pixel and pixel[0] != pixel[1]:
        raise ValueError(f"spacing of ncct must be equal within the axial slices, got {tuple(spacing)}")


def _numbers(value: object) -> list[float]:
    """Return a number or a sequence of numbers as a list, an empty one for anything else."""
    values = value if isinstance(value, Sequence) else [value]
    numbers = [float(v) for v in values if isinstance(v, (int, float))]
    return numbers if len(numbers) == len(values) else []


def _axis(letter: str) -> int:
    """Return 0, 1, 2 for the letters of the axes x, y, z and -1 for others."""
    return next((k for k, pair in enumerate(("RL", "AP", "SI")) if letter in pair), -1)
