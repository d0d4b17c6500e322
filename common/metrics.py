"""Metrics of vessel masks, as functions of one case and as a MONAI metric of a data set.

Empty masks are never left out of a mean. Two empty masks score 1 (distances: 0 mm), one empty mask scores 0 (distances:
the diagonal of the image in mm).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from monai.metrics.utils import do_metric_reduction
from numpy.typing import NDArray
from torch import Tensor

from .calibre import diameters_mm, voxel_lengths_mm
from .checks import check_same_shape
from .components import foreground_box
from .skeleton import skeletonize
from .surface import assd_mm, hd95_mm, nsd, surface_distances
from .topology import betti_numbers
from .voxels import Voxels

Mask = NDArray[np.bool_]

NSD_TOLERANCES_MM = (0.5, 1.0)
DIAMETER_EDGES_MM = (1.0, 1.5, 2.0, 2.5, 3.0)  # as ImageCAS-X


def score_case(prediction: Mask, label: Mask, spacing: Sequence[float]) -> dict[str, float]:
    """Score one case on its own grid with every metric.

    Args:
        prediction: mask, ``(H, W)`` or ``(X, Y, Z)``.
        label: reference mask, same shape.
        spacing: mm per voxel along each axis.

    Returns:
        Values by name, in the order of the report:

        * ``dice``, ``precision``, ``recall`` of voxels;
        * ``cldice``, ``topology_precision`` (share of the prediction's skeleton inside the label) and
          ``topology_sensitivity`` (share of the label's skeleton inside the prediction), counted in voxels;
        * ``reference_length_mm``, ``detected_length_mm``, ``detected_length_share``: length of the label's skeleton,
          how much of it lies in the prediction, and the ratio;
        * ``recall_below_1mm`` ... ``recall_from_3mm``: recall of the label's voxels by the diameter of the vessel
          around them, see :func:`.calibre.diameters_mm`; NaN where the label has no vessel of that diameter;
        * ``hd95_mm``, ``assd_mm``, ``nsd_0.5mm``, ``nsd_1mm``: see :mod:`.surface`;
        * ``betti0_error``, ``betti1_error``: by how many components and tunnels the masks differ, see :mod:`.topology`;
        * ``false_positive_components`` (components of the prediction that touch no label voxel) and their volume
          ``false_positive_volume_mm3``; ``missed_components`` (components of the label that touch no predicted voxel);
        * ``prediction_volume_mm3``, ``label_volume_mm3`` (of 2-D masks all volumes are areas in mm2).

        Counts, lengths and volumes of empty masks are 0.

    Raises:
        ValueError: If the shapes differ or are not 2-D or 3-D, or the spacing does not fit or is not positive.
    """
    prediction, label = np.asarray(prediction, dtype=bool), np.asarray(label, dtype=bool)
    _check(prediction, label, spacing)
    diagonal_mm = float(np.linalg.norm(np.multiply(label.shape, spacing)))
    case = _sparse(prediction, label)
    voxel_mm3 = float(np.prod(spacing))
    return (
        _overlap_scores(case)
        | _cldice_scores(case)
        | _length_scores(case, spacing)
        | _recall_by_diameter(case, spacing)
        | _surface_scores(case, spacing, diagonal_mm)
        | _component_scores(case, voxel_mm3)
        | {
            "prediction_volume_mm3": len(case.prediction) * voxel_mm3,
            "label_volume_mm3": len(case.label) * voxel_mm3,
        }
    )


def cldice(prediction: Mask, label: Mask) -> float:
    """Centerline Dice: how far two masks cover each other's skeleton.

    Args:
        prediction: mask, ``(H, W)`` or ``(X, Y, Z)``.
        label: reference mask, same shape.

    Returns:
        Harmonic mean of topology precision and sensitivity, in [0, 1]; two empty masks score 1, one empty mask 0.

    Source:
        Shit et al., "clDice", CVPR 2021, https://arxiv.org/abs/2003.07311, with the skeletons thinned, not soft.
    """
    return _cldice_scores(_sparse(prediction, label))["cldice"]


def score_shape(prediction: Mask, label: Mask) -> dict[str, float]:
    """Score one case by what needs no pixel size, and takes milliseconds in 2-D.

    Args:
        prediction: mask, ``(H, W)`` or ``(X, Y, Z)``.
        label: reference mask, same shape.

    Returns:
        ``dice``, ``precision``, ``recall``, ``cldice``, ``topology_precision``, ``topology_sensitivity`` as in
        :func:`score_case`; the number of ``components`` and of ``label_components``; and ``betti0_error``, by how many
        they differ.
    """
    check_same_shape(prediction=prediction, label=label)
    case = _sparse(np.asarray(prediction, dtype=bool), np.asarray(label, dtype=bool))
    ours, theirs = (mask.components[1] if len(mask) else 0 for mask in (case.prediction, case.label))
    counts = {"components": ours, "label_components": theirs, "betti0_error": abs(ours - theirs)}
    return _overlap_scores(case) | _cldice_scores(case) | {name: float(count) for name, count in counts.items()}


class ClDiceMetric(CumulativeIterationMetric):
    """Mean :func:`cldice` over cases and channels; no case is ever left out.

    For Dice that leaves no case out, MONAI has ``DiceMetric(ignore_empty=False)``.
    """

    def _compute_tensor(self, y_pred: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        """Score a batch of binary masks, ``(B, C, *spatial)``; the result is ``(B, C)``.

        Raises:
            ValueError: If the shapes differ.
        """
        check_same_shape(y_pred=y_pred, y=y)
        pairs = zip(y_pred.bool().numpy(force=True), y.bool().numpy(force=True), strict=True)
        return torch.tensor([[cldice(p, t) for p, t in zip(*pair, strict=True)] for pair in pairs])

    def aggregate(self) -> Tensor:
        """Return the mean since the last reset, a scalar."""
        mean, _ = do_metric_reduction(self.get_buffer(), "mean")  # type: ignore[no-untyped-call]
        return mean


class _Case(NamedTuple):
    """The voxels of two masks in their common box, and of their skeletons."""

    prediction: Voxels
    label: Voxels
    thin_prediction: Voxels
    thin_label: Voxels

    @property
    def any_empty(self) -> bool:
        """Whether a mask is empty, so that the score is :attr:`empty_score`."""
        return len(self.prediction) == 0 or len(self.label) == 0

    @property
    def empty_score(self) -> float:
        """1 if both masks are empty, 0 if one of them is."""
        return float(len(self.prediction) == len(self.label))


def _check(prediction: Mask, label: Mask, spacing: Sequence[float]) -> None:
    check_same_shape(prediction=prediction, label=label)
    if label.ndim not in (2, 3):
        raise ValueError(f"masks must have 2 or 3 axes, without batch and channel, got the shape {label.shape}")
    if len(spacing) != label.ndim or not all(0 < edge < np.inf for edge in spacing):
        raise ValueError(f"spacing must be {label.ndim} lengths in mm above 0, one for each axis, got {list(spacing)}")


def _sparse(prediction: Mask, label: Mask) -> _Case:
    """Thin both masks, and list the voxels in the box that holds them; vessels fill a small part of a volume."""
    boxes = [box for box in (foreground_box(prediction), foreground_box(label)) if box is not None]
    ranges = zip(*boxes, strict=True) if boxes else [(slice(0, 1),)] * label.ndim
    box = tuple(slice(min(s.start for s in sides), max(s.stop for s in sides)) for sides in ranges)
    masks = prediction[box], label[box]
    ours, theirs = Voxels(masks[0]), Voxels(masks[1])
    return _Case(ours, theirs, ours.subset(skeletonize(masks[0])), theirs.subset(skeletonize(masks[1])))


def _overlap_scores(case: _Case) -> dict[str, float]:
    names = ("dice", "precision", "recall")
    if case.any_empty:
        return dict.fromkeys(names, case.empty_score)
    common = case.label.count_in(case.prediction)
    predicted, true = len(case.prediction), len(case.label)
    return dict(zip(names, (2 * common / (predicted + true), common / predicted, common / true), strict=True))


def _cldice_scores(case: _Case) -> dict[str, float]:
    names = ("cldice", "topology_precision", "topology_sensitivity")
    if case.any_empty:
        return dict.fromkeys(names, case.empty_score)
    precision = case.thin_prediction.count_in(case.label) / len(case.thin_prediction)
    sensitivity = case.thin_label.count_in(case.prediction) / len(case.thin_label)
    mean = 2 * precision * sensitivity / max(precision + sensitivity, 1e-12)
    return dict(zip(names, (mean, precision, sensitivity), strict=True))


def _length_scores(case: _Case, spacing: Sequence[float]) -> dict[str, float]:
    lengths = voxel_lengths_mm(case.thin_label, spacing)
    hit = case.prediction.inside[case.thin_label.places]
    weights = lengths if lengths.any() else None  # a label of single voxels has no length; then its voxels count
    share = case.empty_score if case.any_empty else float(np.average(hit, weights=weights))
    return {
        "reference_length_mm": float(lengths.sum()),
        "detected_length_mm": float(lengths[hit].sum()),
        "detected_length_share": share,
    }


def _recall_by_diameter(case: _Case, spacing: Sequence[float]) -> dict[str, float]:
    edges = DIAMETER_EDGES_MM
    names = [
        f"recall_below_{edges[0]:g}mm",
        *(f"recall_{low:g}_to_{high:g}mm" for low, high in pairwise(edges)),
        f"recall_from_{edges[-1]:g}mm",
    ]
    if len(case.label) == 0:
        return dict.fromkeys(names, float("nan"))
    bins = np.digitize(diameters_mm(case.label, case.thin_label, spacing), edges)
    total = np.bincount(bins, minlength=len(names))
    hits = np.bincount(bins[case.prediction.inside[case.label.places]], minlength=len(names))
    return {name: float(h / n) if n else float("nan") for name, h, n in zip(names, hits, total, strict=True)}


def _surface_scores(case: _Case, spacing: Sequence[float], diagonal_mm: float) -> dict[str, float]:
    names = ("hd95_mm", "assd_mm", *(f"nsd_{tolerance:g}mm" for tolerance in NSD_TOLERANCES_MM))
    if case.any_empty:
        distance_mm = diagonal_mm * (1 - case.empty_score)
        values = [distance_mm, distance_mm, *[case.empty_score] * len(NSD_TOLERANCES_MM)]
    else:
        distances = surface_distances(case.prediction, case.label, spacing)
        within = [nsd(distances, tolerance) for tolerance in NSD_TOLERANCES_MM]
        values = [hd95_mm(distances), assd_mm(distances), *within]
    return dict(zip(names, values, strict=True))


def _component_scores(case: _Case, voxel_mm3: float) -> dict[str, float]:
    ours, theirs = betti_numbers(case.prediction), betti_numbers(case.label)
    false = _untouched(case.prediction, case.label)
    missed = _untouched(case.label, case.prediction)
    return {
        "betti0_error": float(abs(ours.components - theirs.components)),
        "betti1_error": float(abs(ours.tunnels - theirs.tunnels)),
        "false_positive_components": float(len(false)),
        "false_positive_volume_mm3": float(false.sum() * voxel_mm3),
        "missed_components": float(len(missed)),
    }


def _untouched(mask: Voxels, other: Voxels) -> NDArray[np.int_]:
    """Return the sizes of those components of ``mask``, in voxels, that have no voxel in common with ``other``."""
    if len(mask) == 0:
        return np.zeros(0, int)
    numbers, count = mask.components
    touched = np.bincount(numbers[other.inside[mask.places]], minlength=count) > 0
    return np.asarray(np.bincount(numbers, minlength=count)[~touched])
