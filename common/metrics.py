"""Metrics of vessel masks, as functions of one case and as a MONAI metric of a data set.

Empty masks are never left out of a mean. Two empty masks score 1 (distances: 0 mm), one empty mask scores 0 (distances:
the diagonal of the image in mm).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from monai.metrics import CumulativeIterationMetric
from monai.metrics.utils import do_metric_reduction
from numpy.typing import NDArray
from torch import Tensor

from .calibre import diameters_mm, voxel_lengths_mm
from .checks import check_same_shape
from .components import foreground_box, label_components
from .skeleton import skeletonize
from .surface import assd_mm, hd95_mm, nsd, surface_distances
from .topology import betti_numbers

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
        * ``hd95_mm``, ``assd_mm``, ``nsd_0.5mm``, ``nsd_1mm``: see :mod:`.surface`;
        * ``betti0_error``, ``betti1_error``: by how many components and tunnels the masks differ, see :mod:`.topology`;
        * ``false_positive_components`` (components of the prediction that touch no label voxel) and their volume
          ``false_positive_volume_mm3``; ``missed_components`` (components of the label that touch no predicted voxel);
        * ``reference_length_mm``, ``detected_length_mm``, ``detected_length_share``: length of the label's skeleton,
          how much of it lies in the prediction, and the ratio;
        * ``recall_below_1mm`` ... ``recall_from_3mm``: recall of the label's voxels by the diameter of the vessel
          around them, see :func:`.calibre.diameters_mm`; NaN where the label has no vessel of that diameter;
        * ``prediction_volume_mm3``, ``label_volume_mm3`` (of 2-D masks all volumes are areas in mm2).

        Counts, lengths and volumes of empty masks are 0.

    Raises:
        ValueError: If the shapes differ or are not 2-D or 3-D, or the spacing does not fit or is not positive.
    """
    prediction, label = np.asarray(prediction, dtype=bool), np.asarray(label, dtype=bool)
    _check(prediction, label, spacing)
    diagonal_mm = float(np.linalg.norm(np.multiply(label.shape, spacing)))
    prediction, label = _crop(prediction, label)
    voxel_mm3 = float(np.prod(spacing))
    return (
        _overlap_scores(prediction, label)
        | _centerline_scores(prediction, label, spacing)
        | _surface_scores(prediction, label, spacing, diagonal_mm)
        | _component_scores(prediction, label, voxel_mm3)
        | {
            "prediction_volume_mm3": np.count_nonzero(prediction) * voxel_mm3,
            "label_volume_mm3": np.count_nonzero(label) * voxel_mm3,
        }
    )


def dice(prediction: Mask, label: Mask) -> float:
    """Return twice the common voxels over the voxels of both masks; two empty masks score 1.

    Args:
        prediction: mask, ``(H, W)`` or ``(X, Y, Z)``.
        label: reference mask, same shape.
    """
    return _overlap_scores(prediction, label)["dice"]


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
    return _cldice_scores(prediction, label, skeletonize(prediction), skeletonize(label))["cldice"]


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


def _check(prediction: Mask, label: Mask, spacing: Sequence[float]) -> None:
    check_same_shape(prediction=prediction, label=label)
    if label.ndim not in (2, 3):
        raise ValueError(f"masks must have 2 or 3 axes, without batch and channel, got the shape {label.shape}")
    if len(spacing) != label.ndim or not all(0 < edge < np.inf for edge in spacing):
        raise ValueError(f"spacing must be {label.ndim} lengths in mm above 0, one for each axis, got {list(spacing)}")


def _crop(prediction: Mask, label: Mask) -> tuple[Mask, Mask]:
    """Cut both masks to the box that holds them, in memory order; vessels fill a small part of a volume."""
    boxes = [box for box in (foreground_box(prediction), foreground_box(label)) if box is not None]
    ranges = zip(*boxes, strict=True) if boxes else [(slice(0, 1),)] * label.ndim
    box = tuple(slice(min(s.start for s in sides), max(s.stop for s in sides)) for sides in ranges)
    return np.ascontiguousarray(prediction[box]), np.ascontiguousarray(label[box])


def _overlap_scores(prediction: Mask, label: Mask) -> dict[str, float]:
    predicted, true = np.count_nonzero(prediction), np.count_nonzero(label)
    if predicted == 0 or true == 0:
        return dict.fromkeys(("dice", "precision", "recall"), float(predicted == true))
    common = np.count_nonzero(prediction & label)
    return {"dice": 2 * common / (predicted + true), "precision": common / predicted, "recall": common / true}


def _cldice_scores(prediction: Mask, label: Mask, thin_prediction: Mask, thin_label: Mask) -> dict[str, float]:
    if not prediction.any() or not label.any():
        same = float(prediction.any() == label.any())
        return dict.fromkeys(("cldice", "topology_precision", "topology_sensitivity"), same)
    precision = float(label[thin_prediction].mean())
    sensitivity = float(prediction[thin_label].mean())
    return {
        "cldice": 2 * precision * sensitivity / max(precision + sensitivity, 1e-12),
        "topology_precision": precision,
        "topology_sensitivity": sensitivity,
    }


def _surface_scores(prediction: Mask, label: Mask, spacing: Sequence[float], diagonal_mm: float) -> dict[str, float]:
    shares = [f"nsd_{tolerance:g}mm" for tolerance in NSD_TOLERANCES_MM]
    if not prediction.any() or not label.any():
        same = bool(prediction.any() == label.any())
        return dict.fromkeys(("hd95_mm", "assd_mm"), 0.0 if same else diagonal_mm) | dict.fromkeys(shares, float(same))
    distances = surface_distances(prediction, label, spacing)
    within = [nsd(distances, tolerance) for tolerance in NSD_TOLERANCES_MM]
    return {"hd95_mm": hd95_mm(distances), "assd_mm": assd_mm(distances), **dict(zip(shares, within, strict=True))}


def _component_scores(prediction: Mask, label: Mask, voxel_mm3: float) -> dict[str, float]:
    predicted, predicted_count = label_components(prediction)
    true, true_count = label_components(label)
    sizes = np.bincount(predicted[prediction], minlength=predicted_count + 1)
    false = np.ones(predicted_count + 1, bool)
    false[0] = False
    false[predicted[label]] = False
    missed = true_count - np.count_nonzero(np.unique(true[prediction]))
    ours, theirs = betti_numbers(prediction, predicted_count), betti_numbers(label, true_count)
    return {
        "betti0_error": float(abs(ours.components - theirs.components)),
        "betti1_error": float(abs(ours.tunnels - theirs.tunnels)),
        "false_positive_components": float(false.sum()),
        "false_positive_volume_mm3": float(sizes[false].sum() * voxel_mm3),
        "missed_components": float(missed),
    }


def _centerline_scores(prediction: Mask, label: Mask, spacing: Sequence[float]) -> dict[str, float]:
    thin_prediction, thin_label = skeletonize(prediction), skeletonize(label)
    hit = prediction[thin_label]
    lengths = voxel_lengths_mm(thin_label, spacing)
    detected, total = float(lengths[hit].sum()), float(lengths.sum())
    scores = _cldice_scores(prediction, label, thin_prediction, thin_label)
    # a label of single voxels has no length; then its voxels count
    share = detected / total if total > 0 else scores["topology_sensitivity"]
    if not prediction.any():
        share = float(not label.any())
    return scores | {
        "reference_length_mm": total,
        "detected_length_mm": detected,
        "detected_length_share": share,
        **_recall_by_diameter(prediction, label, thin_label, spacing),
    }


def _recall_by_diameter(prediction: Mask, label: Mask, skeleton: Mask, spacing: Sequence[float]) -> dict[str, float]:
    edges = DIAMETER_EDGES_MM
    names = [
        f"recall_below_{edges[0]:g}mm",
        *(f"recall_{low:g}_to_{high:g}mm" for low, high in pairwise(edges)),
        f"recall_from_{edges[-1]:g}mm",
    ]
    if not label.any():
        return dict.fromkeys(names, float("nan"))
    bins = np.digitize(diameters_mm(label, skeleton, spacing), edges)
    total = np.bincount(bins, minlength=len(names))
    hits = np.bincount(bins[prediction[label]], minlength=len(names))
    return {name: float(h / n) if n else float("nan") for name, h, n in zip(names, hits, total, strict=True)}
