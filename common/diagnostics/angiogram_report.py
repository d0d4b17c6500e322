"""The report of an X-ray angiogram."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from monai.data import MetaTensor

from ..angiograms.sources import angiogram_case_name
from .angiograms import describe_frames, describe_source, explain_empty, judge_angiogram, judge_frames
from .report import ReportWriter, probability_of


class SaveAngiogramReportd(ReportWriter):
    """Write ``<output_dir>/<case>.json`` for masks ``(T, H, W)`` on the pixels of the loaded angiogram.

    Arguments and errors are those of :class:`.report.ReportWriter`, and one more; ``settings`` holds ``threshold``.

    Args:
        needs_motion: the network is made for sequences, so that a single frame is warned of.
    """

    def __init__(self, *args: Any, needs_motion: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.needs_motion = needs_motion

    def case_of(self, source: str) -> str:
        """Return the case of an input file or folder."""
        return angiogram_case_name(source)

    def describe(self, mask: MetaTensor, notes: Mapping[str, Any]) -> tuple[list[str], list[str], dict[str, Any]]:
        """Return new warnings, remarks, and what was measured."""
        meta = mask.meta
        source = describe_source(meta, mask.shape)
        numbers = [int(number) for number in meta["frames"]]
        frames = describe_frames(mask.numpy(force=True) != 0, numbers, float(meta["pixel_mm"]))
        warnings = judge_angiogram(source, notes, self.needs_motion)
        remarks: list[str] = []
        if any(frame["area_px"] for frame in frames):
            doubts, remarks = judge_frames(frames)
            warnings += doubts
        else:
            warnings.append(explain_empty(notes, self.settings, len(frames)))
        content = {
            "angiogram": source,
            "values": notes.get("values"),
            "probability": probability_of(notes),
            "mask": {
                "frames_with_vessels": sum(frame["area_px"] > 0 for frame in frames),
                "largest_share": max(frame["share"] for frame in frames),
                "frames": frames,
            },
        }
        return warnings, remarks, content
