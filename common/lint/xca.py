"""The checks of one angiogram, a still or a sequence, with its label."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from ..angiograms.lists import common_size
from ..angiograms.masks import vessel_masks
from ..angiograms.reading import DAMAGED, read_angiogram
from ..components import label_components
from ..diagnostics.angiograms import MAX_COMPONENTS, MAX_SHARE
from ..layouts.case import Case
from .findings import CaseReport
from .thumbnails import draw_angiogram
from .volumes import hash_of

RIM = 5  # pixels around the vessels that are compared with them
MIN_GREYS = 3.0  # between the vessels and their rim


def inspect_angiogram(case: Case) -> CaseReport:
    """Check one case; what is wrong with it, damage included, is a finding."""
    report = CaseReport(case.name)
    frames = _read_image(case, report)
    if frames is None:
        return report
    try:
        size = common_size({"image": case.image, "label": case.label, "case": case.name})
    except (*DAMAGED, FileNotFoundError) as error:
        report.refuse("geometry", error, "is it the label of this image? Save it with the size of the image")
        return report
    report.measures |= {"shape": [size.width, size.height, *([size.frames] if size.frames > 1 else [])]}
    masks = _read_label(case, report)
    if masks is not None:
        _check_masks(masks, frames, report)
    busiest = 0 if masks is None else int(masks.sum((1, 2)).argmax())
    report.thumbnail = draw_angiogram(frames[busiest], None if masks is None else masks[busiest])
    return report


def _read_image(case: Case, report: CaseReport) -> NDArray[np.float32] | None:
    """Read the frames and note their greys."""
    found = None
    with report.watching("unreadable image"):
        found = read_angiogram(case.image)
    if found is None:
        report.usable = False
        return None
    frames = found.frames
    report.image_hash = hash_of(frames)
    low, high = float(frames.min()), float(frames.max())
    report.measures |= {"range": [low, high], "format": found.format, "bits": found.bits}
    if not np.isfinite([low, high]).all():
        report.add("error", "image", "the image holds NaN or infinite values", "export it again")
    elif low == high:
        report.add("error", "image", f"every pixel is {low:g}", "is it the right file, and complete?")
    return frames


def _read_label(case: Case, report: CaseReport) -> NDArray[np.bool_] | None:
    """Read the masks of the frames and note their values."""
    if case.label is None:
        return None
    values = None
    with report.watching("unreadable label"):
        values = read_angiogram(case.label).frames
    if values is None:
        report.usable = False
        return None
    report.measures["label_values"] = [float(value) for value in np.unique(values)[:10]]
    with report.watching("label values"):
        masks = vessel_masks(values, case.label)
        report.label_hash = hash_of(masks) if masks.any() else ""
        return masks
    return None


def _check_masks(masks: NDArray[np.bool_], frames: NDArray[np.float32], report: CaseReport) -> None:
    """Check that the masks may be those of vessels, and that these are dark."""
    share = float(masks.mean())
    report.measures["label_share"] = round(share, 6)
    if not masks.any():
        report.add("warning", "empty label", "no pixel is vessel", "is it right, in an image with contrast?")
        return
    busiest = int(masks.sum((1, 2)).argmax())
    mask, frame = masks[busiest], frames[busiest if len(frames) == len(masks) else 0]
    pieces = label_components(mask)[1]
    report.measures["pieces"] = pieces
    if share > MAX_SHARE:
        report.add("warning", "label share", f"{share:.0%} of the picture are vessel", "is the mask inverted?")
    if pieces > MAX_COMPONENTS:
        report.add("note", "label pieces", f"the label is in {pieces} pieces", "remove specks, if they are")
    rim = ndimage.binary_dilation(mask, iterations=RIM) & ~mask
    if rim.any() and np.isfinite(frame).all():
        difference = float(frame[mask].mean() - frame[rim].mean())
        report.measures["vessel_minus_rim"] = round(difference, 2)
        scale = max(float(np.ptp(frame)), 1e-6) / 255
        if difference > MIN_GREYS * scale:
            report.add(
                "warning",
                "bright vessels",
                f"the vessels are {difference:.3g} grey values brighter than their surroundings",
                "contrast agent must be dark: is the image inverted, or the label that of another one?",
            )
