"""What a report says about the vessel masks of an angiogram: how large they are, and which frames are doubtful."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..calibre import voxel_lengths_mm
from ..components import foreground_box, label_components
from ..skeleton import skeletonize
from ..voxels import Voxels
from .notes import explain_cut

MAX_SHARE = 0.25  # of a frame; 84 manual masks of two public sets have 0.03 to 0.14
MAX_COMPONENTS = 10  # in a frame; the same masks have 1 to 4
MIN_RANGE = 0.1  # of the values that the file can hold, between the 1st and the 99th percentile
MAX_MEASURED = 0.5  # share of a frame; a larger mask is no vessel, and its thinning is slow


def describe_source(meta: Mapping[str, Any], shape: Sequence[int]) -> dict[str, Any]:
    """Return what the file of an angiogram says about it, in plain values, null where it does not.

    Args:
        meta: metadata of a loaded angiogram.
        shape: its axes ``(T, H, W)``.
    """
    angles = [float(angle) for angle in meta["angles_deg"]]
    return {
        "format": str(meta["format"]),
        "frames": shape[0],
        "source_frames": int(meta["source_frames"]),
        "height": shape[1],
        "width": shape[2],
        "bits": int(meta["bits"]) or None,
        "pixel_mm": float(meta["pixel_mm"]) or None,
        "frame_ms": float(meta["frame_ms"]) or None,
        "angles_deg": angles,
    }


def describe_frames(masks: NDArray[np.bool_], numbers: Sequence[int], pixel_mm: float) -> list[dict[str, Any]]:
    """Measure the mask of every frame.

    Args:
        masks: ``(T, H, W)``.
        numbers: place of each frame in its source.
        pixel_mm: edge of a pixel; 0 where unknown.

    Returns:
        Plain values for each frame. The length is that of the skeleton from pixel to pixel, null where more than half
        of the frame is mask; in mm, at the detector if DICOM states the pixel, where the pixel is known.
    """
    return [_describe_frame(mask, number, pixel_mm) for mask, number in zip(masks, numbers, strict=True)]


def judge_angiogram(source: Mapping[str, Any], notes: Mapping[str, Any], needs_motion: bool) -> list[str]:
    """Return what is doubtful about an angiogram, in plain words, beside what its steps have noted themselves."""
    warnings = []
    values = notes.get("values", {})
    if values and source["bits"]:
        spread = (values["percentile_99"] - values["percentile_1"]) / (2 ** source["bits"] - 1)
        if spread < MIN_RANGE:
            warnings.append(
                f"hardly any contrast: 98 % of the pixels lie within {spread:.1%} of the values that {source['bits']} "
                "bits can hold"
            )
    if needs_motion and source["frames"] == 1:
        warnings.append("a single frame: this network is made for sequences, and sees no motion here")
    return warnings


def judge_frames(frames: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[str]]:
    """Return what is doubtful about masks of which one at least is not empty, and what is worth a remark."""
    filled = [place for place, frame in enumerate(frames) if frame["area_px"]]
    first, last = filled[0], filled[-1]
    between = [frame["frame"] for frame in frames[first:last] if not frame["area_px"]]
    large = [frame["frame"] for frame in frames if frame["share"] > MAX_SHARE]
    broken = [frame["frame"] for frame in frames if frame["components"] > MAX_COMPONENTS]
    warnings = []
    if between:
        warnings.append(f"{_frames(between)} empty between frames with vessels")
    if large:
        warnings.append(f"implausible area: more than {MAX_SHARE:.0%} of the image called vessel, {_frames(large)} so")
    if broken:
        warnings.append(f"broken vessels, or false ones: {_frames(broken)} in more than {MAX_COMPONENTS} pieces")
    before, after = ([frame["frame"] for frame in part] for part in (frames[:first], frames[last + 1 :]))
    remarks = []
    if before:
        remarks.append(f"{_frames(before)} empty: they come before the contrast")
    if after:
        remarks.append(f"{_frames(after)} empty: the contrast is washed out")
    return warnings, remarks


def explain_empty(notes: Mapping[str, Any], settings: Mapping[str, Any], count: int) -> str:
    """Say why the masks of all frames are empty, the likeliest reason first.

    Args:
        notes: of image and prediction.
        settings: options of the inference by name.
        count: frames.
    """
    reasons = explain_cut(notes, settings["threshold"])
    if notes.get("above_threshold"):
        reasons.append(
            f"{notes['above_threshold']} pixels are above the threshold, but in components too small to keep "
            "(--min_area)"
        )
    reasons.append("is there contrast in the arteries, and are they darker than what is around them?")
    return f"no vessel in {'the image' if count == 1 else 'any frame'}: {'; '.join(reasons)}"


def _describe_frame(mask: NDArray[np.bool_], number: int, pixel_mm: float) -> dict[str, Any]:
    """Measure one mask, on the box around it."""
    area = int(np.count_nonzero(mask))
    box = foreground_box(mask)
    part = np.zeros((0, 0), bool) if box is None else mask[box]
    length = None
    if area <= MAX_MEASURED * mask.size:
        length = float(voxel_lengths_mm(Voxels(skeletonize(part)), (1.0, 1.0)).sum()) if area else 0.0
    return {
        "frame": int(number),
        "area_px": area,
        "share": area / mask.size,
        "components": label_components(part)[1],
        "length_px": length,
        "length_mm": length * pixel_mm if pixel_mm and length is not None else None,
    }


def _frames(numbers: Sequence[int]) -> str:
    """Name frames by their ranges, with the verb: ``frame 3 is``, ``frames 0-7, 9 are``."""
    breaks = [0, *(i for i in range(1, len(numbers)) if numbers[i] != numbers[i - 1] + 1), len(numbers)]
    runs = [numbers[start:stop] for start, stop in pairwise(breaks)]
    listed = ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)
    return f"frame {listed} is" if len(numbers) == 1 else f"frames {listed} are"
