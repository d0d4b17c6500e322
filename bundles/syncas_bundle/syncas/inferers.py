"""Sliding windows as SynCAS places and weighs them (those of nnU-Net), blending one channel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations, product

import numpy as np
import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from scipy import ndimage
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from .common.engines import Engine
from .common.inferers import vessel_logit
from .common.memory import Plan, make_room, plan_windows

PEAK = 10.0  # of the weight map; it matters in half precision only, and is kept for parity


class EvenWindowInferer(Inferer):
    """Vessel logit of a volume, blended from windows that are spread evenly.

    MONAI's ``SlidingWindowInferer`` moves by a fixed step and shifts the last window back, centres its weights half a
    voxel off, and keeps all channels; published weights were scored with the windows and weights below. What comes
    out is the difference of the two logits: its sigmoid is the probability of a vessel, it is the one channel to
    resample, and a threshold on it is one on the probability (``p > 0.25`` where it exceeds ``ln(1/3)``).

    Args:
        roi_size: window edges in voxels, X Y Z; smaller volumes are padded with 0 on both sides, and cropped back.
        step: distance of neighbouring windows at most, as a share of the window, in (0, 1].
        mirror_axes: spatial axes for mirror averaging: every window is also seen flipped along each subset of them.
        sw_batch_size: windows to run at once.
        progress: show a progress bar.
        engine: what runs the network, see :class:`~.common.engines.Engine`.

    Raises:
        ValueError: If ``step`` is out of range, ``engine`` unknown, or ``mirror_axes`` names an axis that ``roi_size``
            does not have.

    Source:
        nnU-Net's sliding window, https://github.com/MIC-DKFZ/nnUNet; blended in float32, theirs in half precision.
    """

    def __init__(
        self,
        roi_size: Sequence[int],
        step: float = 0.5,
        mirror_axes: Sequence[int] = (),
        sw_batch_size: int = 1,
        progress: bool = False,
        engine: str = "torch",
    ) -> None:
        super().__init__()
        if not 0 < step <= 1:
            raise ValueError(f"step must be a share of the window in (0, 1], got {step}")
        if not set(mirror_axes) <= set(range(len(roi_size))):
            raise ValueError(f"mirror_axes must lie in 0..{len(roi_size) - 1}, got {list(mirror_axes)}")
        self.roi_size = tuple(map(int, roi_size))
        self.step = step
        self.sw_batch_size = sw_batch_size
        self.progress = progress
        self.engine = Engine(engine)
        self.weights = weight_map(self.roi_size)
        self.flips = [
            tuple(axis + 2 for axis in axes)
            for count in range(len(mirror_axes) + 1)
            for axes in combinations(sorted(mirror_axes), count)
        ]

    def __call__(  # type: ignore[override]  # MONAI allows networks that return several tensors, we do not
        self, inputs: Tensor, network: Callable[..., Tensor], *args: object, **kwargs: object
    ) -> Tensor:
        """Return float32 logits ``(B, 1, *spatial)`` for ``inputs``, ``(B, C, *spatial)``."""
        volume = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        short = [max(roi - size, 0) for roi, size in zip(self.roi_size, volume.shape[2:], strict=True)]
        volume = functional.pad(volume, [side for missing in short[::-1] for side in (missing // 2, -(-missing // 2))])
        plan = plan_windows(inputs, self.roi_size, self.sw_batch_size, volumes=3)
        blended = self._blend(volume, partial(self.see, partial(self.engine(network), *args, **kwargs)), plan)
        make_room(inputs)
        inside = [slice(n // 2, n // 2 + size) for n, size in zip(short, inputs.shape[2:], strict=True)]
        return torch.as_tensor(convert_to_dst_type(blended[(..., *inside)], inputs, dtype=torch.float32)[0])

    def see(self, network: Callable[..., Tensor], windows: Tensor) -> Tensor:
        """Return the logits ``(B, 1, *roi_size)`` of windows ``(B, C, *roi_size)``: their mean over all flips."""
        total = sum(vessel_logit(network(windows.flip(axes))).flip(axes) for axes in self.flips)
        return torch.as_tensor(total) / len(self.flips)

    def _blend(self, volume: Tensor, see: Callable[[Tensor], Tensor], plan: Plan) -> Tensor:
        """Return the weighted mean ``(B, 1, *spatial)`` of what is seen in each window of ``(B, C, *spatial)``."""
        starts = map(partial(window_starts, step=self.step), volume.shape[2:], self.roi_size)
        places = [
            (element, ..., *map(slice, corner, np.add(corner, self.roi_size)))
            for element, *corner in product(range(len(volume)), *starts)
        ]
        total = torch.zeros(len(volume), 1, *volume.shape[2:], device=plan.blend_on or volume.device)
        weight = torch.zeros_like(total)
        weights = self.weights.to(total.device)
        for first in tqdm(range(0, len(places), plan.batch), disable=not self.progress):
            batch = places[first : first + plan.batch]
            seen = see(torch.stack([volume[place] for place in batch])).to(total.device)
            for place, logits in zip(batch, seen, strict=True):
                total[place] += logits * weights
                weight[place] += weights
        return total.div_(weight)


def window_starts(size: int, window: int, step: float = 0.5) -> list[int]:
    """Return the first voxels of the windows that cover an axis, spread evenly from end to end.

    Args:
        size: voxels of the axis, at least ``window``.
        window: voxels of a window.
        step: largest distance of neighbours, as a share of the window.
    """
    count = int(np.ceil((size - window) / (step * window))) + 1
    return [int(start) for start in np.round(np.linspace(0, size - window, count))]


def weight_map(window: Sequence[int]) -> Tensor:
    """Return the weights of a window's voxels, ``(*window)``: a Gaussian around the voxel ``edge // 2``.

    Its deviation is an eighth of each edge, its peak ``PEAK``, and no weight is zero.
    """
    weights = np.ones(())
    for edge in window:
        line = ndimage.gaussian_filter1d(np.eye(edge)[edge // 2], edge / 8, mode="constant")
        weights = np.multiply.outer(weights, line)
    return torch.from_numpy((weights * (PEAK / weights.max())).astype(np.float32))
