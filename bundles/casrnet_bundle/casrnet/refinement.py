"""Refinement of a segmented angiogram: specks and false positives deleted, interrupted vessels reconnected."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import convert_to_dst_type, ensure_tuple_rep
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .common.checks import check_switches
from .common.components import label_components
from .patch_lines import PatchLine, draw_patch_lines
from .refinement_rule import RefinementRule

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class RemovedComponent:
    """A component that was deleted.

    Args:
        area: its pixels.
        centroid: row and column.
        reason: "speck" or "small".
    """

    area: int
    centroid: tuple[float, float]
    reason: str


@dataclass(frozen=True)
class Refinement:
    """A refined mask and what was done to it.

    Args:
        mask: ``(H, W)``: the given mask without the removed components, with the patches.
        patches: the pixels of ``mask`` that were added, ``(H, W)``.
        removed: deleted components.
        lines: patch lines that are part of ``mask``.
    """

    mask: Mask
    patches: Mask
    removed: list[RemovedComponent]
    lines: list[PatchLine]

    def log(self) -> dict[str, list[dict[str, Any]]]:
        """Return the removed components and the lines as plain lists and numbers, ready for a JSON file."""
        return {"removed": list(map(asdict, self.removed)), "lines": list(map(asdict, self.lines))}


def refine(
    mask: Mask,
    probability: NDArray[np.floating] | None = None,
    rule: RefinementRule | None = None,
    scaled: bool = True,
    patch_lines: bool = True,
) -> Refinement:
    """Delete specks, reconnect vessels across short gaps, then delete what is still small.

    Specks go first and small components last, so that fragments which a patch line reconnects are kept.

    A patch line is a guess. A total occlusion *is* a gap: patch lines can draw a vessel across it. They are returned
    as a mask of their own; show them apart, or switch them off.

    Args:
        mask: vessel mask, ``(H, W)``.
        probability: of vessel, ``(H, W)``; needed if the rule has a ``min_gap_prob``.
        rule: the limits; None for the defaults of :class:`RefinementRule`.
        scaled: the rule is stated for a shorter side of 512 pixels and is scaled to that of the mask.
        patch_lines: False only deletes.

    Returns:
        The refined mask. An empty mask stays empty, and so becomes one that holds nothing but specks; of components
        that are larger, but all too small, the largest is kept.

    Raises:
        ValueError: If the mask is not two-dimensional, or the probability is missing or of another shape.

    Source:
        Hassan et al., "CASR-Net", 2025, https://arxiv.org/abs/2510.27315, names the two ideas; the algorithm is ours.
    """
    mask = np.asarray(mask, dtype=bool)
    if mask.ndim != 2:
        raise ValueError(f"mask must be (H, W), got {mask.shape}")
    rule = RefinementRule() if rule is None else rule
    if probability is None and rule.min_gap_prob > 0:
        raise ValueError("min_gap_prob needs the probability: pass it, or set min_gap_prob to 0")
    if probability is not None and probability.shape != mask.shape:
        raise ValueError(f"probability must have the mask's shape {mask.shape}, got {probability.shape}")
    rule = rule.scaled_to(mask.shape) if scaled and mask.size else rule
    cleaned, specks = _remove(mask, rule.speck_area, "speck")
    patches, lines = draw_patch_lines(cleaned, rule, probability) if patch_lines else (np.zeros_like(mask), [])
    patched = cleaned | patches
    refined, small = _remove(patched, _final_area(patched, rule), "small")
    return Refinement(refined, patches & refined, specks + small, [line for line in lines if refined[line.start]])


class RefineContoursd(MapTransform):
    """Apply :func:`refine` to every frame of a mask; keep the unrefined mask and the patches beside it.

    Patch lines can bridge a true occlusion: see :func:`refine`.

    Args:
        keys: masks ``(T, H, W)``; what is not 0 is vessel. They are replaced by the refined ones, same type.
        patch_key: where to put the pixels that were added, ``(T, H, W)``; one for all keys, or one for each.
        raw_key: where to put the mask as it was; one for all keys, or one for each.
        log_key: where to put what was done: for each frame a dictionary of plain numbers, see :meth:`Refinement.log`.
        probability_key: item with the probability of vessel, ``(T, H, W)``; needed if the rule has a ``min_gap_prob``.
        rule: the limits; None for the defaults of :class:`RefinementRule`.
        scaled: see :func:`refine`.
        patch_lines: see :func:`refine`.
        refine: False leaves the masks as they are; the items beside them are made all the same.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ValueError: If items would overwrite each other, the rule needs a probability, or a switch is no bool.
    """

    def __init__(
        self,
        keys: KeysCollection = "pred",
        patch_key: KeysCollection = "patches",
        raw_key: KeysCollection = "unrefined",
        log_key: KeysCollection = "refinement",
        probability_key: str | None = None,
        rule: RefinementRule | None = None,
        scaled: bool = True,
        patch_lines: bool = True,
        refine: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.patch_key, self.raw_key, self.log_key = (
            ensure_tuple_rep(key, len(self.keys)) for key in (patch_key, raw_key, log_key)
        )
        for name, made in (("patch_key", self.patch_key), ("raw_key", self.raw_key), ("log_key", self.log_key)):
            if len(set(made)) != len(made):
                raise ValueError(f"{name} must name one item for each of {self.keys}, got {made}")
        check_switches(refine=refine, patch_lines=patch_lines)
        self.probability_key = probability_key
        self.rule = RefinementRule() if rule is None else rule
        if self.rule.min_gap_prob > 0 and probability_key is None:
            raise ValueError("min_gap_prob needs the probability: name it with probability_key")
        self.scaled = scaled
        self.patch_lines = patch_lines
        self.refine = refine

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Refine each item.

        Raises:
            ValueError: If a mask is not ``(T, H, W)``.
        """
        refined = dict(data)
        probability = None if self.probability_key is None else _array(refined[self.probability_key])
        beside = self.key_iterator(refined, self.patch_key, self.raw_key, self.log_key)
        for key, patch_key, raw_key, log_key in beside:
            mask = refined[key]
            frames = _array(mask) != 0
            if frames.ndim != 3:
                raise ValueError(f"{key!r} must be masks (T, H, W), got {frames.shape}")
            results = [
                self._refine(frame, None if probability is None else probability[number])
                for number, frame in enumerate(frames)
            ]
            refined[raw_key] = mask
            refined[log_key] = [result.log() for result in results]
            for name, made in ((key, [r.mask for r in results]), (patch_key, [r.patches for r in results])):
                refined[name] = convert_to_dst_type(np.stack(made), mask)[0]
        return refined

    def _refine(self, frame: Mask, probability: NDArray[np.floating] | None) -> Refinement:
        if not self.refine:
            return Refinement(frame, np.zeros_like(frame), [], [])
        return refine(frame, probability, self.rule, self.scaled, self.patch_lines)


def _remove(mask: Mask, min_area: float, reason: str) -> tuple[Mask, list[RemovedComponent]]:
    """Return the components of at least ``min_area`` pixels, and a record of the others."""
    labels, count = label_components(mask)
    areas = np.bincount(labels.ravel(), minlength=count + 1)
    small = areas < min_area
    small[0] = False
    numbers = np.flatnonzero(small)
    centroids = ndimage.center_of_mass(mask, labels, numbers) if len(numbers) else []
    removed = [
        RemovedComponent(int(areas[number]), (float(row), float(column)), reason)
        for number, (row, column) in zip(numbers, centroids, strict=True)
    ]
    return mask & ~small[labels], removed


def _final_area(mask: Mask, rule: RefinementRule) -> float:
    """Area below which a component is deleted in the end; never more than the largest component has."""
    labels, _ = label_components(mask)
    largest = int(np.bincount(labels.ravel())[1:].max(initial=0))
    return min(max(rule.min_area, rule.min_rel * largest), largest)


def _array(item: Tensor | NDArray[Any]) -> NDArray[Any]:
    return item.numpy(force=True) if isinstance(item, Tensor) else np.asarray(item)
