"""From an image to vessel probabilities: stage 1, centerline, crops along it, the fine network, and assembly."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from monai.data import MetaTensor
from monai.data.utils import compute_importance_map
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from .common.centerline.assembly import assemble, cut_window
from .common.centerline.crops import crop_starts
from .common.centerline.raster import draw_centerline, line_voxels
from .common.engines import Engine
from .common.inferers import BLENDS, VesselInferer
from .common.memory import make_room, plan_windows
from .provider import CenterlineProvider, Guidance, unguided

ARMS = ("auto", "grid", "oracle_volume")
VOLUMES = 7  # of the network's grid that are in memory at once: image, centerline, both, weights, probabilities
OUTSIDE = (
    "no point of its centerline lies in the part of the image that holds the heart (--whole_volume True keeps all)"
)


@dataclass(frozen=True)
class Crops:
    """What guided the segmentation of the last image.

    Attributes:
        guidance: the centerline and its source.
        starts: first voxel of every crop in the preprocessed image, ``(N, 3)``; none where windows covered the volume.
        size: edges of a crop in voxels.
    """

    guidance: Guidance
    starts: NDArray[np.int64]
    size: tuple[int, ...]


class GuidedInferer(Inferer):
    """Vessel probability of a volume, from crops along a centerline that is found on the way.

    It needs an image and nothing else, so MONAI Label can run the whole chain. Where the provider gives no centerline,
    windows slide over the volume and the centerline channel is empty.

    Args:
        provider: gives the centerline of the arm "auto".
        roi_size: edges of crops and windows in voxels; ``[128, 128, 1]`` for a 2-D network.
        overlap: share of a window that the next one covers again, where there are no crops.
        crop_mode: "coverage" (every centerline point inside a crop), "reference" (the published clusters) or "kmeans".
        blend: weights of a crop or window: "gaussian" or "constant".
        mirror_axes: spatial axes for mirror averaging.
        uncovered: probability of voxels outside all crops: "stage1", or "zero"; zero where there was no stage 1.
        arms: what to compute, one output channel each: "auto"; "grid", without a centerline; "oracle_volume", with the
            true one.
        oracle: gives the true centerline, for "oracle_volume".
        progress: show a progress bar.
        engine: what runs the network, see :class:`~.common.engines.Engine`.

    Raises:
        ValueError: If a name is unknown, or "oracle_volume" comes without an oracle.
    """

    def __init__(
        self,
        provider: CenterlineProvider,
        roi_size: Sequence[int],
        overlap: float = 0.25,
        crop_mode: str = "coverage",
        blend: str = "gaussian",
        mirror_axes: Sequence[int] = (),
        uncovered: str = "stage1",
        arms: Sequence[str] = ("auto",),
        oracle: CenterlineProvider | None = None,
        progress: bool = False,
        engine: str = "torch",
    ) -> None:
        if not arms or not set(arms) <= set(ARMS):
            raise ValueError(f"arms must be among {ARMS}, got {list(arms)}")
        if "oracle_volume" in arms and oracle is None:
            raise ValueError("the arm 'oracle_volume' reads the true centerline: allow it with --allow_oracle True")
        if uncovered not in ("stage1", "zero"):
            raise ValueError(f"uncovered must be 'stage1' or 'zero', got {uncovered!r}")
        if blend == "union":
            raise ValueError("crops are blended with weights 'gaussian' or 'constant', not 'union'")
        self.windows = VesselInferer(roi_size, overlap, blend, mirror_axes, progress=progress)
        self.providers = {"auto": provider, "grid": CenterlineProvider("none")}
        if oracle is not None:
            self.providers["oracle_volume"] = oracle
        self.roi_size = tuple(roi_size)
        self.crop_mode = crop_mode
        self.blend = blend
        self.uncovered = uncovered
        self.arms = tuple(arms)
        self.progress = progress
        self.engine = Engine(engine)
        self.last: dict[str, Crops] = {}

    def __call__(self, inputs: Tensor, network: Callable[..., Tensor], *_: object, **__: object) -> Tensor:
        """Return probabilities ``(1, arms, X, Y, Z)``; what guided each arm is left in :attr:`last`.

        Further arguments, which MONAI's engines pass to other inferers, have no meaning here.

        Args:
            inputs: one windowed volume in [0, 1] with metadata, ``(1, 1, X, Y, Z)``.
            network: takes image and centerline channel, ``(B, 2, *roi_size)``; without the last axis where that is 1.

        Raises:
            ValueError: If it is not one volume of one channel with its affine.
        """
        if not isinstance(inputs, MetaTensor) or inputs.ndim != 5 or inputs.shape[:2] != (1, 1):
            raise ValueError(
                f"guided inference takes one volume (1, 1, X, Y, Z) with its affine, got a {type(inputs).__name__} "
                f"{tuple(inputs.shape)}: leave the batch size at 1"
            )
        run = self.engine(network) if self.roi_size[-1] > 1 else _planar(self.engine(network))
        self.last = {}
        probability = torch.stack([self._segment(arm, inputs, run) for arm in self.arms], dim=1)
        make_room(inputs)
        return convert_to_dst_type(probability, inputs)[0]  # with metadata, which Invertd asks for

    def _segment(self, arm: str, inputs: MetaTensor, network: Callable[..., Tensor]) -> Tensor:
        """Return the probability of one arm, ``(1, X, Y, Z)``."""
        meta = {name: value[0] if _is_list(value) else value for name, value in inputs.meta.items()}
        meta["affine"] = inputs.affine.reshape(-1, 4, 4)[0].numpy(force=True)
        image = inputs.as_tensor()[0]
        check_memory = partial(plan_windows, inputs, self.roi_size, volumes=VOLUMES, movable=False)
        check_memory()
        guidance = self.providers[arm].get(image, meta)
        check_memory()  # again, because the network of stage 1 may have to go
        shape = tuple(image.shape[1:])
        channel = torch.from_numpy(draw_centerline(guidance.branches, shape, guidance.affine).astype(np.float32))
        guided = torch.cat([image, channel[None].to(image)])
        starts = np.zeros((0, 3), np.int64)
        if guidance.source != "none":
            starts = self._starts(guidance, shape)
            if len(starts) == 0:
                guidance = unguided(str(meta.get("filename_or_obj", "")), guidance.affine, OUTSIDE)
        self.last[arm] = Crops(guidance, starts, self.roi_size)
        if len(starts) == 0:
            return torch.as_tensor(self.windows(guided[None], network)[0])
        return self._assemble(guided, starts, guidance, network)

    def _starts(self, guidance: Guidance, shape: tuple[int, ...]) -> NDArray[np.int64]:
        """Return the first voxel of every crop along a centerline, ``(N, 3)``."""
        if self.crop_mode == "reference":
            try:  # the published clusters are of the nodes, not of the lines between them
                return crop_starts(guidance.points, shape, self.roi_size, mode="reference")
            except ValueError as error:
                warnings.warn(f"crops of mode 'coverage' instead of 'reference': {error}", stacklevel=2)
        mode = "coverage" if self.crop_mode == "reference" else self.crop_mode
        return crop_starts(line_voxels(guidance.branches, shape, guidance.affine), shape, self.roi_size, mode=mode)

    def _assemble(
        self, guided: Tensor, starts: NDArray[np.int64], guidance: Guidance, network: Callable[..., Tensor]
    ) -> Tensor:
        """Return the weighted mean of the crops' probabilities at their places, ``(1, X, Y, Z)``."""
        weight = compute_importance_map(self.roi_size, BLENDS[self.blend], device=guided.device)
        bar = tqdm(starts, "crops", disable=not self.progress)
        windows = (self.windows.see(network, cut_window(guided, start, self.roi_size)[None])[0] for start in bar)
        mean, covered = assemble(windows, starts, guided.shape[1:], weight)
        if guidance.probability is None or self.uncovered == "zero":
            return mean
        return torch.where(covered, mean, guidance.probability.to(mean))


def _planar(network: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Let a 2-D network see windows ``(B, C, X, Y, 1)``."""
    return lambda window: network(window[..., 0])[..., None]


def _is_list(value: object) -> bool:
    """Say whether a batch's metadatum is one value for each item."""
    return isinstance(value, list) and len(value) == 1
