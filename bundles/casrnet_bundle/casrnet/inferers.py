"""Whole frames of an angiogram through a network of single images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import combinations

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from .common.inferers import vessel_logit


class FrameInferer(Inferer):
    """Vessel logit of every frame, each seen as a whole and by itself.

    MONAI's ``SimpleInferer`` neither folds the frames of a sequence into the batch nor pads; its ``SliceInferer``
    cuts slices out of a volume, not groups of channels.

    Args:
        channels: channels of a frame.
        multiple: sides are padded at the bottom and on the right to multiples of this, by reflection, and cropped back.
        frame_batch: frames to run at once.
        flips: spatial axes, 0 for rows and 1 for columns: every frame is also seen mirrored along each subset of them,
            and the probabilities are averaged.
        progress: show a progress bar.

    Raises:
        ValueError: If a number is below 1 or ``flips`` names another axis.
    """

    def __init__(
        self,
        channels: int = 3,
        multiple: int = 32,
        frame_batch: int = 4,
        flips: Sequence[int] = (),
        progress: bool = False,
    ) -> None:
        super().__init__()
        if min(channels, multiple, frame_batch) < 1:
            raise ValueError(
                f"channels, multiple and frame_batch must be at least 1, got {channels}, {multiple}, {frame_batch}"
            )
        if not isinstance(flips, Sequence) or not set(flips) <= {0, 1}:
            raise ValueError(f"flips must be a list of axes out of 0 (rows) and 1 (columns), got {flips!r}")
        self.channels = channels
        self.multiple = multiple
        self.frame_batch = frame_batch
        self.progress = progress
        self.flips = [
            tuple(axis + 2 for axis in axes)
            for count in range(len(set(flips)) + 1)
            for axes in combinations(sorted(set(flips)), count)
        ]

    def __call__(  # type: ignore[override]  # MONAI allows networks that return several tensors, we do not
        self, inputs: Tensor, network: Callable[..., Tensor], *args: object, **kwargs: object
    ) -> Tensor:
        """Return float32 logits ``(B, T, H, W)`` for ``inputs``, ``(B, T * channels, H, W)``, frame after frame.

        Raises:
            ValueError: If the channels of ``inputs`` are no multiple of ``channels``.
        """
        images = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        if images.ndim != 4 or images.shape[1] % self.channels or images.numel() == 0:
            raise ValueError(
                f"inputs must be (B, T * {self.channels}, H, W), got {tuple(images.shape)}: does EnhanceChannelsd make "
                "as many channels as the inferer's argument channels says?"
            )
        batch, _, height, width = images.shape
        frames = images.reshape(-1, self.channels, height, width)
        see = partial(self.see, partial(network, *args, **kwargs))
        chunks = torch.split(frames, self.frame_batch)
        logits = torch.cat([see(chunk) for chunk in tqdm(chunks, disable=not self.progress)])
        logits = logits.reshape(batch, -1, height, width)
        return torch.as_tensor(convert_to_dst_type(logits, inputs, dtype=torch.float32)[0])

    def see(self, network: Callable[..., Tensor], frames: Tensor) -> Tensor:
        """Return the logits ``(N, 1, H, W)`` of frames ``(N, channels, H, W)``; with flips, those of the mean."""
        height, width = frames.shape[2:]
        padded = pad_to_multiple(frames, self.multiple)
        seen = [vessel_logit(network(padded.flip(axes))).flip(axes)[..., :height, :width] for axes in self.flips]
        if len(seen) == 1:
            return seen[0]
        return torch.stack([logits.sigmoid() for logits in seen]).mean(0).logit(eps=1e-7)


def pad_to_multiple(frames: Tensor, multiple: int) -> Tensor:
    """Pad frames ``(N, C, H, W)`` at the bottom and right until both sides are multiples of ``multiple``.

    They are reflected, the outermost pixels not repeated; where a side is too short for that, those are repeated.
    """
    down, across = (-size % multiple for size in frames.shape[2:])
    if not down and not across:
        return frames
    mirrored = down < frames.shape[2] and across < frames.shape[3]
    return functional.pad(frames, (0, across, 0, down), "reflect" if mirrored else "replicate")
