"""Losses for thin branching masks that MONAI lacks or computes wastefully. Each takes logits and returns a scalar.

One channel of logits means a sigmoid; two or more mean a softmax with channel 0 as background, which the topology terms
leave out. Everything is computed in float32, whatever comes in. For plain region losses use MONAI's: the softmax Dice
with squared denominator is ``DiceLoss(softmax=True, to_onehot_y=True, squared_pred=True, smooth_nr=1, smooth_dr=1)``.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from monai.data import MetaTensor
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional

from .soft_skeleton import soft_skeleton, soft_skeleton_of_label


class SoftClDiceLoss(nn.Module):
    """One minus the soft centerline Dice: how far prediction and label miss each other's soft skeleton.

    The value is that of MONAI's ``SoftclDiceLoss`` with ``include_background=False``, at a fraction of its time and
    memory; besides, this one cannot be given probabilities for logits, nor skeletons that are silently empty because
    the vessel is thicker than the iterations reach. Sum it with a region loss.

    Args:
        iterations: erosions of the soft skeleton; at least the largest vessel radius in voxels. Time and memory grow
            with it.
        smooth: added to both sides of precision and sensitivity, above 0.

    Raises:
        ValueError: If ``iterations`` is negative or ``smooth`` is not above 0.

    Source:
        Shit et al., "clDice", CVPR 2021, https://arxiv.org/abs/2003.07311. As in MONAI 1.6.1 the sums run over channels
        and space, the mean over the batch, and 1e-4 is added to the denominator of the harmonic mean.
    """

    def __init__(self, iterations: int = 10, smooth: float = 1.0) -> None:
        super().__init__()
        if iterations < 0:
            raise ValueError(f"iterations must be at least 0, got {iterations}")
        if smooth <= 0:
            raise ValueError(f"smooth must be above 0, got {smooth}: an empty label would give 0 / 0")
        self.iterations = iterations
        self.smooth = smooth
        self._warned = False

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compute the loss; warn, once for each loss object, if a label is thicker than ``iterations`` reach.

        Args:
            logits: network output, ``(B, C, *spatial)``.
            label: class indices, ``(B, 1, *spatial)``, or one channel per class in {0, 1}, ``(B, C, *spatial)``.

        Returns:
            Scalar in [0, 1]. For an empty label it is small where little is predicted.

        Raises:
            ValueError: If the shapes do not belong together or the label holds other values.
        """
        probabilities = _foreground_probabilities(logits)
        mask = _foreground(logits, label, "label")
        skeleton = soft_skeleton(probabilities, self.iterations)
        label_skeleton, complete = soft_skeleton_of_label(mask, self.iterations)
        if not complete and not self._warned:
            self._warned = True
            warnings.warn(_too_thick(mask, self.iterations), stacklevel=2)
        label_skeleton = label_skeleton.float()  # sums of boolean tensors are slow
        precision = self._share(skeleton * mask, skeleton)
        sensitivity = self._share(probabilities * label_skeleton, label_skeleton)
        return (1 - 2 * precision * sensitivity / (precision + sensitivity + 1e-4)).mean()

    def _share(self, covered: Tensor, skeleton: Tensor) -> Tensor:
        return (covered.flatten(1).sum(1) + self.smooth) / (skeleton.flatten(1).sum(1) + self.smooth)  # (B,)


class SkeletonRecallLoss(nn.Module):
    """One minus the share of the label's skeleton that the prediction covers.

    Every skeleton voxel weighs the same, so a thin side branch counts as much as an equal length of the main stem.
    False positives cost nothing here: sum it with a region loss. The skeleton is made in the data loader, where it
    costs no training time; :func:`common.dilation.dilate_mm` makes a tube of it, as the authors do.

    Args:
        smooth: added to both sides of the fraction, at least 0.

    Raises:
        ValueError: If ``smooth`` is negative.

    Source:
        Kirchhoff et al., "Skeleton Recall Loss", ECCV 2024, https://arxiv.org/abs/2404.03010.
        Differs from the authors' code in that the loss lies in [0, 1] (theirs in [-1, 0]).
    """

    def __init__(self, smooth: float = 1.0) -> None:
        super().__init__()
        if smooth < 0:
            raise ValueError(f"smooth must be at least 0, got {smooth}")
        self.smooth = smooth + 1e-12  # keeps 0 / 0 away; without effect on a skeleton of one voxel or more

    def forward(self, logits: Tensor, skeleton: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: network output, ``(B, C, *spatial)``.
            skeleton: skeleton of the label, or a tube around it: class indices, ``(B, 1, *spatial)``, or one channel
                per class in {0, 1}, ``(B, C, *spatial)``.

        Returns:
            Scalar in [0, 1], the mean over batch and foreground classes; a class without skeleton costs 0.

        Raises:
            ValueError: If the shapes do not belong together or the skeleton holds other values.
        """
        target = _foreground(logits, skeleton, "skeleton").flatten(2).float()
        covered = (_foreground_probabilities(logits).flatten(2) * target).sum(2)
        recall = (covered + self.smooth) / (target.sum(2) + self.smooth)
        return 1 - recall.mean()


class RegionAndTopologyLoss(nn.Module):
    """Region loss plus a weighted topology term, for a trainer that hands over one target tensor.

    MONAI sums losses only in fixed pairs, and none of them takes a skeleton that was made in the data loader.

    Args:
        region: called with the logits and the label, e.g. MONAI's ``DiceLoss``.
        topology: called with the logits and the target's last channel, e.g. :class:`SkeletonRecallLoss`.
        weight: factor of the topology term.
    """

    def __init__(self, region: nn.Module, topology: nn.Module, weight: float = 1.0) -> None:
        super().__init__()
        self.region = region
        self.topology = topology
        self.weight = weight

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Compute the sum.

        Args:
            logits: network output, ``(B, C, *spatial)``.
            target: label as class indices, ``(B, 1, *spatial)``, which both terms get; or label and skeleton,
                ``(B, 2, *spatial)``, as ``ConcatItemsd`` puts them together.

        Returns:
            Scalar.

        Raises:
            ValueError: If the target has more than two channels.
        """
        if target.shape[1] not in (1, 2):
            raise ValueError(
                "target must be a label (B, 1, *spatial) or label and skeleton (B, 2, *spatial), "
                f"got {tuple(target.shape)}"
            )
        region: Tensor = self.region(logits, target[:, :1])
        topology: Tensor = self.topology(logits, target[:, -1:])
        return region + self.weight * topology


class CASNetCompositeLoss(nn.Module):
    """CAS-Net's loss: cross-entropy, cross-entropy weighted by the predicted class balance, and Dice.

    Args:
        cross_entropy_weight: factor of the plain cross-entropy.
        balanced_weight: factor of the weighted cross-entropy. A class weighs as much as the rest of the prediction
            outweighs it, a constant for the gradient.
        dice_weight: factor of the Dice loss over all classes, the background included.
        sigmoid_first: pass the logits through a sigmoid before the softmax, as the authors' network and loss together
            do. The loss can then hardly tell a perfect segmentation from an empty one; for comparison only.

    Source:
        CAS-Net's published code. The weighted sum is divided by 3, and all sums run over batch and space together.
        Differs in the softmax of logits, where the authors' is one of sigmoid outputs (``sigmoid_first``).
    """

    def __init__(
        self,
        cross_entropy_weight: float = 1.0,
        balanced_weight: float = 0.6,
        dice_weight: float = 0.4,
        sigmoid_first: bool = False,
    ) -> None:
        super().__init__()
        self.cross_entropy_weight = cross_entropy_weight
        self.balanced_weight = balanced_weight
        self.dice_weight = dice_weight
        self.sigmoid_first = sigmoid_first

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: network output, ``(B, C, *spatial)``.
            label: class indices, ``(B, 1, *spatial)``, or one channel per class in {0, 1}, ``(B, C, *spatial)``.

        Returns:
            Scalar, at least 0.

        Raises:
            ValueError: If the shapes do not belong together, the label holds other values, or ``sigmoid_first`` meets
                a single channel.
        """
        if self.sigmoid_first and logits.shape[1] == 1:
            raise ValueError(
                "sigmoid_first is defined for two or more channels, got logits "
                f"{tuple(logits.shape)}: give the network a background channel or leave sigmoid_first out"
            )
        foreground = _foreground(logits, label, "label")
        target = torch.cat([~foreground.any(1, keepdim=True), foreground], 1).float()
        scores = _plain(logits).float()
        if scores.shape[1] == 1:
            scores = torch.cat([torch.zeros_like(scores), scores], 1)  # softmax of (0, z) is (1 - sigmoid, sigmoid)
        scores = scores.sigmoid() if self.sigmoid_first else scores
        share = scores.softmax(1)
        classes = target.argmax(1)
        return (
            self.cross_entropy_weight * functional.cross_entropy(scores, classes)
            + self.balanced_weight * functional.cross_entropy(scores, classes, _predicted_balance(share.detach()))
            + self.dice_weight * _squared_dice_loss(share, target)
        ) / 3


class FocalDiceLoss(nn.Module):
    """The loss of the centerline U-Net: focal cross-entropy and the Dice of the vessel, half and half.

    MONAI's ``DiceFocalLoss`` has other class weights: here they are divided by their mean over the batch, so that the
    size of the loss does not depend on how much vessel a batch holds.

    Args:
        class_weights: of background and vessel, such as the share of the *other* class in a patch; None for 1 and 1.
        gamma: exponent of the focal term, 0 (plain cross-entropy) or at least 1: below, its gradient is infinite.
        dice_gain: factor of the Dice loss.
        literal: the Dice term as the published code computes it: of the *second sample* of the batch alone, averaged
            over both classes. For comparison only.

    Raises:
        ValueError: If there are not two positive class weights, or ``gamma`` is neither 0 nor at least 1.

    Source:
        https://github.com/FrancescoLeni/CoronarySegmentation, whose Dice term takes the batch index for the class
        index; ``literal`` keeps that.
    """

    def __init__(
        self,
        class_weights: Sequence[float] | None = None,
        gamma: float = 1.0,
        dice_gain: float = 0.85,
        literal: bool = False,
    ) -> None:
        super().__init__()
        weights = (1.0, 1.0) if class_weights is None else tuple(class_weights)
        if len(weights) != 2 or min(weights) <= 0:
            raise ValueError(f"class_weights must be two positive numbers (background, vessel), got {class_weights}")
        if gamma < 1 and gamma != 0:
            raise ValueError(f"gamma must be 0 or at least 1, got {gamma}")
        self.class_weights = weights
        self.gamma = gamma
        self.dice_gain = dice_gain
        self.literal = literal

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Compute the loss.

        Args:
            logits: network output, ``(B, 2, *spatial)``.
            label: class indices, ``(B, 1, *spatial)``, or one channel per class in {0, 1}, ``(B, 2, *spatial)``.

        Returns:
            Scalar, at least 0.

        Raises:
            ValueError: If the shapes do not belong together, the label holds other values, or ``literal`` meets a
                batch of one.
        """
        if logits.shape[1] != 2:
            raise ValueError(f"logits must have two channels (background, vessel), got {tuple(logits.shape)}")
        if self.literal and len(logits) < 2:
            raise ValueError("literal looks at the second sample of a batch, got a batch of one: set batch_size to 2")
        vessel = _foreground(logits, label, "label")
        target = torch.cat([~vessel, vessel], 1).float()
        log_share = _plain(logits).float().log_softmax(1)
        cross_entropy = -(log_share * target).sum(1)
        weight = (target * target.new_tensor(self.class_weights).view(2, *[1] * (target.ndim - 2))).sum(1)
        focal = (weight / weight.mean() * (1 - (-cross_entropy).exp()) ** self.gamma * cross_entropy).mean()
        axes = list(range(2, target.ndim))
        share = log_share.exp()
        dice = (2 * (share * target).sum(axes) + 1e-6) / ((share.square() + target).sum(axes) + 1e-6)  # (B, 2)
        return 0.5 * focal + 0.5 * self.dice_gain * (1 - (dice[1] if self.literal else dice[:, 1]).mean())


def _predicted_balance(share: Tensor) -> Tensor:
    """Weight of each class, ``(C,)``: what the other classes are predicted to fill over what it fills itself."""
    filled = share.transpose(0, 1).flatten(1).sum(1)
    # Not 1 - share: that rounds to 0 for a confident background, and only zeros would be left to divide.
    others = torch.stack([filled[torch.arange(len(filled)) != c].sum() for c in range(len(filled))])
    return others.clamp_min(1e-12) / filled.clamp_min(1e-12)


def _squared_dice_loss(share: Tensor, target: Tensor) -> Tensor:
    axes = [0, *range(2, share.ndim)]
    overlap = (share * target).sum(axes)
    size = (share.square() + target).sum(axes)  # the target is its own square
    return (1 - (2 * overlap + 1) / (size + 1)).mean()


def _foreground_probabilities(logits: Tensor) -> Tensor:
    """Sigmoid of a single channel, else the softmax without channel 0; float32."""
    logits = _plain(logits).float()
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)[:, 1:]


def _foreground(logits: Tensor, label: Tensor, name: str) -> Tensor:
    """Label as one boolean mask per foreground class, ``(B, C - 1, *spatial)``, or 1 for a single channel."""
    channels = logits.shape[1] if logits.ndim > 1 else 0
    single = (*logits.shape[:1], 1, *logits.shape[2:])
    if logits.ndim not in (4, 5) or tuple(label.shape) not in (single, tuple(logits.shape)):
        raise ValueError(
            f"logits must be (B, C, H, W) or (B, C, X, Y, Z) and the {name} the same with 1 or C channels, "
            f"got logits {tuple(logits.shape)}, {name} {tuple(label.shape)}"
        )
    label = _plain(label)
    if label.shape[1] == 1:
        masks = torch.cat([label == c for c in range(1, max(channels, 2))], 1)
        known = masks.any(1, keepdim=True) | (label == 0)
    else:
        masks = label[:, 1:] == 1
        known = (label == 0) | (label == 1)
    if not known.all():
        unknown = label[~known][0].item()
        raise ValueError(
            f"the {name} must hold class indices 0 to {max(channels - 1, 1)} (0 and 1 if it has a channel per class), "
            f"got {unknown:.4g} among them: does it follow another convention, or was it interpolated?"
        )
    return masks


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_tensor() if isinstance(tensor, MetaTensor) else tensor


def _too_thick(mask: Tensor, iterations: int) -> str:
    depth = max(int(ndimage.distance_transform_cdt(m, "taxicab").max()) for m in mask.flatten(0, 1).cpu().numpy())
    return (
        f"iterations ({iterations}) is below the label's largest radius in voxels: thick vessels have no soft skeleton "
        f"and are not scored. Set iterations to at least {max(depth - 1, iterations + 1)}."
    )
