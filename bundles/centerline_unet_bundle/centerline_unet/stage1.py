"""Stage 1: where are the vessels? A network without any prior, at half the resolution."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor

from .common.centerline.branch import Branch
from .common.centerline.extract import extract_centerline
from .common.components import remove_small_components
from .common.grids import spacing_mm
from .common.inferers import VesselInferer
from .common.weights import load_weights
from .network import CenterlineUNet
from .resolution import halve, halved_affine

MAX_SHARE = 0.05  # of a volume; a coronary tree fills less than 0.5 %, and widened as for training less than 2 %


class StageOne:
    """Finds vessels in a volume and follows them: a probability, and a centerline tree.

    Args:
        network_def: a network with one input channel; its weights are loaded here.
        checkpoint: its weights.
        roi_size: window edges in voxels of twice the spacing, one for each spatial axis.
        device: where it runs.
        overlap: share of a window that the next one covers again.
        threshold: of the probability. The label was widened in training, which already favours finding too much.
        min_volume_mm3: components below this volume are dropped.
        engine: what runs the network, see :class:`~.common.engines.Engine`.

    Raises:
        FileNotFoundError: If there are no weights.
        ValueError: If the weights are not the network's, or the network cannot halve the windows.
    """

    def __init__(
        self,
        network_def: CenterlineUNet,
        checkpoint: str | Path,
        roi_size: tuple[int, int, int],
        device: torch.device | str = "cpu",
        overlap: float = 0.25,
        threshold: float = 0.5,
        min_volume_mm3: float = 12.5,
        engine: str = "torch",
    ) -> None:
        if any(side % network_def.stride for side in roi_size):
            raise ValueError(
                f"coarse_patch_size must be multiples of {network_def.stride} on every axis, got {tuple(roi_size)}"
            )
        try:
            load_weights(checkpoint, network_def)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"no weights of stage 1 at {checkpoint}: train it first (the config coarse), name a file with "
                "--coarse_checkpoint, or do without a predicted centerline (--centerline none)"
            ) from error
        self.network = network_def.to(device).eval()
        self.device = device
        self.inferer = VesselInferer(roi_size, overlap, engine=engine)
        self.threshold = threshold
        self.min_volume_mm3 = min_volume_mm3

    @torch.no_grad()
    def __call__(self, image: Tensor, affine: NDArray[np.float64]) -> tuple[Tensor, list[Branch]]:
        """Look for vessels.

        Args:
            image: windowed volume in [0, 1], ``(1, X, Y, Z)``.
            affine: from its voxels to RAS mm, ``(4, 4)``.

        Returns:
            Vessel probability on the grid of the image, ``(1, X, Y, Z)``, zero outside the components that stay; and
            their centerlines in RAS mm, none where nothing was found.

        Raises:
            ValueError: If vessels fill more of the volume than coronary arteries can.
        """
        probability = self.inferer(halve(image)[None].to(self.device), self.network)[0].cpu()
        coarse = halved_affine(torch.as_tensor(affine)).numpy()
        found = probability[0].numpy() > self.threshold
        if found.mean() > MAX_SHARE:
            raise ValueError(
                f"stage 1 calls {found.mean():.0%} of the volume vessel, coronary arteries fill below 2 %: is this a "
                "contrast CT of the heart, and was --coarse_checkpoint trained at this spacing and window?"
            )
        kept = remove_small_components(found, self.min_volume_mm3 / float(spacing_mm(coarse).prod()))
        probability = probability * torch.from_numpy(kept)
        return _enlarged(probability, image.shape[1:]).to(image.device), extract_centerline(kept, coarse)


def _enlarged(probability: Tensor, shape: torch.Size) -> Tensor:
    """Interpolate ``(1, *coarse)`` at twice the resolution, ``(1, *shape)``: pairs of voxels share a coarse one."""
    doubled = [2 * side for side in probability.shape[1:]]
    fine = F.interpolate(probability[None], doubled, mode="trilinear", align_corners=False)[0]
    return fine[:, : shape[0], : shape[1], : shape[2]]
