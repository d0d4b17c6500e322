"""The structures that the data engine repaints, and how the label maps that people have become one.

Ids are those of TotalSegmentator's task ``total`` (version 2), of its task ``heartchambers_highres`` plus 117, and 128
for the coronary arteries.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from .common.checks import check_same_shape
from .common.phantom.heart import HEART_LABELS
from .disks import dilate_in_slices

CORONARY_ID = 128
CHAMBERS_OFFSET = 117  # of the ids of heartchambers_highres, 1 to 7
VEINS_ID, TISSUE_ID = 129, 130
AORTA_IDS = (123, 52)  # of heartchambers_highres, of total
_ENVELOPE_ID = 51  # the whole heart with its fat, which makes the coronaries visible: never painted flat
_CHAMBER_IDS = range(118, 123)
_TISSUE_HU = 0.0  # above: blood and muscle inside the envelope; below: fat
_ENVELOPE_MM = 3.0  # a segmentation at 1.5 mm leaves a rim of bright blood outside


@dataclass(frozen=True)
class Structure:
    """A row of the structure table.

    Attributes:
        id: its value in a merged label map.
        name: its name in options and reports.
        base_hu: its value without contrast.
        filled: contrast fills it in a CCTA, so that it stays bright unless it is painted.
        dilate_px: pixels by which it grows in the slice before it is painted.
    """

    id: int
    name: str
    base_hu: float
    filled: bool = True
    dilate_px: int = 2


STRUCTURES = (
    Structure(TISSUE_ID, "heart_tissue", 45, dilate_px=0),  # ours, for maps without chambers; growth would eat the fat
    Structure(VEINS_ID, "coronary_veins", 35),  # ours, where they are known
    Structure(123, "aorta", 35),
    Structure(CORONARY_ID, "coronary_arteries", 35),
    Structure(62, "superior_vena_cava", 35),
    Structure(118, "myocardium", 50),
    Structure(119, "left_atrium", 40),
    Structure(120, "left_ventricle", 40),
    Structure(121, "right_atrium", 40),
    Structure(122, "right_ventricle", 40),
    Structure(63, "inferior_vena_cava", 35),
    Structure(61, "left_atrial_appendage", 40),
    Structure(5, "liver", 55, filled=False),
    Structure(6, "stomach", 50, filled=False),
    Structure(15, "esophagus", 40, filled=False),
    Structure(124, "pulmonary_artery", 35),
    Structure(53, "pulmonary_veins", 35),
)
"""In the order of painting: a later row covers an earlier one."""

TOTALSEGMENTATOR_MASKS = {
    "heart": _ENVELOPE_ID,
    "aorta": 123,
    "superior_vena_cava": 62,
    "inferior_vena_cava": 63,
    "pulmonary_vein": 53,
    "liver": 5,
    "stomach": 6,
    "esophagus": 15,
    "heart_myocardium": 118,
    "heart_atrium_left": 119,
    "heart_ventricle_left": 120,
    "heart_atrium_right": 121,
    "heart_ventricle_right": 122,
    "pulmonary_artery": 124,
    "atrial_appendage_left": 61,
}
"""Ids by the file names that TotalSegmentator gives its masks, in the order in which they are merged."""

_PHANTOM_IDS = {
    "left_ventricle": 120,
    "right_ventricle": 122,
    "left_atrium": 119,
    "right_atrium": 121,
    "myocardium": 118,
    "aorta": 123,
    "pulmonary_artery": 124,
    "pulmonary_veins": 53,
    "coronary_veins": VEINS_ID,
    "heart": _ENVELOPE_ID,
}


def ids_of_phantom(hearts: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return the ids for the label map of a phantom.

    Args:
        hearts: values of ``HEART_LABELS``, ``(X, Y, Z)`` in RAS.

    Returns:
        Ids of the table; the vena cava is the superior one above the middle of the right atrium, else the inferior.

    Raises:
        ValueError: If a value is not in ``HEART_LABELS``.
    """
    if hearts.size and not 0 <= int(hearts.min()) <= int(hearts.max()) <= max(HEART_LABELS.values()):
        raise ValueError(
            f"the label map of a phantom has values from 0 to {max(HEART_LABELS.values())}, got {int(hearts.min())} to "
            f'{int(hearts.max())}; a map with ids of TotalSegmentator is an entry\'s "structures", not its "heart"'
        )
    table = np.zeros(max(HEART_LABELS.values()) + 1, np.uint8)
    for name, label in HEART_LABELS.items():
        table[label] = _PHANTOM_IDS.get(name, 0)
    ids = np.asarray(table[hearts])
    cava, atrium = hearts == HEART_LABELS["vena_cava"], hearts == HEART_LABELS["right_atrium"]
    heights = np.flatnonzero(atrium.any((0, 1)))
    middle = int(heights.mean()) if len(heights) else hearts.shape[2] // 2
    ids[..., :middle][cava[..., :middle]] = 63
    ids[..., middle:][cava[..., middle:]] = 62
    return ids


def merge_structures(
    ids: NDArray[np.integer],
    coronary: NDArray[np.bool_],
    ccta_hu: NDArray[np.floating],
    spacing: Sequence[float],
    chambers: NDArray[np.integer] | None = None,
) -> NDArray[np.uint8]:
    """Merge what is known about a CCTA into one label map with the ids of the table.

    A map without chambers (``heartchambers_highres`` needs a licence) but with the whole heart, 51, gets
    ``heart_tissue`` instead: what is above 0 HU inside 51, grown by 3 mm, and in no other structure.

    Args:
        ids: TotalSegmentator's ids, ``(X, Y, Z)``.
        coronary: mask of the coronary arteries, same shape; it covers everything.
        ccta_hu: the CT, same shape.
        spacing: mm per voxel.
        chambers: the map of ``heartchambers_highres`` with its own ids 1 to 7, same shape; it covers ``ids``.

    Returns:
        Ids of :data:`STRUCTURES`, 0 elsewhere.

    Raises:
        ValueError: If shapes differ, ``chambers`` has other values, or there is nothing but the coronary arteries.
    """
    given = {"ids": ids, "coronary": coronary, "ccta_hu": ccta_hu} | (
        {} if chambers is None else {"chambers": chambers}
    )
    check_same_shape(**given)
    table = np.zeros(max(256, int(ids.max(initial=0)) + 1), np.uint8)
    for structure in STRUCTURES:
        table[structure.id] = structure.id
    table[list(AORTA_IDS)] = AORTA_IDS[0]
    merged = np.asarray(table[ids])
    if chambers is not None:
        if not 0 <= int(chambers.min()) <= int(chambers.max()) <= 7:
            raise ValueError(
                f"chambers must have the ids 0 to 7 of heartchambers_highres, got {int(chambers.min())} to "
                f"{int(chambers.max())}"
            )
        np.copyto(merged, (chambers + CHAMBERS_OFFSET).astype(np.uint8), where=chambers > 0)
    present = present_ids(merged)
    envelope = ids == _ENVELOPE_ID
    if not present & set(_CHAMBER_IDS) and envelope.any():
        tissue = gaussian_filter(ccta_hu, (1, 1, 0), output=np.float32) > _TISSUE_HU  # smooth: noise would speckle fat
        merged[_grown(envelope, spacing) & tissue & (merged == 0)] = TISSUE_ID
        present.add(TISSUE_ID)
    if not present - {0, CORONARY_ID}:
        raise ValueError(
            "the label map has none of the structures that contrast fills, so all of them would stay bright: "
            f"{', '.join(missing_structures(()))}. Give the map of TotalSegmentator's task total (ids 51, 52, 53, "
            "61-63), better with that of heartchambers_highres too"
        )
    merged[coronary] = CORONARY_ID
    return merged


def missing_structures(present: Collection[int]) -> list[str]:
    """Name the contrast-filled structures that a label map lacks, and which therefore stay bright.

    Args:
        present: ids in the map.
    """
    implied = {VEINS_ID, TISSUE_ID, CORONARY_ID}  # ours, or the business of the label
    if TISSUE_ID in present:
        implied |= {*_CHAMBER_IDS, 61}
    if 119 in present:
        implied.add(61)  # else part of the atrium
    return [s.name for s in STRUCTURES if s.filled and s.id not in implied and s.id not in present]


def present_ids(ids: NDArray[np.uint8]) -> set[int]:
    """Return the values that a label map has."""
    return set(np.flatnonzero(np.bincount(ids.ravel("K"), minlength=1)).tolist())


def _grown(envelope: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.bool_]:
    """The envelope of the heart with a margin, a cylinder around every voxel."""
    in_slice = dilate_in_slices(envelope, round(_ENVELOPE_MM / max(spacing[:2])))
    grown = in_slice.copy()
    for step in range(1, round(_ENVELOPE_MM / spacing[2]) + 1):
        grown[..., step:] |= in_slice[..., :-step]
        grown[..., :-step] |= in_slice[..., step:]
    return grown
