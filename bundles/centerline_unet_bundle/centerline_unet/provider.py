"""Where the centerline comes from: predicted by stage 1, a file, a mask, or nowhere."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.utils import ImageMetaKey
from numpy.typing import NDArray
from torch import Tensor

from .common.centerline.branch import Branch
from .common.centerline.extract import extract_centerline
from .common.centerline.readers import read_centerline
from .common.grids import case_name, read_grid
from .common.loading import LoadVolumed
from .stage1 import StageOne

SOURCES = ("predicted", "file", "mask", "none")
SUFFIXES = (".vtp", ".vtk", ".json", ".mrk.json", ".gml", ".GML", ".csv", ".txt")
STEP_MM = 0.5  # between points; hand-drawn curves have their control points centimetres apart
CONTRAST = 0.1  # of the window, 120 HU: less than between a contrast-filled artery and what is around it
MIN_POINTS = 20  # 10 mm; a shorter centerline is no guide


@dataclass(frozen=True)
class Guidance:
    """A centerline for one image.

    Attributes:
        source: "predicted", "file", "mask" or "none".
        branches: the centerline in RAS mm; empty for "none".
        affine: from voxels of the image to RAS mm, ``(4, 4)``.
        quality: in [0, 1]: mean stage-1 probability along a predicted centerline, 1 for a file or mask, 0 for none.
        probability: of stage 1 on the grid of the image, ``(1, X, Y, Z)``; None for other sources.
        reason: why there is none, where one was asked for.
    """

    source: str
    branches: list[Branch]
    affine: NDArray[np.float64]
    quality: float = 0.0
    probability: Tensor | None = field(default=None, repr=False)
    reason: str = ""

    @property
    def points(self) -> NDArray[np.float64]:
        """All points in voxels of the image, ``(N, 3)``."""
        if not self.branches:
            return np.zeros((0, 3))
        world = np.concatenate([branch.points for branch in self.branches])
        return np.asarray(nibabel.affines.apply_affine(np.linalg.inv(self.affine), world))

    @property
    def edges(self) -> NDArray[np.int64]:
        """Pairs of consecutive :attr:`points`, ``(M, 2)``; a branch begins with a copy of its parent's point."""
        counts = np.cumsum([0, *(len(branch.points) for branch in self.branches)])
        steps = [np.arange(first, last - 1) for first, last in pairwise(counts)]
        starts = np.concatenate([np.zeros(0, np.int64), *steps]).astype(np.int64)
        return np.stack([starts, starts + 1], axis=1)


class CenterlineProvider:
    """Gives each image its centerline, without ever looking at a reference unless that is allowed by name.

    A failure of the source is no failure of the segmentation: a warning says what happened, and the image is segmented
    without a centerline.

    Args:
        source: "predicted" by stage 1; "file" ``<directory>/<case>.vtp`` (or another known suffix); "mask", the label
            of the case; or "none".
        stage1: for "predicted".
        directory: folder of centerline files, for "file"; None takes the entry "centerline" of ``cases``.
        cases: entries of the data list, for "mask" and for "file" without a directory. With them, a case is named as
            its entry says, and the file that an entry names as its "centerline" counts as a reference.
        frame: frame of the files, "ras", "lps", "voxel" or "asoca_vtp"; None for the frame that their format declares.
        is_reference: the files were made from the label; true for the "centerline" entries of a data list.
        allow_oracle: allow what knows the answer: "mask", and files that are references.

    Raises:
        ValueError: If the source is unknown, needs what was not given, or is an oracle that is not allowed.
        FileNotFoundError: If ``directory`` does not exist.
    """

    def __init__(
        self,
        source: str = "predicted",
        stage1: StageOne | None = None,
        directory: str | Path | None = None,
        cases: Sequence[Mapping[str, Any]] = (),
        frame: str | None = None,
        is_reference: bool = False,
        allow_oracle: bool = False,
    ) -> None:
        if source not in SOURCES:
            raise ValueError(f"the source of the centerline must be one of {SOURCES}, got {source!r}")
        if source == "predicted" and stage1 is None:
            raise ValueError("the source 'predicted' needs stage1, the network that predicts centerlines")
        if source == "file" and directory is None and not cases:
            raise ValueError("the source 'file' needs --centerline_dir, the folder of centerline files")
        if source == "file" and directory is not None and not Path(directory).is_dir():
            raise FileNotFoundError(f"there is no folder of centerlines {directory}: give it with --centerline_dir")
        if source == "mask" and not cases:
            raise ValueError("the source 'mask' needs the cases of a data list, with their labels")
        self.knows_reference = source == "mask" or (source == "file" and (is_reference or directory is None))
        self.allow_oracle = allow_oracle
        if self.knows_reference:
            self._check_allowed(f"the source {source!r}")
        self.source = source
        self.stage1 = stage1
        self.directory = None if directory is None else Path(directory)
        self.cases = {str(case["image"]): case for case in cases}
        self.frame = frame

    def get(self, image: Tensor, meta: Mapping[str, Any]) -> Guidance:
        """Return the centerline of an image.

        Args:
            image: windowed volume in [0, 1], ``(1, X, Y, Z)``.
            meta: its metadata: "affine" and, for files and masks, "filename_or_obj".

        Returns:
            The centerline; of source "none", with a warning, if it was not to be had or is shorter than 10 mm.
        """
        affine = np.asarray(meta["affine"], np.float64)
        if self.source == "none":
            return Guidance("none", [], affine)
        path = str(meta.get(ImageMetaKey.FILENAME_OR_OBJ, ""))
        self._check_independent(path)
        try:
            guidance = self._find(image, affine, path)
            if len(guidance.points) >= MIN_POINTS:
                return guidance
            reason = f"the {self.source} centerline has {len(guidance.points)} points, fewer than {MIN_POINTS}"
        except (ValueError, OSError) as error:
            reason = str(error)
        return unguided(path, affine, reason)

    def _find(self, image: Tensor, affine: NDArray[np.float64], path: str) -> Guidance:
        """Look up the centerline; raise where there is none."""
        if self.stage1 is not None and self.source == "predicted":
            probability, branches = self.stage1(image, affine)
            guidance = Guidance("predicted", branches, affine, probability=probability)
            return Guidance("predicted", branches, affine, _mean_at(probability, guidance.points), probability)
        if self.source == "mask":
            label = LoadVolumed("label")({"label": self._case(path)["label"]})["label"]
            return Guidance("mask", extract_centerline(label[0].numpy() > 0, label.affine.numpy()), affine, 1.0)
        frame = self.cases.get(path, {}).get("centerline_frame", self.frame)
        grid = read_grid(path) if path else None
        guidance = Guidance("file", _filled(read_centerline(self._file(path), frame, grid)), affine, 1.0)
        _check_not_mirrored(image, guidance)
        return guidance

    def _check_allowed(self, what: str) -> None:
        """Raise unless an oracle is allowed."""
        if not self.allow_oracle:
            raise ValueError(
                f"{what} knows the reference, so its scores say nothing about a new scan: use the source 'predicted', "
                "or files of another origin with --centerline_dir; in evaluation, --allow_oracle True adds arms with "
                "the true centerline"
            )

    def _check_independent(self, path: str) -> None:
        """Raise if the file of an image is the reference that the data list names, unless that is allowed."""
        reference = self.cases.get(path, {}).get("centerline")
        if self.source == "file" and reference is not None:
            found = [file for file in self._candidates(path) if file.is_file()]
            if Path(reference).resolve() in {file.resolve() for file in found}:
                self._check_allowed(f"{found[0].parent}, where the data list has its centerlines,")
                self.knows_reference = True

    def _case(self, path: str) -> Mapping[str, Any]:
        if path not in self.cases:
            raise ValueError(f"{path or 'an image without a file name'} is not among the cases of the data list")
        return self.cases[path]

    def _file(self, path: str) -> Path:
        """Return the centerline file of an image."""
        if self.directory is None:
            case = self._case(path)
            if "centerline" not in case:
                raise ValueError(f'the entry of {path} in the data list has no "centerline"')
            return Path(case["centerline"])
        candidates = self._candidates(path)
        found = [candidate for candidate in candidates if candidate.is_file()]
        if not found:
            others = ", ".join(SUFFIXES[1:])
            raise FileNotFoundError(f"there is no {candidates[0].name} (or {others}) in {self.directory}")
        return found[0]

    def _candidates(self, path: str) -> list[Path]:
        """Return the files in which the centerline of an image may be."""
        if self.directory is None:
            return []
        case = self.cases.get(path, {}).get("case") or case_name(path)
        return [self.directory / f"{case}{suffix}" for suffix in SUFFIXES]


def unguided(name: str, affine: NDArray[np.float64], reason: str) -> Guidance:
    """Return no centerline, after a warning that says why."""
    warnings.warn(f"{name or 'this image'} is segmented without a centerline: {reason}", stacklevel=3)
    return Guidance("none", [], affine, reason=reason)


def _filled(branches: Sequence[Branch]) -> list[Branch]:
    """Return the branches with additional points where they are farther than ``STEP_MM`` apart."""
    places = []  # of the given points among those of the result
    for branch in branches:
        steps = np.maximum(np.ceil(np.diff(branch.arc_mm) / STEP_MM - 1e-6).astype(int), 1)
        places.append(np.concatenate([[0], np.cumsum(steps)]))
    filled = []
    for branch, place in zip(branches, places, strict=True):
        at = np.arange(place[-1] + 1)
        points = np.stack([np.interp(at, place, axis) for axis in branch.points.T], axis=1)
        parent_point = int(places[branch.parent][branch.parent_point]) if branch.parent >= 0 else -1
        radius_mm = np.interp(at, place, branch.radius_mm)
        filled.append(replace(branch, points=points, radius_mm=radius_mm, parent_point=parent_point))
    return filled


def _check_not_mirrored(image: Tensor, guidance: Guidance) -> None:
    """Raise if the image is brighter along the mirror image of a centerline: then LPS was taken for RAS.

    Both may lie wholly inside an image, so that only the contrast in the vessels tells one from the other.
    """
    turned = [replace(branch, points=branch.points * [-1, -1, 1]) for branch in guidance.branches]
    here, there = (_mean_at(image, line.points) for line in (guidance, replace(guidance, branches=turned)))
    if there > here + CONTRAST:
        raise ValueError(
            "the image is brighter along the mirror image of the centerline than along it: give the frame of the file "
            "with --centerline_frame lps or ras"
        )


def _mean_at(volume: Tensor, points: NDArray[np.float64]) -> float:
    """Return the mean of a volume ``(1, X, Y, Z)`` at points ``(N, 3)`` in voxels, 0 outside and without points."""
    nearest = np.rint(points).astype(int)
    inside = ((nearest >= 0) & (nearest < volume.shape[1:])).all(axis=1)
    values = volume[0].cpu().numpy()[tuple(nearest[inside].T)]
    return float(values.sum() / max(len(points), 1))
