"""Small pictures on which a person sees whether a label fits its image."""

from __future__ import annotations

import io
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from ..components import foreground_box
from ..grids import spacing_mm
from ..preview import TRUTH

HEIGHT_PX = 160
GAP_PX = 4  # between the panels
WINDOW_HU = (-150.0, 550.0)
MARGIN_MM = 15.0  # around the label
COLOURS = 24  # of the palette: 12 kB for a CT


def draw_ct(
    voxels: NDArray[Any],
    affine: NDArray[np.float64],
    mask: NDArray[np.bool_] | None,
    window: tuple[float, float] = WINDOW_HU,
) -> bytes:
    """Draw the axial slice with the most of the label, and the label from the front over the mean of the image.

    Args:
        voxels: grey values, ``(X, Y, Z)``, axes in any order and direction.
        affine: voxel to RAS in mm, ``(4, 4)``.
        mask: the label, same shape; without one, the middle slice is shown.
        window: values that are black and white.

    Returns:
        PNG; the patient's right is on the left of the picture, and front and head are up.
    """
    orientation: Any = nibabel.io_orientation(affine)  # type: ignore[no-untyped-call]
    volume, spacing = _turned(voxels, orientation), np.empty(3)
    spacing[orientation[:, 0].astype(int)] = spacing_mm(affine)
    label = np.zeros(volume.shape, bool) if mask is None else _turned(mask, orientation)
    box = foreground_box(label)
    middle = volume.shape[2] // 2 if box is None else box[2].start + int(label[box].sum((0, 1)).argmax())
    if box is not None:
        margin = np.ceil(MARGIN_MM / spacing).astype(int)
        box = tuple(slice(max(s.start - m, 0), s.stop + m) for s, m in zip(box, margin, strict=True))
        volume, label, middle = volume[box], label[box], middle - box[2].start
    panels = [
        _panel(volume[:, :, middle], label[:, :, middle], spacing[[0, 1]], window),
        np.full((HEIGHT_PX, GAP_PX, 3), 255, np.uint8),
        _panel(_front(volume, window), np.asarray(label.any(1)), spacing[[0, 2]], None),
    ]
    return _png(np.concatenate(panels, axis=1))


def draw_angiogram(frame: NDArray[np.float32], mask: NDArray[np.bool_] | None) -> bytes:
    """Draw a frame ``(H, W)`` and the outline of its mask, as PNG."""
    label = np.zeros(frame.shape, bool) if mask is None else mask
    return _png(_panel(frame[::-1, ::-1].T, label[::-1, ::-1].T, np.ones(2), None))


def _turned(volume: NDArray[Any], orientation: NDArray[Any]) -> NDArray[Any]:
    """Return a view whose axes point to the right, the front and the head."""
    return np.asarray(nibabel.apply_orientation(volume, orientation))  # type: ignore[no-untyped-call]


def _front(volume: NDArray[Any], window: tuple[float, float]) -> NDArray[np.float32]:
    """Return the mean from front to back, of what is between fat and dense bone."""
    return np.asarray(np.clip(volume, *window).mean(1, dtype=np.float32))


def _panel(
    picture: NDArray[Any], label: NDArray[np.bool_], spacing: NDArray[np.float64], window: tuple[float, float] | None
) -> NDArray[np.uint8]:
    """Return a panel ``(HEIGHT_PX, width, 3)`` of what has its axes from right to left and from bottom to top."""
    values = np.ascontiguousarray(picture[::-1, ::-1].T, np.float32)
    finite = values[np.isfinite(values)]
    low, high = window or (np.percentile(finite, (1, 99)) if finite.size else (0.0, 1.0))
    grey = 255 * np.clip((np.nan_to_num(values) - low) / max(high - low, 1e-6), 0, 1)
    edges = np.array(picture.shape) * spacing
    size = (int(np.clip(round(HEIGHT_PX * edges[0] / edges[1]), 16, 3 * HEIGHT_PX)), HEIGHT_PX)
    panel = np.array(Image.fromarray(grey.astype(np.uint8)).resize(size, Image.Resampling.BILINEAR).convert("RGB"))
    shadow = Image.fromarray(np.ascontiguousarray(label[::-1, ::-1].T, np.float32)).resize(size, Image.Resampling.BOX)
    covered = np.asarray(shadow) > 0.2  # a vessel of one voxel stays visible
    panel[ndimage.binary_dilation(covered) & ~covered] = TRUTH
    return np.asarray(panel, np.uint8)


def _png(picture: NDArray[np.uint8]) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).quantize(COLOURS, dither=Image.Dither.NONE).save(file, "PNG", optimize=True)
    return file.getvalue()
