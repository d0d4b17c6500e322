"""Inferers: from a network's logits to the vessel probability of a whole volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations

import torch
from monai.inferers import SlidingWindowInferer
from torch import Tensor

from .engines import Engine
from .memory import make_room, plan_windows

BLENDS = {"gaussian": "gaussian", "constant": "constant", "union": "constant"}  # ours -> MONAI's weight map


class VesselInferer(SlidingWindowInferer):
    """Vessel probability of a volume, blended from sliding windows.

    MONAI's inferer blends what the network returns, so two logit channels would be kept for the whole volume. Here
    every window is reduced to one probability before it is blended: probabilities are what should be averaged, and a
    volume then needs one channel. Volumes smaller than a window are padded with 0 and cropped back by MONAI.

    Args:
        roi_size: window edges in voxels, one for each spatial axis.
        overlap: share of a window that the next one covers again, in [0, 1).
        blend: "gaussian" (weights fall to the window's border), "constant", or "union" (a voxel is vessel if any window
            says so; the probability is then 0 or 1).
        mirror_axes: spatial axes for mirror averaging: every window is also seen flipped along each subset of them.
        sw_batch_size: windows to run at once.
        progress: show a progress bar.
        engine: what runs the network, see :class:`~.engines.Engine`.

    Raises:
        ValueError: If ``blend`` or ``engine`` is unknown, or ``mirror_axes`` names an axis that ``roi_size`` has not.
    """

    def __init__(
        self,
        roi_size: Sequence[int],
        overlap: float = 0.5,
        blend: str = "gaussian",
        mirror_axes: Sequence[int] = (),
        sw_batch_size: int = 1,
        progress: bool = False,
        engine: str = "torch",
    ) -> None:
        if blend not in BLENDS:
            raise ValueError(f"blend must be one of {sorted(BLENDS)}, got {blend!r}")
        if not set(mirror_axes) <= set(range(len(roi_size))):
            raise ValueError(f"mirror_axes must lie in 0..{len(roi_size) - 1}, got {list(mirror_axes)}")
        super().__init__(
            roi_size, sw_batch_size, overlap, mode=BLENDS[blend], progress=progress, cache_roi_weight_map=True
        )
        self.blend = blend
        self.window, self.windows_at_once = tuple(roi_size), sw_batch_size
        self.engine = Engine(engine)
        self.flips = [
            tuple(axis + 2 for axis in axes)
            for count in range(len(mirror_axes) + 1)
            for axes in combinations(mirror_axes, count)
        ]

    def __call__(  # type: ignore[override]  # MONAI allows networks that return several tensors, we do not
        self, inputs: Tensor, network: Callable[..., Tensor], *args: object, **kwargs: object
    ) -> Tensor:
        """Return probabilities ``(B, 1, *spatial)`` in [0, 1] for ``inputs``, ``(B, C, *spatial)``."""
        plan = plan_windows(inputs, self.window, self.windows_at_once)
        self.sw_batch_size, see = plan.batch, partial(self.see, self.engine(network))
        place = {} if plan.blend_on is None else {"device": plan.blend_on}
        blended = torch.as_tensor(super().__call__(inputs, see, *args, **{**kwargs, **place}))
        make_room(inputs)
        return (blended > 0).to(blended.dtype) if self.blend == "union" else blended

    def see(self, network: Callable[..., Tensor], window: Tensor) -> Tensor:
        """Return what is blended: probabilities ``(B, 1, *roi_size)`` of one window ``(B, C, *roi_size)``."""
        total = sum(vessel_probability(network(window.flip(axes))).flip(axes) for axes in self.flips)
        mean = torch.as_tensor(total) / len(self.flips)
        return (mean > 0.5).to(mean.dtype) if self.blend == "union" else mean


def vessel_probability(logits: Tensor) -> Tensor:
    """Probability of the foreground.

    Args:
        logits: ``(B, C, *spatial)``; one channel means sigmoid, two mean softmax with channel 0 background.

    Returns:
        Float32 probabilities ``(B, 1, *spatial)``.

    Raises:
        ValueError: If there are more than two channels.
    """
    return vessel_logit(logits).sigmoid()


def vessel_logit(logits: Tensor) -> Tensor:
    """Logit of the foreground's probability: the softmax of two channels is the sigmoid of their difference.

    Args:
        logits: ``(B, C, *spatial)``; one channel is returned as it is, of two channel 0 is background.

    Returns:
        Float32 logits ``(B, 1, *spatial)``.

    Raises:
        ValueError: If there are more than two channels.
    """
    if logits.shape[1] > 2:
        raise ValueError(f"logits must have one channel or two (background, vessel), got {tuple(logits.shape)}")
    return (logits if logits.shape[1] == 1 else logits[:, 1:] - logits[:, :1]).float()
