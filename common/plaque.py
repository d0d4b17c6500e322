"""Coronary plaques: where they lie, how they look, how much they narrow.

The published SynCAS data engine calls a plaque generator that its repository lacks. This model is our inference from
its parameters and from the statistics of its training data (preset ``"reference"``) and from published morphology
(preset ``"clinical"``); it is not the authors' code and was not checked against it.

A plaque is geometry in vessel coordinates, not voxels: distance along the vessel, angle around its axis, and the
fraction of the radius from the axis (0) to the wall (1). A phantom evaluates it on its exact tubes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

_DECAY_MM = 60.0  # calcium is most frequent in the proximal vessels: Am J Cardiol 2000;86:127
_APART_MM = 2.0
_TEXTURE_SD_HU = {True: 50.0, False: 10.0}  # calcified, soft
_REFERENCE_SHARE = 0.015  # mean plaque length over tree length: 13 plaques then fill 20 % of the vessel mask
_CLINICAL_MEDIAN_MM = {True: 3.0, False: 6.0}
_CLINICAL_QUADRANTS = (0.45, 0.30, 0.15, 0.10)  # share of plaques that occupy 1, 2, 3, 4 quadrants


@dataclass(frozen=True)
class Branch:
    """One vessel as its plaques see it.

    Attributes:
        arc_mm: distance of the ordered points from the ostium along the vessel, ``(N,)``, not falling.
        radius_mm: radius of the vessel without plaque at these points, ``(N,)``.

    Raises:
        ValueError: If the arrays differ in length, are empty, or hold a value that is out of range.
    """

    arc_mm: NDArray[np.floating]
    radius_mm: NDArray[np.floating]

    def __post_init__(self) -> None:
        if self.arc_mm.ndim != 1 or self.arc_mm.shape != self.radius_mm.shape or not self.arc_mm.size:
            raise ValueError(
                f"arc_mm and radius_mm must be two lists of equal length, got shapes {self.arc_mm.shape} and "
                f"{self.radius_mm.shape}"
            )
        if not (np.diff(self.arc_mm) >= 0).all() or not (self.radius_mm > 0).all():
            raise ValueError("arc_mm must not fall and radius_mm must be positive along a branch")

    @property
    def length_mm(self) -> float:
        """Distance from the first to the last point."""
        return float(self.arc_mm[-1] - self.arc_mm[0])


@dataclass(frozen=True)
class Plaque:
    """A sector of the vessel wall that is filled with calcium or soft tissue.

    Attributes:
        branch: index of the branch that carries it.
        arc_mm: distance of its centre from the ostium along that branch.
        length_mm: extent along the branch, half of it on either side of the centre.
        angle_deg: where the sector begins, in the plane normal to the vessel, in [0, 360).
        sector_deg: how far the sector reaches around the vessel, in (0, 360].
        depth: how far it reaches from the wall inwards, as a fraction of the radius, in (0, 1].
        hu: its mean Hounsfield value.
        calcified: calcium, or else soft plaque.
        texture_sd_hu: standard deviation of the value inside it.

    Raises:
        ValueError: If a number is out of its range.
    """

    branch: int
    arc_mm: float
    length_mm: float
    angle_deg: float
    sector_deg: float
    depth: float
    hu: float
    calcified: bool
    texture_sd_hu: float

    def __post_init__(self) -> None:
        if not (self.length_mm > 0 and 0 < self.sector_deg <= 360 and 0 < self.depth <= 1):
            raise ValueError(f"length_mm > 0, 0 < sector_deg <= 360 and 0 < depth <= 1 must hold, got {self}")

    def contains(self, arc_mm: ArrayLike, angle_deg: ArrayLike, radius_fraction: ArrayLike) -> NDArray[np.bool_]:
        """Which points of its branch lie inside the plaque.

        Args:
            arc_mm: distance of the points from the ostium along the branch.
            angle_deg: their angle around the vessel, any real number of degrees.
            radius_fraction: their distance from the axis over the vessel's radius.

        Returns:
            Mask of the shape to which the three arguments broadcast; points outside the wall (fraction above 1) are
            not inside.
        """
        fraction = np.asarray(radius_fraction)
        along = np.abs(np.asarray(arc_mm) - self.arc_mm) <= self.length_mm / 2
        around = np.mod(np.asarray(angle_deg) - self.angle_deg, 360) <= self.sector_deg
        return np.asarray(along & around & (fraction >= 1 - self.depth) & (fraction <= 1))

    @property
    def area_stenosis_percent(self) -> float:
        """Share of the round vessel's cross-section that the plaque takes away, in percent."""
        return 100 * self.sector_deg / 360 * (1 - (1 - self.depth) ** 2)

    @property
    def diameter_stenosis_percent(self) -> float:
        """Loss of effective diameter, that of the disc with the area of the remaining lumen, in percent."""
        return float(100 * (1 - np.sqrt(1 - self.area_stenosis_percent / 100)))


def draw_plaques(
    rng: np.random.Generator,
    branches: Sequence[Branch],
    preset: str = "reference",
    count: int | None = None,
    calcified_share: float = 0.65,
    calcified_hu: tuple[float, float] = (300.0, 1000.0),
    soft_hu: tuple[float, float] = (50.0, 150.0),
) -> list[Plaque]:
    """Random plaques on a tree, most of them proximal and in wide vessels.

    A centre is drawn with the weight ``exp(-arc / 60 mm) * radius^2`` per mm of vessel, at least 2 mm from the other
    centres of its branch as long as such a place is left.

    Args:
        rng: source of randomness.
        branches: the tree; a plaque refers to them by index.
        preset: ``"reference"`` fills a fifth of the vessels with 13 plaques (for the SynCAS data engine);
            ``"clinical"`` draws lengths, sectors and depths as they are seen in patients.
        count: number of plaques; None draws it from 0 to 15.
        calcified_share: probability that a plaque is calcified.
        calcified_hu: range of the mean value of a calcified plaque.
        soft_hu: range of the mean value of a soft plaque.

    Returns:
        The plaques in the order in which they are laid: where two overlap, the later one wins. Without branches none.

    Raises:
        ValueError: If the preset is unknown or the count negative.

    Source:
        Hao et al., SynCAS (2025), for counts, ranges and shares. Sectors: quadrant grading of CorE-64. See the module
        docstring: the rest is ours.
    """
    if preset not in ("reference", "clinical"):
        raise ValueError(f"preset must be 'reference' or 'clinical', got {preset!r}")
    if count is not None and count < 0:
        raise ValueError(f"count must be at least 0, or None for a random one, got {count}")
    count = int(rng.integers(16)) if count is None else count
    tree_mm = sum(branch.length_mm for branch in branches)
    if tree_mm <= 0:
        return []
    plaques: list[Plaque] = []
    for branch, arc_mm in _draw_centres(rng, branches, count):
        calcified = bool(rng.random() < calcified_share)
        shape = _reference_shape(rng, tree_mm) if preset == "reference" else _clinical_shape(rng, calcified)
        length_mm, sector_deg, depth = shape
        angle_deg, hu = rng.uniform(0, 360), rng.uniform(*(calcified_hu if calcified else soft_hu))
        texture_sd_hu = _TEXTURE_SD_HU[calcified]
        plaques.append(Plaque(branch, arc_mm, length_mm, angle_deg, sector_deg, depth, hu, calcified, texture_sd_hu))
    return plaques


def _draw_centres(rng: np.random.Generator, branches: Sequence[Branch], count: int) -> list[tuple[int, float]]:
    """Branch index and arc length of each centre."""
    owner = np.repeat(np.arange(len(branches)), [len(branch.arc_mm) for branch in branches])
    arc_mm = np.concatenate([branch.arc_mm for branch in branches])
    radius_mm = np.concatenate([branch.radius_mm for branch in branches])
    step_mm = np.concatenate([_mm_per_point(branch.arc_mm) for branch in branches])
    weight = np.exp(-arc_mm / _DECAY_MM) * radius_mm**2 * step_mm
    free = weight > 0
    centres: list[tuple[int, float]] = []
    for _ in range(count):
        allowed = weight * free if (weight * free).any() else weight
        chosen = int(rng.choice(len(weight), p=allowed / allowed.sum()))
        centres.append((int(owner[chosen]), float(arc_mm[chosen])))
        free &= (owner != owner[chosen]) | (np.abs(arc_mm - arc_mm[chosen]) >= _APART_MM)
    return centres


def _mm_per_point(arc_mm: NDArray[np.floating]) -> NDArray[np.floating]:
    """Length of vessel that each point stands for; a branch of one point has none."""
    half_steps = np.diff(arc_mm) / 2
    return np.append(half_steps, 0) + np.insert(half_steps, 0, 0)


def _reference_shape(rng: np.random.Generator, tree_mm: float) -> tuple[float, float, float]:
    """Length in mm, sector in degrees and depth: scale-free, half of the plaques fill the whole cross-section."""
    length_mm = float(rng.uniform(0.5, 1.5) * _REFERENCE_SHARE * tree_mm)
    if rng.random() < 0.5:
        return length_mm, 360.0, 1.0
    return length_mm, float(rng.uniform(90, 360)), float(rng.uniform(0.5, 1))


def _clinical_shape(rng: np.random.Generator, calcified: bool) -> tuple[float, float, float]:
    """Length in mm, sector in degrees and depth: log-normal length, whole quadrants, never a full occlusion."""
    length_mm = float(np.clip(rng.lognormal(np.log(_CLINICAL_MEDIAN_MM[calcified]), 0.6), 1, 20))
    return length_mm, 90.0 * int(rng.choice([1, 2, 3, 4], p=_CLINICAL_QUADRANTS)), float(rng.uniform(0.3, 0.9))
