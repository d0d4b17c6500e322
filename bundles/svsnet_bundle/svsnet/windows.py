"""Windows of consecutive frames: which frames belong to one, and a transform that draws them for training."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform, Randomizable
from monai.transforms.traits import MultiSampleTrait
from torch import Tensor

EDGES = ("replicate", "reflect", "drop")


def window_indices(n: int, t: int, frames: int = 4, stride: int = 1, edge: str = "replicate") -> list[int]:
    """Return the frames of the window around frame ``t``, which stands at place ``frames // 2`` of it.

    Args:
        n: frames of the sequence.
        t: frame to segment; beyond the ends for a window that lags (see ``SequenceInferer``).
        frames: frames of the window.
        stride: distance of neighbouring frames of the window; see :func:`stride_for`.
        edge: what stands for frames beyond the ends: "replicate" the first or last one, "reflect" those mirrored at
            it; "drop" makes no window.

    Returns:
        ``frames`` numbers in 0..n-1; with "drop", none if the window leaves the sequence.

    Raises:
        ValueError: If ``n``, ``frames`` or ``stride`` is below 1, or ``edge`` is unknown.
    """
    if min(n, frames, stride) < 1:
        raise ValueError(f"n, frames and stride must be at least 1, got {n}, {frames} and {stride}")
    if edge not in EDGES:
        raise ValueError(f"edge must be one of {', '.join(EDGES)}, got {edge!r}")
    wanted = [t + (place - frames // 2) * stride for place in range(frames)]
    if edge == "drop":
        return wanted if wanted[0] >= 0 and wanted[-1] < n else []
    if edge == "replicate" or n == 1:
        return [min(max(frame, 0), n - 1) for frame in wanted]
    return [n - 1 - abs(frame % (2 * n - 2) - (n - 1)) for frame in wanted]


def stride_for(frame_ms: float, trained_ms: float) -> int:
    """Return the stride that brings a sequence closest to the frame rate a network was trained with, at least 1.

    Args:
        frame_ms: time between the sequence's frames in ms; 0 where unknown, which gives 1.
        trained_ms: time between the frames of the windows in training, in ms.

    Raises:
        ValueError: If ``frame_ms`` is negative or ``trained_ms`` is not positive.
    """
    if frame_ms < 0 or trained_ms <= 0:
        raise ValueError(f"frame_ms must be at least 0 and trained_ms above 0, got {frame_ms} and {trained_ms}")
    return max(1, round(trained_ms / frame_ms)) if frame_ms else 1


class RandWindowd(Randomizable, MapTransform, MultiSampleTrait):
    """Cut windows of a sequence at random frames, with the label of the frame to segment.

    Several windows of one sequence differ in their frame as long as it has enough of them, so that a sequence loaded
    once serves several samples. Windows keep their direction in time: the flow of contrast has one.

    Args:
        keys: sequences, ``(N, H, W)``; become ``(frames, H, W)``.
        label_key: masks of all frames, ``(N, H, W)``; becomes that of the frame to segment, ``(1, H, W)``.
        frames: frames of a window; the one to segment stands at place ``frames // 2``.
        frame_stride: distance of neighbouring frames of a window.
        num_windows: windows to cut from a sequence.
        vessel_frames: probability that the frame is drawn among those with any vessel in the label, and not among all.
        edge: "replicate", "reflect" or "drop", see :func:`window_indices`.
        still: repeat the frame at every place of the window: the same network without motion, for comparison.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If ``num_windows`` is below 1, ``vessel_frames`` not in [0, 1], or the window cannot be.
    """

    def __init__(
        self,
        keys: KeysCollection,
        label_key: str = "label",
        frames: int = 4,
        frame_stride: int = 1,
        num_windows: int = 1,
        vessel_frames: float = 0.9,
        edge: str = "replicate",
        still: bool = False,
        allow_missing_keys: bool = False,
    ) -> None:
        MapTransform.__init__(self, keys, allow_missing_keys)
        if num_windows < 1 or not 0 <= vessel_frames <= 1:
            raise ValueError(
                f"num_windows must be at least 1 and vessel_frames a probability, got {num_windows} and {vessel_frames}"
            )
        window_indices(1, 0, frames, frame_stride, edge)
        self.label_key = label_key
        self.frames = frames
        self.frame_stride = frame_stride
        self.num_windows = num_windows
        self.vessel_frames = vessel_frames
        self.edge = edge
        self.still = still
        self._drawn: list[int] = []

    def randomize(self, label: Tensor) -> None:
        """Draw the frames to segment from those of ``label``, ``(N, H, W)``, each once before any comes again."""
        allowed = [t for t in range(len(label)) if self._window(len(label), t)]
        if not allowed:
            raise ValueError(
                f"a sequence of {len(label)} frames has no full window of {self.frames} frames at stride "
                f'{self.frame_stride}: choose edge "replicate" or a smaller window'
            )
        with_vessel = [t for t in allowed if label[t].any()] or allowed
        self._drawn = []
        for _ in range(self.num_windows):
            pool = with_vessel if self.R.random_sample() < self.vessel_frames else allowed
            self._drawn.append(int(self.R.choice([t for t in pool if t not in self._drawn] or pool)))

    def __call__(self, data: Mapping[Hashable, Any]) -> list[dict[Hashable, Any]]:
        """Return ``num_windows`` items.

        Raises:
            ValueError: If an image and the label differ in their frames, or there is no full window and edge is "drop".
        """
        label = data[self.label_key]
        for key in self.key_iterator(data):
            if data[key].shape != label.shape:
                raise ValueError(
                    f"{key!r} and {self.label_key!r} must be of one shape (frames, H, W), got "
                    f"{tuple(data[key].shape)} and {tuple(label.shape)}"
                )
        self.randomize(label)
        return [self._cut(data, t) for t in self._drawn]

    def _window(self, n: int, t: int) -> list[int]:
        if self.still:
            return [t] * self.frames
        return window_indices(n, t, self.frames, self.frame_stride, self.edge)

    def _cut(self, data: Mapping[Hashable, Any], t: int) -> dict[Hashable, Any]:
        window = dict(data)
        for key in self.key_iterator(window):
            window[key] = take_frames(data[key], self._window(len(data[key]), t))
        window[self.label_key] = take_frames(data[self.label_key], [t])
        return window


def take_frames(sequence: Tensor, indices: list[int]) -> Tensor:
    """Return frames of a sequence, ``(N, H, W)`` to ``(len(indices), H, W)``; the entry "frames" of the metadata too.

    Metadata of one length for all windows are what the data loader can join into a batch.
    """
    if not isinstance(sequence, MetaTensor):
        return sequence[indices]
    meta = dict(sequence.meta)
    if "frames" in meta:
        meta["frames"] = [meta["frames"][index] for index in indices]
    return MetaTensor(sequence.as_tensor()[indices], meta=meta, applied_operations=list(sequence.applied_operations))
