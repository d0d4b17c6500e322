"""Soft clDice and the label's soft skeleton against MONAI's."""

from __future__ import annotations

import functools
import math
import warnings
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

# The vessels are thicker than the 3 iterations that the figures are stated for; time and equality do not depend on it.
warnings.filterwarnings("ignore", message="iterations .* is below the label's largest radius")


class Batch(NamedTuple):
    """Logits that require a gradient and their label, ``(B, 1, *spatial)`` each, float32."""

    logits: Tensor
    label: Tensor


class Result(NamedTuple):
    """Loss value and its gradient with respect to the logits."""

    value: Tensor
    gradient: Tensor


def cases(size: str) -> list[Case]:
    """One 96^3 patch and its label; ``full`` adds CAS-Net's batch and one of angiograms."""
    patch = [_loss_case((1, 1, 96, 96, 96), iterations=3, floor=10), _label_case((96, 96, 96), iterations=3)]
    if size == "quick":
        return patch
    native = _loss_case((2, 1, 128, 160, 160), iterations=3, floor=15)
    return [native, *patch, _loss_case((4, 1, 512, 512), iterations=10, floor=None)]


def _loss_case(shape: Shape, iterations: int, floor: float | None) -> Case:
    step = functools.partial(_step, SoftClDiceLoss(iterations))
    # Each once: prediction read, skeleton written; prediction and skeleton's gradient read, gradient written.
    traffic = 5 * 4 * math.prod(shape)
    return Case(
        name=f"soft clDice, forward + backward, {iterations} iterations",
        size="x".join(map(str, shape)),
        prepare=functools.partial(_batch, shape),
        peer=Variant("MONAI", functools.partial(_step, SoftclDiceLoss(iterations, sigmoid=True))),
        ours=[
            Variant("numba", step, floor, floor and 0.15, "numba", traffic),
            Variant("plain torch", _without_kernels(step), floor and 3.5, floor and 1 / 3, traffic_bytes=traffic),
        ],
        check=_same_loss,
    )


def _label_case(shape: tuple[int, int, int], iterations: int) -> Case:
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


def _batch(shape: Shape) -> Batch:
    x, y, z = shape[2:] if len(shape) == 5 else (*shape[2:], 96)
    masks = [coronary_mask((x, y, z), seed) for seed in range(shape[0])]
    if len(shape) == 4:
        masks = [np.asarray(mask.any(2)) for mask in masks]  # an angiogram is a projection
    logits = np.stack([noisy_logits(mask, seed) for seed, mask in enumerate(masks)]).reshape(shape)
    label = np.stack(masks).reshape(shape).astype(np.float32)
    return Batch(torch.from_numpy(logits).requires_grad_(), torch.from_numpy(label))


def _step(loss: nn.Module, batch: Batch) -> Result:
    value = loss(batch.logits, batch.label)
    (gradient,) = torch.autograd.grad(value, batch.logits)
    return Result(value.detach(), gradient)


def _without_kernels(step: Callable[[Batch], Result]) -> Callable[[Batch], Result]:
    def plain(batch: Batch) -> Result:
        with mock.patch.object(soft_skeleton, "_kernels", None):
            return step(batch)

    return plain


def _same_loss(ours: Result, peer: Result) -> str:
    value = abs(ours.value - peer.value).item()
    gradient = ((ours.gradient - peer.gradient).norm() / peer.gradient.norm()).item()
    assert value <= 1e-6, f"the loss differs by {value}"
    # Some float32 logits are equal; where neighbours are, each implementation picks another valid subgradient.
    assert gradient <= 1e-2, f"the gradient differs by {gradient} of its norm"
    return f"value {value:.0e}, gradient {gradient:.0e}"


def _same_skeleton(ours: Tensor, peer: Tensor) -> str:
    assert torch.equal(ours.float(), peer), "the label's skeleton differs"
    return "bit-equal"
