"""Inference on whole sequences: one prediction for every frame, from windows or from one pass of the encoder."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from monai.data import MetaTensor
from monai.inferers import Inferer
from monai.utils import convert_to_dst_type
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from .common.checks import check_switches
from .windows import stride_for, window_indices

MODES = ("window", "dense")
STRIDE = 64  # of a network that does not say what H and W must be multiples of


class SequenceInferer(Inferer):
    """Logits of every frame of a sequence.

    MONAI's inferers slide windows over an image and blend them; here each window gives one frame, and is not blended.

    Args:
        frames: frames T of a window.
        window_batch: windows to run at once, and frames to decode at once.
        mode: "window" runs the network on every window. "dense" encodes each frame of the sequence once instead of T
            times (no gain below a dozen frames), but is another function: a window's features see its neighbours
            where alone they see zeros. The first and last frames, whose windows leave the sequence, are run as
            windows, so that a sequence of T frames gives the same either way. Its memory grows with the sequence.
        edge: what stands for frames beyond the ends: "replicate" or "reflect".
        frame_stride: distance of neighbouring frames of a window.
        trained_ms: time between frames in the training data, None or 0 where unknown. With it the stride follows from
            the "frame_ms" in the metadata of a sequence, and ``frame_stride`` is for sequences that have none; a
            warning says where it is not used.
        still: see a single frame in every window, as networks trained with ``still`` expect.
        online: give at frame t what can be known then: the prediction for an earlier frame, the middle of the window
            that ends at t; with 4 frames that is frame t - 1, at the stride 1. Nothing lags with ``still``.
        progress: show a progress bar.

    Raises:
        ValueError: If an option is out of range.
    """

    def __init__(
        self,
        frames: int = 4,
        window_batch: int = 4,
        mode: str = "window",
        edge: str = "replicate",
        frame_stride: int = 1,
        trained_ms: float | None = None,
        still: bool = False,
        online: bool = False,
        progress: bool = False,
    ) -> None:
        super().__init__()
        if window_batch < 1:
            raise ValueError(f"window_batch must be at least 1, got {window_batch}")
        if mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        if edge == "drop":
            raise ValueError(
                'edge must be "replicate" or "reflect": with "drop" the first and last frames have no mask'
            )
        check_switches(still=still)
        if still and mode == "dense":
            raise ValueError('still frames have nothing to share: use mode "window"')
        if trained_ms is not None and not trained_ms >= 0:
            raise ValueError(f"trained_ms must be above 0, or 0 or None for unknown, got {trained_ms}")
        window_indices(1, 0, frames, frame_stride, edge)
        self.frames = frames
        self.window_batch = window_batch
        self.mode = mode
        self.edge = edge
        self.frame_stride = frame_stride
        self.trained_ms = trained_ms
        self.still = still
        self.lag = frames - 1 - frames // 2 if online and not still else 0
        self.progress = progress

    def __call__(  # type: ignore[override]  # MONAI allows networks that return several tensors, we do not
        self, inputs: Tensor, network: Callable[..., Tensor], *args: Any, **kwargs: Any
    ) -> Tensor:
        """Return float32 logits ``(B, N, H, W)``, one per frame.

        Args:
            inputs: preprocessed sequences ``(B, N, H, W)`` of any size; H and W are padded below and right to what the
                network can halve, with edge values, and the logits are cropped.
            network: maps ``(B, 1, T, H, W)`` to ``(B, 1, H, W)``; its attribute ``stride`` says what H and W must be
                multiples of (64 without it). For "dense" it must have the ``encode`` and ``decode`` of ``SVSNet``.
            args: further arguments of the network.
            kwargs: further arguments of the network.

        Raises:
            ValueError: If the input is not 4-D, the network has another number of frames or cannot run dense.
        """
        if inputs.ndim != 4 or inputs.shape[1] == 0:
            raise ValueError(f"inputs must be sequences (B, N, H, W) of at least one frame, got {tuple(inputs.shape)}")
        if inputs.shape[1] == 1 and not self.still:
            warnings.warn(
                f"a sequence of one frame: the network sees {self.frames} copies of it, and no motion", stacklevel=2
            )
        bare: Any = getattr(network, "module", network)  # inside DistributedDataParallel
        if getattr(bare, "frames", self.frames) != self.frames:
            raise ValueError(f"the network takes windows of {bare.frames} frames, the inferer cuts {self.frames}")
        sequences = inputs.as_tensor() if isinstance(inputs, MetaTensor) else inputs
        logits = torch.empty_like(sequences, dtype=torch.float32)
        windows: list[tuple[int, int, list[int]]] = []  # element, frame, what the network sees for it
        for element, step in enumerate(self._steps(inputs)):
            shared = self._run_dense(sequences[element], bare, step, logits[element]) if self.mode == "dense" else set()
            rest = (t for t in range(inputs.shape[1]) if t not in shared)
            windows += [(element, t, self._window(inputs.shape[1], t, step)) for t in rest]
        run = partial(network, *args, **kwargs)
        for batch in tqdm(_even_batches(windows, self.window_batch), disable=not self.progress):
            elements, times, indices = map(torch.tensor, zip(*batch, strict=True))
            logits[elements, times] = _see(sequences[elements[:, None], indices], run, getattr(bare, "stride", STRIDE))
        return torch.as_tensor(convert_to_dst_type(logits, inputs, dtype=torch.float32)[0])

    def _steps(self, inputs: Tensor) -> list[int]:
        """Return the frame stride of each sequence of a batch."""
        times = inputs.meta.get("frame_ms", 0.0) if isinstance(inputs, MetaTensor) else 0.0
        known = torch.as_tensor(times, dtype=torch.float64).flatten().expand(len(inputs)).tolist()
        return [self._step(ms) for ms in known]

    def _step(self, frame_ms: float) -> int:
        """Return the frame stride of a sequence with this time between frames, 0 where it is unknown."""
        if not (frame_ms and self.trained_ms) or self.still:
            return self.frame_stride
        step = stride_for(frame_ms, self.trained_ms)
        if step != self.frame_stride != 1:
            warnings.warn(
                f"frame_stride {self.frame_stride} is not used: with {frame_ms:g} ms between frames and trained_ms "
                f"{self.trained_ms:g} the stride is {step}; to choose it yourself, set trained_ms to 0",
                stacklevel=4,
            )
        return step

    def _window(self, n: int, t: int, step: int) -> list[int]:
        """Return the frames that the network sees for the output at frame ``t``."""
        if self.still:
            return [t] * self.frames
        return window_indices(n, t - self.lag * step, self.frames, step, self.edge)

    def _run_dense(self, sequence: Tensor, network: Any, step: int, logits: Tensor) -> set[int]:
        """Write the logits of all frames with a full window, and return their numbers; ``(N, H, W)`` both."""
        if not hasattr(network, "encode"):
            raise ValueError(f'mode "dense" needs a network with encode and decode, got {type(network).__name__}')
        done: set[int] = set()
        for phase in range(step):  # frames at the distance of the stride are a sequence of their own
            frames = sequence[phase::step]
            count = len(frames) - self.frames + 1
            if count < 1:
                continue
            maps = network.encode(_double(_pad(frames[None], network.stride)[:, None]))
            for first in tqdm(range(0, count, self.window_batch), disable=not self.progress):
                last = min(first + self.window_batch, count)
                decoded = network.decode([fused[0, :, first:last].transpose(0, 1) for fused in maps])
                places = [phase + (self.frames // 2 + self.lag + place) * step for place in range(first, last)]
                logits[places] = _crop(decoded, logits)
                done.update(places)
        return done


def _even_batches(items: list[Any], size: int) -> list[list[Any]]:
    """Return the items in as few batches of at most ``size`` as can be, of equal length as nearly as can be."""
    count = -(-len(items) // size)
    bounds = [len(items) * batch // max(count, 1) for batch in range(count + 1)]
    return [items[first:last] for first, last in pairwise(bounds)]


def _see(windows: Tensor, run: Callable[[Tensor], Tensor], stride: int) -> Tensor:
    """Return the logits ``(K, H, W)`` of windows ``(K, T, H, W)``."""
    images = _double(_pad(windows, stride)[:, None])
    return _crop(run(images)[: len(windows)], windows)


def _double(images: Tensor) -> Tensor:
    """Return two views of a single small image ``(1, 1, N, H, W)`` on the CPU; others as they are.

    torch convolves 3-D maps of batch 1 and at most 20480 channels x frames x rows (8 channels here) without oneDNN,
    which takes five times as long as one of a pair does.
    """
    slow = len(images) == 1 and images.device.type == "cpu" and 8 * images.shape[2] * images.shape[3] <= 20480
    return images.expand(2, -1, -1, -1, -1) if slow else images


def _pad(frames: Tensor, stride: int) -> Tensor:
    """Repeat the last row and column of ``(B, C, H, W)`` until both sides are multiples of ``stride``."""
    below, right = (-side % stride for side in frames.shape[2:])
    return functional.pad(frames, (0, right, 0, below), mode="replicate") if below or right else frames


def _crop(logits: Tensor, like: Tensor) -> Tensor:
    """Cut ``(K, 1, H, W)`` to the sides of ``like``, ``(K, H, W)``.

    Raises:
        ValueError: If there is more than one channel.
    """
    if logits.shape[1] != 1:
        raise ValueError(f"the network must have one output channel, got logits {tuple(logits.shape)}")
    return logits[:, 0, : like.shape[-2], : like.shape[-1]].float()
