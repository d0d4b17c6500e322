"""A film of an angiogram beside the same frames with their masks, by which a person judges a sequence at a glance."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import SaveImaged
from monai.utils import ImageMetaKey
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

from ..checks import check_same_shape
from ..files import replacing
from ..preview import PREDICTION, TRUTH
from .reading import read_angiogram
from .sources import angiogram_case_name

SUFFIXES = (".gif", ".mp4")
USUAL_FRAME_MS = 1000 / 15  # most coronary runs have 15 frames a second
PERCENTILES = (0.5, 99.5)  # of the sequence: what is shown as black and as white
LARGEST_PX = 512  # of a side of a panel; larger frames are shown smaller
_GREYS = 127  # a GIF has 256 colours: greys, the same tinted, the outline
_TINT = 0.55  # share of the mask's colour where it lies on the image
_GIF_TICK_MS = 10  # a GIF counts time in these; players slow down what lasts less than two


class SaveFilmd(SaveImaged):
    """Write ``<output_dir>/<case>_film.gif`` of the masks on the frames that they belong to, see :func:`save_film`.

    The frames are read again from the file that the image was loaded from, as they were before preprocessing. It is a
    ``SaveImaged`` because MONAI Label, which writes files itself, drops those.

    Args:
        keys: masks, ``(T, H, W)`` on the pixels of the file.
        image_key: the image, with the metadata that :class:`.loading.LoadAngiogramd` gave it.
        output_dir: folder to write to; made if it is absent.
        suffix: ``gif``, or ``mp4``, which is a tenth of the size and needs the program ffmpeg.
        truth_key: true masks of the same shape to outline; taken where the data have them.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If ``suffix`` is another, or it is ``mp4`` and there is no ffmpeg.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_key: str,
        output_dir: str | Path,
        suffix: str = "gif",
        truth_key: str | None = None,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, output_dir=output_dir, allow_missing_keys=allow_missing_keys)
        self.image_key = image_key
        self.output_dir = Path(output_dir)
        self.suffix = f".{suffix.lstrip('.')}"
        self.truth_key = truth_key
        _check_suffix(Path(self.suffix))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the films and return ``data`` unchanged.

        Raises:
            OSError: If a film cannot be written.
            ValueError: If the masks do not fit the frames of the file.
        """
        meta = data[self.image_key].meta
        source = meta[ImageMetaKey.FILENAME_OR_OBJ]
        angiogram = read_angiogram(source, allow_uneven_time=True)
        frames = angiogram.frames[[int(number) for number in meta["frames"]]]
        case = data.get("case") or angiogram_case_name(source)
        truth = data.get(self.truth_key) if self.truth_key else None
        for key in self.key_iterator(dict(data)):
            save_film(
                frames,
                data[key].numpy(force=True) > 0,
                self.output_dir / f"{case}_film{self.suffix}",
                angiogram.frame_ms,
                None if truth is None else truth.numpy(force=True) > 0,
            )
        return dict(data)


def save_film(
    frames: NDArray[np.floating],
    masks: NDArray[np.bool_],
    path: str | Path,
    frame_ms: float = 0.0,
    truth: NDArray[np.bool_] | None = None,
) -> None:
    """Write a film with two panels: the frames, and the frames with their masks tinted blue.

    Args:
        frames: ``(T, H, W)``; black and white are the 0.5th and 99.5th percentile of all of them.
        masks: same shape.
        path: film to write, ``.gif`` or, with ffmpeg, ``.mp4``.
        frame_ms: time from frame to frame; 0 for 15 frames a second. A GIF counts in steps of 10 ms.
        truth: true masks of the same shape, of which a green line is drawn around.

    Raises:
        ValueError: If the shapes differ or are not ``(T, H, W)``, the suffix is another, or there is no ffmpeg.
        OSError: If the film cannot be written; no part of it remains.
    """
    path = Path(path)
    _check_suffix(path)
    check_same_shape(frames=frames, masks=masks, **({} if truth is None else {"truth": truth}))
    if frames.ndim != 3 or len(frames) == 0:
        raise ValueError(f"frames must be (T, H, W) with a frame or more, got {frames.shape}")
    pictures = _pictures(frames, masks, truth)
    frame_ms = frame_ms or USUAL_FRAME_MS
    with replacing(path) as part:
        (_write_gif if path.suffix.lower() == ".gif" else _write_mp4)(pictures, part, frame_ms)


def _check_suffix(path: Path) -> None:
    """Raise unless films of this kind can be written."""
    suffix = (path.suffix or path.name).lower()  # of the path ".gif" all is name
    if suffix not in SUFFIXES:
        raise ValueError(f"a film ends in {' or '.join(SUFFIXES)}, got {str(path)!r}")
    if suffix == ".mp4" and shutil.which("ffmpeg") is None:
        raise ValueError("MP4 films need the program ffmpeg, which is not on the PATH: install it, or write a GIF")


def _pictures(
    frames: NDArray[np.floating], masks: NDArray[np.bool_], truth: NDArray[np.bool_] | None
) -> NDArray[np.uint8]:
    """Return the places of the panels' colours in :func:`_palette`, ``(T, height, width)``."""
    step = -(-max(frames.shape[1:]) // LARGEST_PX)
    shown = _blocks(frames, step).mean(axis=(2, 4))
    low, high = np.percentile(shown, PERCENTILES)
    greys = np.rint(np.clip((shown - low) / max(high - low, 1e-6), 0, 1) * (_GREYS - 1)).astype(np.uint8)
    overlaid = np.where(_blocks(masks, step).any(axis=(2, 4)), greys + np.uint8(_GREYS), greys)
    if truth is not None:
        solid = np.asarray(_blocks(truth, step).any(axis=(2, 4)))
        around = binary_dilation(solid, np.ones((1, 3, 3), dtype=bool)) & ~solid
        overlaid[around] = 2 * _GREYS
    return np.concatenate([greys, overlaid], axis=2)


def _blocks(frames: NDArray[Any], step: int) -> NDArray[Any]:
    """Cut frames into blocks of ``step`` x ``step`` pixels, ``(T, rows, step, columns, step)``; drop the rest."""
    count, rows, columns = len(frames), frames.shape[1] // step, frames.shape[2] // step
    return frames[:, : rows * step, : columns * step].reshape(count, rows, step, columns, step)


def _palette() -> NDArray[np.uint8]:
    """Return the colours ``(n, 3)``: greys, the same tinted, the outline."""
    greys = np.repeat(np.linspace(0, 255, _GREYS)[:, None], 3, axis=1)
    tinted = (1 - _TINT) * greys + _TINT * np.array(PREDICTION)
    colours: NDArray[np.uint8] = np.rint(np.concatenate([greys, tinted, [TRUTH]])).astype(np.uint8)
    return colours


def _write_gif(pictures: NDArray[np.uint8], path: Path, frame_ms: float) -> None:
    """Write an endless GIF."""
    images = [Image.fromarray(picture) for picture in pictures]
    for image in images:
        image.putpalette(_palette().tobytes())
    duration = max(2, round(frame_ms / _GIF_TICK_MS)) * _GIF_TICK_MS
    images[0].save(path, save_all=True, append_images=images[1:], duration=duration, loop=0, optimize=False)


def _write_mp4(pictures: NDArray[np.uint8], path: Path, frame_ms: float) -> None:
    """Write an MP4 by ffmpeg, which gets the frames through a pipe."""
    even = pictures[:, : pictures.shape[1] // 2 * 2, : pictures.shape[2] // 2 * 2]  # as the usual encoders need it
    height, width = even.shape[1:]
    source = f"-f rawvideo -pix_fmt rgb24 -s {width}x{height} -r {1000 / frame_ms:.6g} -i -"
    command = ["ffmpeg", "-loglevel", "error", "-y", *source.split(), "-pix_fmt", "yuv420p", str(path)]
    done = subprocess.run(command, input=_palette()[even].tobytes(), capture_output=True, check=False)
    if done.returncode:
        raise OSError(f"ffmpeg failed: {done.stderr.decode(errors='replace').strip()}")
