"""What a person checks in synthetic scans: values of the structures, noise, and a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, find_objects

from .disks import dilate_in_slices
from .structures import CORONARY_ID, STRUCTURES

_INNER_PX = 5  # the point spread of the chain: farther inside, a structure has its own value
_WINDOW_HU = (-150.0, 250.0)  # what the network sees
_LEVELS = (0.15, 0.4, 0.65, 0.9)  # of the slices between the lowest and the highest coronary voxel
_PANEL_PX = 360
_OUTLINE, _INK, _PAPER = (86, 180, 233), (235, 235, 235), (18, 18, 18)


class QualityCheck:
    """Measures volumes of one anatomy.

    Args:
        ids: label map on the grid of the volumes, ``(X, Y, Z)``.
    """

    def __init__(self, ids: NDArray[np.uint8]) -> None:
        self._parts: dict[int, tuple[tuple[slice, ...], NDArray[np.bool_], NDArray[np.bool_]]] = {}
        for id_, box in enumerate(find_objects(ids), start=1):
            if box is not None:
                mask = ids[box] == id_
                inner = np.zeros_like(mask) if id_ == CORONARY_ID else _eroded(mask, _INNER_PX)
                self._parts[id_] = box, mask, inner

    def measure(self, volume_hu: NDArray[Any]) -> dict[str, Any]:
        """Return the values of the structures in a volume.

        Args:
            volume_hu: ``(X, Y, Z)``.

        Returns:
            ``structures``: for each by name, ``mean_hu`` of all its voxels, ``inner_mean_hu`` and ``inner_sd_hu`` of
            those at least 5 pixels inside (None where there are none, and for the coronary arteries, which hold
            plaques). ``noise_hu``: the standard deviation of such voxels, pooled (None without any).
        """
        values, squares, count = {}, 0.0, 0
        for row in STRUCTURES:
            if row.id not in self._parts:
                continue
            box, mask, inner = self._parts[row.id]
            inside = volume_hu[box][inner].astype(np.float64)
            values[row.name] = {
                "mean_hu": round(float(volume_hu[box][mask].mean(dtype=np.float64)), 2),
                "inner_mean_hu": round(float(inside.mean()), 2) if inside.size else None,
                "inner_sd_hu": round(float(inside.std()), 2) if inside.size else None,
            }
            if inside.size:
                squares += float(inside.var()) * inside.size
                count += inside.size
        return {"structures": values, "noise_hu": round(float(np.sqrt(squares / count)), 2) if count else None}


def summarize(records: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Summarize the measurements of many cases.

    Args:
        records: what was written for each case, with ``contrast_ct``, ``views`` and ``missing_structures``.

    Returns:
        ``cases``, ``views``: how many. ``structures``: for each the mean of its mean value in the contrast CTs, the
        mean and the standard deviation over views of its mean value, and the mean of the standard deviation inside.
        ``noise_hu``: its mean over views. ``plaques_per_view``. ``missing_structures``: in how many cases.
    """
    views = [view for record in records.values() for view in record["views"]]
    names = [
        row.name for row in STRUCTURES if any(row.name in r["contrast_ct"]["structures"] for r in records.values())
    ]
    structures = {}
    for name in names:
        before = [r["contrast_ct"]["structures"].get(name, {}).get("mean_hu") for r in records.values()]
        after = [view["quality"]["structures"].get(name, {}) for view in views]
        structures[name] = {
            "contrast_ct_mean_hu": _mean(before),
            "mean_hu": _mean([values.get("mean_hu") for values in after]),
            "sd_of_mean_hu": _sd([values.get("mean_hu") for values in after]),
            "inner_sd_hu": _mean([values.get("inner_sd_hu") for values in after]),
        }
    return {
        "cases": len(records),
        "views": len(views),
        "structures": structures,
        "noise_hu": _mean([view["quality"]["noise_hu"] for view in views]),
        "plaques_per_view": _mean([len(view["plaques"]) for view in views]),
        "missing_structures": dict(Counter(name for r in records.values() for name in r["missing_structures"])),
    }


def montage(
    volumes: Mapping[str, NDArray[Any]], label: NDArray[np.uint8], spacing: Sequence[float], title: str
) -> NDArray[np.uint8]:
    """Draw axial slices at four levels and a coronal one: a row for each volume, the label's outline on the last.

    Args:
        volumes: CTs in HU by name, each ``(X, Y, Z)`` in RAS over the same field of view; slices may differ in number.
        label: coronary arteries on the grid of the last volume.
        spacing: mm per voxel of the last volume.
        title: heads the picture.

    Returns:
        Picture ``(height, width, 3)``; -150 HU is black, 250 HU white.
    """
    height_mm = label.shape[2] * spacing[2]
    filled = np.flatnonzero(label.any((0, 1)))
    low, high = (int(filled[0]), int(filled[-1])) if len(filled) else (0, label.shape[2] - 1)
    levels = [(low + level * (high - low) + 0.5) / label.shape[2] for level in _LEVELS]
    columns = np.flatnonzero(label.any((0, 2)))
    front = (float(np.median(columns)) + 0.5) / label.shape[1] if len(columns) else 0.5
    last = list(volumes)[-1]
    rows = []
    for name, volume in [*volumes.items(), (f"{last}, label", volumes[last])]:
        panels = []
        outlined = name not in volumes
        for axis, place in [*((2, level) for level in levels), (1, front)]:
            plane = np.take(volume, min(int(place * volume.shape[axis]), volume.shape[axis] - 1), axis)
            rise_mm = label.shape[1] * spacing[1] if axis == 2 else height_mm
            size = (_PANEL_PX, max(round(_PANEL_PX * rise_mm / (label.shape[0] * spacing[0])), 1))
            mask = np.take(label, int(place * label.shape[axis]), axis) if outlined else None
            panels.append(_panel(plane, size, mask))
        rows.append((name, panels))
    return _sheet(rows, title)


def _mean(values: Sequence[float | None]) -> float | None:
    """Return the mean of the values that are known, None without any."""
    known = [value for value in values if value is not None]
    return round(float(np.mean(known)), 2) if known else None


def _sd(values: Sequence[float | None]) -> float | None:
    """Return the standard deviation of the values that are known, None without any."""
    known = [value for value in values if value is not None]
    return round(float(np.std(known)), 2) if known else None


def _eroded(mask: NDArray[np.bool_], radius_px: int) -> NDArray[np.bool_]:
    """Shrink a mask by a disk in every slice."""
    outside = ~np.pad(mask, ((1, 1), (1, 1), (0, 0)))
    return np.asarray(~dilate_in_slices(outside, radius_px)[1:-1, 1:-1])


def _panel(plane: NDArray[Any], size: tuple[int, int], mask: NDArray[np.uint8] | None) -> Image.Image:
    """Draw one slice as radiologists look at it: the patient's right on the left, front or head up."""
    low, high = _WINDOW_HU
    grey = np.clip((plane.astype(np.float32) - low) / (high - low), 0, 1) * 255
    panel = np.asarray(_upright(grey).resize(size, Image.Resampling.BILINEAR))
    colours = np.repeat(panel.astype(np.uint8)[..., None], 3, axis=2)
    if mask is not None:
        inside = np.asarray(_upright(mask.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)) > 0.5
        colours[binary_dilation(inside) & ~inside] = _OUTLINE
    return Image.fromarray(colours)


def _upright(plane: NDArray[np.float32]) -> Image.Image:
    """Turn a plane in RAS into rows and columns."""
    return Image.fromarray(np.ascontiguousarray(plane[::-1, ::-1].T, np.float32))


def _sheet(rows: list[tuple[str, list[Image.Image]]], title: str) -> NDArray[np.uint8]:
    """Put panels, names and title on one sheet."""
    gap, top = 8, 40
    height = max(panel.height for panel in rows[0][1])
    width = sum(panel.width + gap for panel in rows[0][1]) + gap
    sheet = Image.new("RGB", (width, top + len(rows) * (height + gap)), _PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((gap, top // 2), title, _INK, ImageFont.load_default(20), anchor="lm")
    for number, (name, panels) in enumerate(rows):
        left, upper = gap, top + number * (height + gap)
        for panel in panels:
            sheet.paste(panel, (left, upper))
            left += panel.width + gap
        draw.text((gap + 6, upper + 5), name, _INK, ImageFont.load_default(17), stroke_width=2, stroke_fill=_PAPER)
    return np.asarray(sheet)
