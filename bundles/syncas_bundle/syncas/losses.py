"""Losses of SynCAS: segmentation of both views, and the contrast between the same vessel and everything else."""

from __future__ import annotations

import torch
from monai.losses import DiceLoss
from torch import Tensor, nn
from torch.nn import functional

from .contrastive import TwoViews


class SynCASLoss(nn.Module):
    """Dice and cross entropy of both views, plus the weighted contrastive terms of all feature maps.

    Args:
        contrast_weight: weight of the contrastive terms; 0 trains the network on both views without them.

    Raises:
        ValueError: If the weight is below 0.

    Attributes:
        terms: values of the last call: "dice" (1 - Dice), "cross_entropy", for each map i "skipped_<i>", the share of
            the batch that had no voxels to compare, and "contrast_<i>" unless that was all of it.

    Source:
        Hao et al., SynCAS (2025). Theirs takes the Dice itself, negative, which is this loss less 1.
    """

    def __init__(self, contrast_weight: float = 0.1) -> None:
        super().__init__()
        if contrast_weight < 0:
            raise ValueError(f"contrast_weight must be at least 0, got {contrast_weight}")
        self.contrast_weight = contrast_weight
        self.dice = DiceLoss(include_background=False, to_onehot_y=True, softmax=True, smooth_nr=1e-5, smooth_dr=1e-5)
        self.terms: dict[str, float] = {}

    def forward(self, views: TwoViews, branches: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            views: what :class:`.contrastive.ContrastiveModel` returns.
            branches: branch labels ``(B, 1, X, Y, Z)``: above 0 is vessel, -1 (padding) counts as background.

        Returns:
            Scalar.
        """
        target = (torch.as_tensor(branches) > 0).float()
        both = [logits.float() for logits in views.logits]
        dice = torch.stack([self.dice(logits, target) for logits in both]).mean()
        entropy = torch.stack([functional.cross_entropy(logits, target[:, 0].long()) for logits in both]).mean()
        self.terms = {"dice": dice.item(), "cross_entropy": entropy.item()}
        for i, (term, used) in enumerate(zip(views.contrasts, views.used, strict=True)):
            self.terms[f"skipped_{i}"] = 1 - used / len(target)
            if used:
                self.terms[f"contrast_{i}"] = term.item()
        return dice + entropy + self.contrast_weight * torch.stack(list(views.contrasts)).sum()
