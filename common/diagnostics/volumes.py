"""What a report says about a vessel mask in CT: how large it is, and what about it cannot be coronary arteries."""

from __future__ import annotations

from collections.abc import Mapping
from math import pi
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from ..calibre import voxel_lengths_mm
from ..components import foreground_box, label_components
from ..grids import spacing_mm
from ..skeleton import skeletonize
from ..voxels import Voxels
from .notes import explain_cut

# Both sides together. Lengths: 1600 sides of ImageCAS-X, 278 mm [24-716] each. Diameters: 1.65 mm (diagonal branches)
# to 3.9 mm (proximal right artery), Medrano-Gracia et al. 2016 and Dodge et al. 1992. The volumes follow from both.
USUAL_LENGTH_MM = 2 * 278.0
LENGTH_MM = (2 * 24.0, 2 * 716.0)
VOLUME_ML = (LENGTH_MM[0] * pi / 4 * 1.65**2 / 1000, LENGTH_MM[1] * pi / 4 * 3.9**2 / 1000)
MAX_COMPONENTS = 13  # two trees, and twice the 5.4 by which nnU-Net's number differs on average on ImageCAS-X
MAX_OUTSIDE_SHARE = 0.05  # of the volume; the box around the heart is wider than the arteries reach
WEAK_HU = 250.0  # in the blood pool; coronary CT angiography has 250 to 600
AIR_HU = -500.0  # the lowest value of a CT is that of air, -1000
MAX_MEASURED = 2_000_000  # voxels; five times the largest trees: more is no vessel, and its thinning takes minutes
LISTED = 10  # largest components whose volumes are listed


def describe_grid(shape: tuple[int, ...], affine: NDArray[np.float64]) -> dict[str, Any]:
    """Return shape, spacing, field of view and orientation of a volume in plain values."""
    spacing = spacing_mm(affine)
    orientation: Any = nibabel.aff2axcodes(affine)  # type: ignore[no-untyped-call]
    return {
        "shape": list(shape),
        "spacing_mm": spacing.tolist(),
        "field_mm": (spacing * shape).tolist(),
        "orientation": "".join(orientation),
        "affine": affine.tolist(),
    }


def describe_mask(
    mask: NDArray[np.bool_], affine: NDArray[np.float64], heart_box: list[list[int]] | None
) -> dict[str, Any]:
    """Measure a vessel mask, on the box around it.

    Args:
        mask: ``(X, Y, Z)``.
        affine: voxel to RAS mm, ``(4, 4)``.
        heart_box: first voxel of the heart and the first behind it, for each axis; None if unknown.

    Returns:
        Plain values; the length is that of the skeleton from voxel to voxel, null if the mask is too large for it, and
        the share outside of the heart null if there is no mask or no box.
    """
    spacing = spacing_mm(affine)
    box = foreground_box(mask)
    part = np.zeros((0,) * 3, bool) if box is None else mask[box]
    labels, count = label_components(part)
    sizes = np.sort(np.bincount(labels.ravel(), minlength=count + 1)[1:])[::-1]
    voxels = int(sizes.sum())
    del labels
    outside = None
    if voxels and heart_box is not None:
        inside = int(np.count_nonzero(mask[tuple(slice(*side) for side in heart_box)]))
        outside = 1 - inside / voxels
    length = None
    if voxels <= MAX_MEASURED:
        length = float(voxel_lengths_mm(Voxels(skeletonize(part)), spacing.tolist()).sum()) if voxels else 0.0
    edge = float(spacing.prod())
    return {
        "voxels": voxels,
        "volume_ml": voxels * edge / 1000,
        "components": count,
        "largest_components_ml": (sizes[:LISTED] * edge / 1000).tolist(),
        "length_mm": length,
        "share_outside_heart": outside,
    }


def contrast_phase(blood_hu: float | None, found: bool) -> str:
    """Return an estimate of the contrast phase from the blood pool: "none", "weak" or "arterial"."""
    if not found:
        return "none"
    return "weak" if blood_hu is not None and blood_hu < WEAK_HU else "arterial"


def judge_scan(notes: Mapping[str, Any]) -> list[str]:
    """Return what is doubtful about a scan, in plain words, beside what its steps have noted themselves."""
    contrast, heart = notes.get("contrast", {}), notes.get("heart", {})
    warnings = []
    if contrast.get("expected") and contrast["found"] and contrast["blood_hu"] < WEAK_HU:
        warnings.append(
            f"weak contrast: the blood pool has {contrast['blood_hu']:.0f} HU, in coronary CT angiography {WEAK_HU:g} "
            "to 600; expect gaps and missing vessels"
        )
    if heart and not heart["found"] and not contrast.get("expected"):
        warnings.append("no heart was found in this scan, so the whole volume was searched for vessels")
    if heart and not heart["found"] and contrast.get("expected") and contrast["found"]:
        warnings.append(
            "what has contrast in this scan has not the size of a heart, so the whole volume was searched for vessels: "
            "is the heart cut off, or is this another organ?"
        )
    if heart.get("cut_at"):
        sides = ", ".join(heart["cut_at"])
        warnings.append(f"the heart is cut off by the end of the scan ({sides}); arteries beyond it are missing")
    return warnings


def judge_mask(mask: Mapping[str, Any]) -> list[str]:
    """Return what about a mask that is not empty cannot be coronary arteries, in plain words."""
    volume, length, count = mask["volume_ml"], mask["length_mm"], mask["components"]
    warnings = []
    if not VOLUME_ML[0] <= volume <= VOLUME_ML[1]:
        warnings.append(
            f"implausible volume: {volume:.3g} ml; the coronary arteries of a heart hold {VOLUME_ML[0]:.1f} to "
            f"{VOLUME_ML[1]:.0f} ml"
        )
    if length is not None and not LENGTH_MM[0] <= length <= LENGTH_MM[1]:
        warnings.append(
            f"implausible length: {length:.0f} mm of vessels; the two coronary trees have {USUAL_LENGTH_MM:.0f} mm "
            f"({LENGTH_MM[0]:.0f} to {LENGTH_MM[1]:.0f})"
        )
    if count == 1:
        warnings.append("one connected piece: one of the two coronary trees is missing, or both are joined")
    if count > MAX_COMPONENTS:
        warnings.append(f"{count} separate pieces, where two trees are expected: broken vessels, or false ones")
    outside = mask["share_outside_heart"]
    if outside is not None and outside > MAX_OUTSIDE_SHARE:
        warnings.append(f"{outside:.0%} of the mask lies outside of the heart, where there are no coronary arteries")
    return warnings


def explain_empty(notes: Mapping[str, Any], settings: Mapping[str, Any], voxel_mm3: float) -> str:
    """Say why a mask is empty, the likeliest reason first.

    Args:
        notes: of image and prediction.
        settings: options of the inference by name.
        voxel_mm3: volume of a voxel.
    """
    contrast, heart = notes.get("contrast", {}), notes.get("heart", {})
    reasons = []
    if contrast.get("expected") and not contrast["found"]:
        if settings["require_contrast"]:
            return (
                "nothing found: there is no contrast in the blood pool, so the mask was emptied (--require_contrast "
                "False keeps it)"
            )
        reasons.append("there is no contrast in the blood pool")
    if heart and not heart["found"]:
        reasons.append("no heart was found")
    reasons += explain_cut(notes, settings["threshold"])
    if notes.get("above_threshold"):
        volume = notes["above_threshold"] * voxel_mm3
        reasons.append(
            f"{notes['above_threshold']} voxels ({volume:.3g} mm^3) are above the threshold, but all in components "
            f"below {settings['min_volume_mm3']:g} mm^3 (--min_volume_mm3)"
        )
    lowest = notes.get("values", {}).get("lowest")
    if lowest is not None and lowest > AIR_HU:
        reasons.append(f"the lowest value is {lowest:g}, that of a CT about -1000 HU: are these Hounsfield units?")
    return "nothing found: " + "; ".join(reasons or ["the reason is unknown"])
