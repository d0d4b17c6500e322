"""Every metric of one case against MONAI's metrics and scikit-image."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from monai.metrics import (
    ConfusionMatrixMetric,
    DiceMetric,
    HausdorffDistanceMetric,
    SurfaceDiceMetric,
    SurfaceDistanceMetric,
)
from numpy.typing import NDArray
from skimage.measure import euler_number, label
from skimage.morphology import skeletonize

from benchmarks.case import Case, Variant
from benchmarks.data import coronary_mask, imperfect_prediction
from common import skeleton
from common.metrics import NSD_TOLERANCES_MM, score_case
from common.surface import ROUNDING

SPACING = (0.35, 0.35, 0.5)  # mm
Mask = NDArray[np.bool_]
Scores = dict[str, float]


class Masks(NamedTuple):
    """What is scored, ``(X, Y, Z)`` each."""

    prediction: Mask
    label: Mask


def cases(size: str) -> list[Case]:
    """A volume as it comes from the scanner, or one of half its edges."""
    shape, floor = ((512, 512, 275), 20) if size == "full" else ((320, 320, 192), 10)
    return [
        Case(
            name="all metrics of a case",
            size="x".join(map(str, shape)),
            prepare=functools.partial(_masks, shape),
            peer=Variant("MONAI + scikit-image", _score_with_peers),
            ours=[
                Variant("numba", _score, floor, 0.5, "numba", 2 * math.prod(shape)),
                Variant("plain", _without_kernels(_score), floor / 3, 0.5, traffic_bytes=2 * math.prod(shape)),
            ],
            check=_same_scores,
        )
    ]


def _masks(shape: tuple[int, int, int]) -> Masks:
    mask = coronary_mask(shape)
    return Masks(imperfect_prediction(mask), mask)


def _score(masks: Masks) -> Scores:
    return score_case(masks.prediction, masks.label, SPACING)


def _without_kernels(score: Callable[[Masks], Scores]) -> Callable[[Masks], Scores]:
    def plain(masks: Masks) -> Scores:
        with mock.patch.object(skeleton, "_accelerated", None):
            return score(masks)

    return plain


def _score_with_peers(masks: Masks) -> Scores:
    """Compute those of our metrics that MONAI and scikit-image have, too."""
    pair = [torch.from_numpy(mask)[None, None].byte() for mask in masks]  # it would count no true positive in bool
    confusion = ConfusionMatrixMetric(metric_name=["precision", "recall"])
    confusion(*pair)
    precision, recall = confusion.aggregate()
    nsd = [
        _number(SurfaceDiceMetric([tolerance * (1 + ROUNDING)])(*pair, spacing=SPACING))
        for tolerance in NSD_TOLERANCES_MM
    ]
    ours, theirs = (_betti_numbers(mask) for mask in masks)
    return {
        "dice": _number(DiceMetric()(*pair)),
        "precision": _number(precision),
        "recall": _number(recall),
        "cldice": _cldice(*masks),
        "hd95_mm": _number(HausdorffDistanceMetric(percentile=95)(*pair, spacing=SPACING)),
        "assd_mm": _number(SurfaceDistanceMetric(symmetric=True)(*pair, spacing=SPACING)),
        "nsd_0.5mm": nsd[0],
        "nsd_1mm": nsd[1],
        "betti0_error": abs(ours[0] - theirs[0]),
        "betti1_error": abs(ours[1] - theirs[1]),
    }


def _number(score: Any) -> float:
    return float(score)  # MONAI's signatures allow lists of tensors, too


def _cldice(prediction: Mask, reference: Mask) -> float:
    precision = reference[skeletonize(prediction)].mean()
    sensitivity = prediction[skeletonize(reference)].mean()
    return float(2 * precision * sensitivity / (precision + sensitivity))


def _betti_numbers(mask: Mask) -> tuple[int, int]:
    components = label(mask, connectivity=3, return_num=True)[1]
    cavities = label(~mask, connectivity=1, return_num=True)[1] - 1  # the mask leaves the border free
    return components, components + cavities - euler_number(mask, connectivity=3)


def _same_scores(ours: Scores, peer: Scores) -> str:
    """The skeletons differ where scikit-image's thinning erases a vessel; all other definitions are the same."""
    apart = {name: abs(ours[name] - value) for name, value in peer.items()}
    cldice, precision = apart.pop("cldice"), apart.pop("precision")
    assert max(apart.values()) <= 1e-6, f"scores differ: {apart}"
    assert precision <= 1e-4, f"precision differs by {precision}"  # MONAI counts 72 million voxels in single precision
    assert cldice <= 0.02, f"clDice differs by {cldice}"
    return f"{len(apart)} scores within {max(apart.values()):.0e}, precision {precision:.0e}, clDice {cldice:.0e}"
