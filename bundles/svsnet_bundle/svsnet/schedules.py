"""Learning rates over the epochs of a training; to be stepped once an epoch.

The loss needs nothing of ours: MONAI's ``DiceLoss(sigmoid=True, batch=True, smooth_nr=0, smooth_dr=1e-5)`` is the
authors', plus 1.
"""

from __future__ import annotations

from functools import partial

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

REFERENCE_LOW = (0, 200, 400, 600)
"""Epochs at a tenth of the learning rate."""

STEPS = (0.6, 0.85)
"""Shares of a training after which the learning rate is divided by 10."""


def default_schedule(optimizer: Optimizer, epochs: int) -> LambdaLR:
    """Make a scheduler: one epoch at a tenth of the learning rate, the full one, and a tenth after 60 % and 85 %.

    Args:
        optimizer: its learning rate is the full one.
        epochs: length of the training.

    Raises:
        ValueError: If ``epochs`` is below 1.
    """
    if epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    return LambdaLR(optimizer, partial(default_factor, epochs=epochs))


def reference_schedule(optimizer: Optimizer) -> LambdaLR:
    """Make the scheduler of the authors' code: single epochs at a tenth, the full learning rate in between.

    Theirs was meant to divide by 10 at each of them; a local variable made it come back in the next epoch.
    """
    return LambdaLR(optimizer, reference_factor)


def default_factor(epoch: int, epochs: int) -> float:
    """Return what the learning rate is multiplied by in ``epoch``, counted from 0, of a training of ``epochs``."""
    if epoch == 0 and epochs > 1:
        return 0.1
    return float(0.1 ** sum(epoch >= share * epochs for share in STEPS))


def reference_factor(epoch: int) -> float:
    """Return what the learning rate is multiplied by in ``epoch``, counted from 0."""
    return 0.1 if epoch in REFERENCE_LOW else 1.0
