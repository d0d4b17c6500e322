"""Coronary calcium in non-contrast CT: Agatston and volume score, for the whole heart and for each vessel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .checks import check_same_shape
from .components import label_components

_WEIGHT_STEPS_HU = (200.0, 300.0, 400.0)
_REFERENCE_SLICE_MM = 3.0


@dataclass(frozen=True)
class CalciumScore:
    """Calcium of one heart.

    Attributes:
        agatston: Agatston score.
        volume_mm3: volume of all voxels that the score counts.
        lesions: number of lesions that it counts; a plaque in two slices is two of them.
        vessels: Agatston score of every vessel with calcium, by its id.
    """

    agatston: float
    volume_mm3: float
    lesions: int
    vessels: dict[int, float]


def agatston_score(
    volume_hu: NDArray[np.number],
    mask: NDArray[np.generic],
    spacing: Sequence[float],
    vessels: NDArray[np.integer] | None = None,
    threshold_hu: float = 130.0,
    min_area_mm2: float = 1.0,
) -> CalciumScore:
    """Agatston score: the areas of bright lesions in every slice, weighted by their peak.

    A lesion is a set of pixels of one slice that reach the threshold, joined by edges or corners. Its area in mm2 is
    multiplied by 1, 2, 3 or 4 for a peak below 200, 300, 400 HU or not. The sum over all slices is scaled by slice
    thickness / 3 mm, so that slices of another thickness give comparable scores.

    Args:
        volume_hu: non-contrast CT in HU, ``(X, Y, Z)``, slices along the last axis, without gaps.
        mask: where to look for coronary calcium, same shape: around the coronary arteries, without bone and valves.
        spacing: mm per voxel along X, Y, Z.
        vessels: id of the vessel at every voxel, 0 for none, same shape. A lesion belongs to the vessel with most of
            its pixels; lesions on none count in the sum only.
        threshold_hu: least value of calcium.
        min_area_mm2: smaller lesions are taken for noise; 1 mm2 is Agatston's, scanners' programs differ.

    Returns:
        The scores; all are 0 where nothing reaches the threshold.

    Raises:
        ValueError: If the shapes differ, there are not three axes, or a spacing is not positive.

    Source:
        Agatston et al., "Quantification of coronary artery calcium using ultrafast computed tomography", J Am Coll
        Cardiol 1990;15:827. Scaling by the slice thickness is customary, not theirs.
    """
    _check(volume_hu, mask, spacing, vessels)
    bright = (np.asarray(mask) > 0) & (volume_hu >= threshold_hu)
    pixel_mm2, thickness_mm = float(spacing[0] * spacing[1]), float(spacing[2])
    total, voxels, lesions = 0.0, 0, 0
    by_vessel: dict[int, float] = {}
    for z in np.flatnonzero(bright.any(axis=(0, 1))):
        labels, count = label_components(bright[..., z])
        for lesion in range(1, count + 1):
            inside = labels == lesion
            pixels = int(inside.sum())
            if pixels * pixel_mm2 < min_area_mm2:
                continue
            weight = 1 + int(np.searchsorted(_WEIGHT_STEPS_HU, volume_hu[..., z][inside].max(), side="right"))
            score = pixels * pixel_mm2 * weight * thickness_mm / _REFERENCE_SLICE_MM
            total, voxels, lesions = total + score, voxels + pixels, lesions + 1
            ids = np.bincount(vessels[..., z][inside]) if vessels is not None else np.zeros(1)
            if ids[1:].any():
                owner = 1 + int(ids[1:].argmax())
                by_vessel[owner] = by_vessel.get(owner, 0.0) + score
    return CalciumScore(total, voxels * pixel_mm2 * thickness_mm, lesions, dict(sorted(by_vessel.items())))


def _check(
    volume_hu: NDArray[np.number],
    mask: NDArray[np.generic],
    spacing: Sequence[float],
    vessels: NDArray[np.integer] | None,
) -> None:
    """Check the arguments of :func:`agatston_score`."""
    masks = {"mask": mask} | ({} if vessels is None else {"vessels": vessels})
    check_same_shape(volume_hu=volume_hu, **masks)
    if volume_hu.ndim != 3:
        raise ValueError(f"volume_hu must have three axes (X, Y, Z), got shape {volume_hu.shape}")
    if len(spacing) != 3 or not all(v > 0 for v in spacing):
        raise ValueError(f"spacing must be three positive numbers, mm per voxel, got {tuple(spacing)}")
