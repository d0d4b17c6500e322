"""Soft clDice and the label's soft skeleton against MONAI's."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch
from monai.losses import SoftclDiceLoss
from monai.losses.cldice import soft_skel
from torch import Tensor, nn

from benchmarks.case import Case, Variant
from benchmarks.data import coronary_mask, noisy_logits
from common import soft_skeleton
from common.losses import SoftClDiceLoss

Shape = tuple[int, ...]


class Batch(NamedTuple):
    """Logits that require a gradient and their label, ``(B, 1, *spatial)`` each, float32."""

    logits: Tensor
    label: Tensor


class Result(NamedTuple):
    """Loss value and its gradient with respect to the logits."""

    value: Tensor
    gradient: Tensor


def cases(size: str) -> list[Case]:
    """The loss of one training step and the label's part of it; ``full`` adds the native patch and an angiogram."""
    quick = [_loss_case((1, 1, 96, 96, 96), iterations=3, floor=10), _label_case((96, 96, 96), iterations=3)]
    if size == "quick":
        return quick
    native = _loss_case((2, 1, 128, 160, 160), iterations=3, floor=15)
    return [native, *quick, _loss_case((4, 1, 512, 512), iterations=10, floor=None)]


def _loss_case(shape: Shape, iterations: int, floor: float | None) -> Case:
    step = functools.partial(_step, SoftClDiceLoss(iterations))
    levels = iterations + 1
    voxels = int(np.prod(shape))
    return Case(
        name=f"soft clDice forward + backward, {iterations} iterations",
        size="x".join(map(str, shape)),
        prepare=functools.partial(_batch, shape, torch.float32),
        peer=Variant("MONAI", functools.partial(_step, SoftclDiceLoss(iterations, sigmoid=True))),
        ours=[
            # Least traffic of kernels that pass over the volume once per level and direction: see _SweepBytes.
            Variant("numba", step, floor, 0.15, needs="numba", traffic_bytes=voxels * (8 + 24 * levels)),
            Variant("plain torch", functools.partial(_without_kernels, step), floor and 3.5, floor and 1 / 3),
        ],
        check=_same_loss,
    )


def _label_case(shape: Shape, iterations: int) -> Case:
    return Case(
        name=f"soft skeleton of a label, {iterations} iterations",
        size="x".join(map(str, shape)),
        prepare=lambda: torch.from_numpy(coronary_mask(shape))[None, None],
        peer=Variant("MONAI", lambda label: soft_skel(label.float(), iterations)),
        ours=[
            Variant("plain torch", lambda label: soft_skeleton.soft_skeleton_of_label(label, iterations)[0], floor=30)
        ],
        check=_same_skeleton,
    )
