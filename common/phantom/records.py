"""What a phantom's ``cases/<case>.json`` says: every drawn parameter, morphometry, and plaques with true stenosis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import nibabel
import numpy as np

from ..calcium import CalciumScore
from ..centerline.branch import BRANCH_LABELS, Branch
from ..plaque import Plaque
from .canvas import ScanGrid
from .heart import Heart
from .thorax import Thorax
from .tree import CoronaryTree
from .vessels import ostium_distance


def grid_record(grid: ScanGrid) -> dict[str, Any]:
    """Return the geometry of a scan."""
    codes = nibabel.aff2axcodes(grid.affine)  # type: ignore[no-untyped-call]
    return {
        "shape": list(grid.shape),
        "spacing": np.round(grid.spacing, 6).tolist(),
        "affine": grid.affine.tolist(),
        "orientation": "".join(codes),
    }


def heart_record(heart: Heart) -> dict[str, Any]:
    """Return pose and shape of a heart; solids are in the heart frame, mm."""
    return {
        "origin_mm": heart.origin_mm.tolist(),
        "axes": heart.axes.tolist(),
        "scale": heart.scale,
        "fat_mm": heart.fat_mm,
        "wall_mm": heart.wall_mm,
        "ellipsoids": {name: asdict(solid) for name, solid in heart.ellipsoids.items()},
        "tubes": {
            name: {"points": np.round(solid.points, 3).tolist(), "radii_mm": np.round(solid.radii_mm, 3).tolist()}
            for name, solid in heart.tubes.items()
        },
    }


def thorax_record(thorax: Thorax) -> dict[str, Any]:
    """Return size and place of a chest."""
    return {
        "center_mm": thorax.center_mm.tolist(),
        "half_width_mm": thorax.half_width_mm,
        "half_depth_mm": thorax.half_depth_mm,
        "dome_mm": thorax.dome_mm,
    }


def tree_record(tree: CoronaryTree, plaques: Sequence[Plaque], centerlines: Sequence[Branch]) -> dict[str, Any]:
    """Return variants, morphometry and plaques.

    Args:
        tree: the anatomy.
        plaques: plaques on its arteries.
        centerlines: its arteries where the image shows them, for the places of the plaques.
    """
    starts = ostium_distance(tree.branches)
    return {
        "dominance": tree.dominance,
        "ramus": tree.ramus,
        "left_main": tree.left_main,
        "branches": [_branch_record(b, start) for b, start in zip(tree.branches, starts, strict=True)],
        "plaques": [_plaque_record(plaque, centerlines, starts) for plaque in plaques],
    }


def calcium_record(plaques: Sequence[Mapping[str, Any]], scores: Mapping[str, CalciumScore]) -> dict[str, Any]:
    """Return the calcium of a heart.

    Args:
        plaques: records of its plaques, each with ``volume_mm3``.
        scores: scores by the image that they are of.
    """
    volume_mm3: dict[str, float] = {}
    for plaque in plaques:
        if plaque["calcified"]:
            name = plaque["name"]
            volume_mm3[name] = round(volume_mm3.get(name, 0.0) + plaque["volume_mm3"], 3)
    return {
        "volume_mm3": round(sum(volume_mm3.values()), 3),
        "vessels_mm3": volume_mm3,
        **{image: _score_record(score) for image, score in scores.items()},
    }


def _score_record(score: CalciumScore) -> dict[str, Any]:
    """Return one calcium score."""
    return {
        "agatston": round(score.agatston, 2),
        "volume_mm3": round(score.volume_mm3, 2),
        "vessels": {BRANCH_LABELS[label]: round(value, 2) for label, value in score.vessels.items()},
    }


def _branch_record(branch: Branch, start_mm: float) -> dict[str, Any]:
    """Return the morphometry of one branch."""
    chord_mm = float(np.linalg.norm(branch.points[-1] - branch.points[0]))
    return {
        "label": branch.label,
        "name": BRANCH_LABELS[branch.label],
        "parent": branch.parent,
        "ostium_distance_mm": round(start_mm, 2),
        "length_mm": round(branch.length_mm, 2),
        "arc_over_chord": round(branch.length_mm / max(chord_mm, 1e-6), 3),
        "first_diameter_mm": round(2 * float(branch.radius_mm[0]), 3),
        "last_diameter_mm": round(2 * float(branch.radius_mm[-1]), 3),
    }


def _plaque_record(plaque: Plaque, centerlines: Sequence[Branch], starts: Sequence[float]) -> dict[str, Any]:
    """Return one plaque with its true stenosis and its place in the image."""
    branch = centerlines[plaque.branch]
    at = int(np.argmin(np.abs(branch.arc_mm - (plaque.arc_mm - starts[plaque.branch]))))
    return asdict(plaque) | {
        "name": BRANCH_LABELS[branch.label],
        "center_mm": np.round(branch.points[at], 3).tolist(),
        "area_stenosis_percent": plaque.area_stenosis_percent,
        "diameter_stenosis_percent": plaque.diameter_stenosis_percent,
    }
