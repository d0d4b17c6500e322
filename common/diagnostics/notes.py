"""What the steps of an inference note about an image, for the report at its end.

The notes are one JSON text in the image's metadata. A text passes worker processes, collation, decollation and
``Invertd`` as it is, which lists of different length, ``None`` and ``warnings.catch_warnings`` do not.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import MapTransform
from numpy.typing import NDArray
from torch import Tensor

NOTES = "notes"
"""Key of the metadata."""

SAMPLED_SIZE = 128
"""From so many pixels or voxels along an axis on, every fourth is enough for statistics."""


class NoteProbabilityd(MapTransform):
    """Note how high a probability is and how much of it is above the threshold, to explain an empty mask.

    Use it on the grid of the mask, before anything is cleared or cut. It takes 0.1 s for 512 x 512 x 275 voxels.

    Args:
        keys: probabilities, ``(C, *spatial)``.
        threshold: of the mask.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(self, keys: KeysCollection, threshold: float, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.threshold = threshold

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` with the notes in the metadata of the items."""
        for key in self.key_iterator(dict(data)):
            values = data[key].numpy(force=True)
            above = int(np.count_nonzero(values >= self.threshold))
            note(data[key], highest_probability=round(float(values.max()), 4), above_threshold=above)
        return dict(data)


def note(item: Tensor, **facts: Any) -> None:
    """Add facts to the notes of an item; nothing happens to one without metadata.

    Args:
        item: a loaded image, or what a network made of it.
        facts: what JSON can hold, by name.
    """
    if isinstance(item, MetaTensor):
        item.meta[NOTES] = json.dumps(notes_of(item) | facts)


def note_values(item: Tensor, values: NDArray[np.floating]) -> None:
    """Note lowest and highest value, percentiles and mean of a loaded image; all but the extremes from a sample.

    Args:
        item: the image.
        values: its values, ``(1, X, Y, Z)`` or ``(T, H, W)``.
    """
    sample = values[tuple(slice(None, None, 4 if size >= SAMPLED_SIZE else 1) for size in values.shape)]
    first, middle, last = (float(value) for value in np.percentile(sample, (1, 50, 99)))
    spread = {"percentile_1": first, "median": middle, "percentile_99": last, "mean": float(sample.mean())}
    note(item, values={"lowest": float(values.min()), "highest": float(values.max()), **spread})


def warn(item: Tensor, name: str, message: str, stacklevel: int = 2) -> None:
    """Warn the user now, and in the report.

    Args:
        item: what the warning is about.
        name: its file, which stands before the message on the screen.
        message: plain words.
        stacklevel: as that of ``warnings.warn``.
    """
    warnings.warn(f"{name}: {message}", stacklevel=stacklevel + 1)
    note_warning(item, message)


def note_warning(item: Tensor, message: str) -> None:
    """Add a warning to the notes of an item."""
    note(item, warnings=[*notes_of(item).get("warnings", []), message])


def notes_of(*items: Tensor) -> dict[str, Any]:
    """Return what was noted about items: of the later one where they differ, but the warnings of all, each once."""
    merged: dict[str, Any] = {}
    for item in items:
        found = json.loads(item.meta.get(NOTES, "{}")) if isinstance(item, MetaTensor) else {}
        warned = [*merged.get("warnings", []), *found.get("warnings", [])]
        merged |= found
        if warned:
            merged["warnings"] = list(dict.fromkeys(warned))
    return merged


def explain_cut(notes: Mapping[str, Any], threshold: float) -> list[str]:
    """Return the reason that nothing is above the threshold, if that is so."""
    if notes.get("above_threshold") != 0:
        return []
    highest = notes["highest_probability"]
    return [
        f"the highest probability is {highest:.3g}, below the threshold of {threshold:g} (--threshold); a network sees "
        "little in images unlike those of its training"
    ]
