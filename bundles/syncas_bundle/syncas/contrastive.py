"""The contrastive term: the same vessel voxel in two views attracts, background and other branches repel.

Source:
    Hao et al., SynCAS (2025).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from .heads import ProjectionHeads
from .network import SynCASNet
from .sampling import LABEL_RESIZE, draw_voxels, shrink_branches

PSEUDO_MODES = ("scale", "weight")


class TwoViews(NamedTuple):
    """What the network makes of two views.

    Attributes:
        logits: of the first and of the second view, ``(B, 2, X, Y, Z)`` each.
        contrasts: contrastive term of each feature map; 0 where no element had voxels to compare.
        used: elements of the batch that had, for each feature map.
    """

    logits: tuple[Tensor, Tensor]
    contrasts: tuple[Tensor, ...]
    used: tuple[int, ...]


class ContrastiveModel(nn.Module):
    """The network with its heads as it is trained: two views in, their logits and contrastive terms out.

    Only the drawn voxels pass through the heads. Projecting whole feature maps first gives the same numbers and needs
    hundreds of megabytes more. In its state dict the network's tensors have the names that they have in the network's
    own, so that weights exchanged in federated learning fit both.

    Args:
        network: segments a view, and hands out its feature maps.
        heads: one for each feature map.
        enabled: False leaves the contrastive terms out (they are 0 then).
        branch_aware: True takes one branch for anchors and the others for pseudo-negatives; False is plain InfoNCE,
            with all branches for anchors.
        num_anchors: anchors of each map and element of the batch.
        num_negatives: negatives of each anchor.
        num_pseudo: pseudo-negatives of each anchor.
        late_factor: multiplies both numbers while ``late`` is true, see :class:`.handlers.LateNegatives`.
        temperature: see :func:`contrast`.
        alpha: see :func:`contrast`.
        pseudo_mode: "scale" or "weight", see :func:`contrast`.
        label_resize: "nearest" or "max", see :func:`.sampling.shrink_branches`.
        frozen_norm: True keeps the running statistics of the network's norms, and normalizes by them in training too.

    Raises:
        ValueError: If an option of the sampling or of the term is out of its range.
    """

    def __init__(
        self,
        network: SynCASNet,
        heads: ProjectionHeads,
        enabled: bool = True,
        branch_aware: bool = True,
        num_anchors: int = 512,
        num_negatives: int = 5,
        num_pseudo: int = 1,
        late_factor: int = 2,
        temperature: float = 0.3,
        alpha: float = 0.5,
        pseudo_mode: str = "scale",
        label_resize: str = "nearest",
        frozen_norm: bool = False,
    ) -> None:
        super().__init__()
        if min(num_anchors, num_negatives, late_factor) < 1 or num_pseudo < 0:
            raise ValueError(
                "num_anchors, num_negatives and late_factor must be at least 1 and num_pseudo at least 0, got "
                f"{num_anchors}, {num_negatives}, {late_factor} and {num_pseudo}"
            )
        if label_resize not in LABEL_RESIZE:
            raise ValueError(f"label_resize must be one of {LABEL_RESIZE}, got {label_resize!r}")
        check_contrast(temperature, alpha, pseudo_mode)
        self.network = network
        self.heads = heads
        self.enabled = enabled
        self.branch_aware = branch_aware
        self.num_anchors = num_anchors
        self.num_negatives = num_negatives
        self.num_pseudo = num_pseudo
        self.late_factor = late_factor
        self.late = False
        self.temperature = temperature
        self.alpha = alpha
        self.pseudo_mode = pseudo_mode
        self.label_resize = label_resize
        self.frozen_norm = frozen_norm
        self.register_state_dict_post_hook(_drop_network_prefix)
        self.register_load_state_dict_pre_hook(_add_network_prefix)

    def train(self, mode: bool = True) -> ContrastiveModel:
        """Switch to training or evaluation, the norms to evaluation in any case if they are frozen."""
        super().train(mode)
        if self.frozen_norm:
            for module in self.network.modules():
                if isinstance(module, nn.BatchNorm3d):
                    module.eval()
        return self

    def forward(self, views: Tensor, branches: Tensor) -> TwoViews:
        """See both views, one after the other, so that each is normalized by its own statistics.

        Args:
            views: ``(B, 2, X, Y, Z)``.
            branches: ``(B, 1, X, Y, Z)``: -1 outside the scan, 0 background, 1 the largest branch, then the others.
        """
        logits, taps = zip(*(self.network.with_features(views[:, [i]]) for i in (0, 1)), strict=True)
        contrasts = [
            self._contrast(head, first, second, branches) for head, first, second in zip(self.heads, *taps, strict=True)
        ]
        terms, used = zip(*contrasts, strict=True)
        return TwoViews(logits, terms, used)

    def _contrast(self, head: nn.Module, first: Tensor, second: Tensor, branches: Tensor) -> tuple[Tensor, int]:
        """Return the term of one feature map, ``(B, C, *spatial)`` in either view, and how many elements it is of."""
        labels = shrink_branches(branches, first.shape[2:], self.label_resize)
        pairs = zip(first.flatten(2), second.flatten(2), labels, strict=True)
        terms = [self._of_element(head, one.T, two.T, label) for one, two, label in pairs] if self.enabled else []
        used = [term for term in terms if term is not None]
        if used:
            return torch.stack(used).mean(), len(used)
        nothing = first.new_zeros((), dtype=torch.float32)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # each process must have a gradient, be it 0, for every parameter, or the others wait for it forever
            nothing = nothing + 0 * sum(parameter.sum() for parameter in head.parameters())
        return nothing, 0

    def _of_element(self, head: nn.Module, first: Tensor, second: Tensor, label: Tensor) -> Tensor | None:
        """Return the term of one element with the features ``(V, C)``, or None where there is nothing to compare."""
        factor = self.late_factor if self.late else 1
        voxels = draw_voxels(
            label, self.num_anchors, factor * self.num_negatives, factor * self.num_pseudo, self.branch_aware
        )
        if voxels is None:
            return None
        pseudo = voxels.pseudo_negatives
        return contrast(
            head(first[voxels.anchors.to(first.device)]),
            head(second[voxels.anchors.to(second.device)]),
            head(second[voxels.negatives.to(second.device)]),
            None if pseudo is None else head(second[pseudo.to(second.device)]),
            self.temperature,
            self.alpha,
            self.pseudo_mode,
        )


def contrast(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor,
    pseudo_negatives: Tensor | None = None,
    temperature: float = 0.3,
    alpha: float = 0.5,
    pseudo_mode: str = "scale",
) -> Tensor:
    """How badly anchors tell their positives from their negatives.

    Args:
        anchors: unit vectors, ``(S, D)``.
        positives: unit vectors, ``(S, D)``.
        negatives: unit vectors, ``(S, k, D)``.
        pseudo_negatives: unit vectors, ``(S, q, D)``; None for none.
        temperature: divides all similarities; above 0.
        alpha: how much a pseudo-negative counts.
        pseudo_mode: "scale", as published, multiplies its logit by ``alpha``: with 0 it still counts like an orthogonal
            negative. "weight" multiplies its exponential: 0 leaves it out, 1 makes it a full negative.

    Returns:
        Mean of the anchors' losses, at least 0.

    Raises:
        ValueError: If the mode is unknown, the temperature is not above 0, or a weight ``alpha`` is below 0.

    Source:
        Hao et al., SynCAS (2025); van den Oord et al., InfoNCE, https://arxiv.org/abs/1807.03748.
    """
    check_contrast(temperature, alpha, pseudo_mode)
    logits = [
        (anchors * positives).sum(-1, keepdim=True) / temperature,
        torch.einsum("sd,skd->sk", anchors, negatives) / temperature,
    ]
    if pseudo_negatives is not None and (alpha > 0 or pseudo_mode == "scale"):
        similarity = torch.einsum("sd,sqd->sq", anchors, pseudo_negatives) / temperature
        logits.append(alpha * similarity if pseudo_mode == "scale" else similarity + math.log(alpha))
    joined = torch.cat(logits, dim=1).float()
    return -joined.log_softmax(dim=1)[:, 0].mean()


def check_contrast(temperature: float, alpha: float, pseudo_mode: str) -> None:
    """Refuse options of :func:`contrast` that have no meaning.

    Raises:
        ValueError: If the mode is unknown, the temperature is not above 0, or a weight ``alpha`` is below 0.
    """
    if pseudo_mode not in PSEUDO_MODES:
        raise ValueError(f"pseudo_mode must be one of {PSEUDO_MODES}, got {pseudo_mode!r}")
    if temperature <= 0 or (pseudo_mode == "weight" and alpha < 0):
        raise ValueError(f"temperature must be above 0 and a weight alpha at least 0, got {temperature} and {alpha}")


def _drop_network_prefix(_model: nn.Module, state: dict[str, Tensor], prefix: str, _metadata: object) -> None:
    """Name the network's tensors in a new state dict as the network does."""
    inside = f"{prefix}network."
    for name in [name for name in state if name.startswith(inside)]:
        state[prefix + name.removeprefix(inside)] = state.pop(name)


def _add_network_prefix(_model: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Undo :func:`_drop_network_prefix` before the tensors are handed out to the modules."""
    for name in [name for name in state if name.startswith(prefix) and not name.startswith(f"{prefix}heads.")]:
        state[f"{prefix}network.{name.removeprefix(prefix)}"] = state.pop(name)
