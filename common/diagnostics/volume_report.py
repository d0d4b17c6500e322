"""The report of a CT."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from monai.data import MetaTensor

from ..grids import case_name, spacing_mm
from .report import ReportWriter, probability_of
from .volumes import (
    contrast_phase,
    describe_grid,
    describe_mask,
    explain_empty,
    judge_mask,
    judge_scan,
)


class SaveReportd(ReportWriter):
    """Write ``<output_dir>/<case>.json`` for masks ``(1, X, Y, Z)`` of CT on the grid of the input (after ``Invertd``).

    Arguments and errors are those of :class:`.report.ReportWriter`; ``settings`` holds ``threshold``,
    ``min_volume_mm3`` and, for contrast CT, ``require_contrast``.
    """

    def case_of(self, source: str) -> str:
        """Return the case of an input file."""
        return case_name(source)

    def describe(self, mask: MetaTensor, notes: Mapping[str, Any]) -> tuple[list[str], list[str], dict[str, Any]]:
        """Return new warnings, remarks, and what was measured; the mask is worked on in the box around it."""
        affine = mask.affine.numpy(force=True).astype(np.float64)
        heart, contrast = notes.get("heart", {}), notes.get("contrast", {})
        facts = describe_mask(mask[0].numpy(force=True) != 0, affine, heart.get("box"))
        warnings = judge_scan(notes)
        if facts["voxels"]:
            warnings += judge_mask(facts)
        else:
            warnings.append(explain_empty(notes, self.settings, float(spacing_mm(affine).prod())))
        phase = contrast_phase(contrast.get("blood_hu"), contrast["found"]) if contrast else None
        content = {
            "geometry": describe_grid(tuple(mask.shape[1:]), affine),
            "values_hu": notes.get("values"),
            "contrast": {"phase": phase, **contrast},
            "heart": heart,
            **({"guidance": notes["guidance"]} if "guidance" in notes else {}),
            "probability": probability_of(notes),
            "mask": facts,
        }
        return warnings, [], content
