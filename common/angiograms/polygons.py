"""Vessel masks out of COCO annotations, which are polygons around the segments of the coronary tree."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon

LESION = "stenosis"  # category that marks a lesion, not a vessel


class Outlines(NamedTuple):
    """What is drawn in one image: its file name, ``(H, W)``, and the polygons, each ``x, y, x, y, ...`` in pixels."""

    file_name: str
    shape: tuple[int, int]
    polygons: list[Sequence[float]]


def read_coco(path: Path) -> list[Outlines]:
    """Read the vessel polygons of each image of a COCO file, in the order of the file; lesions are left out.

    Raises:
        ValueError: If it is no such file, or has masks that are no polygons.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"cannot read {path}; is it complete? ({error})") from error
    try:
        lesions = {entry["id"] for entry in content["categories"] if entry["name"].lower() == LESION}
        found = {
            entry["id"]: Outlines(entry["file_name"], (entry["height"], entry["width"]), [])
            for entry in content["images"]
        }
        for entry in content["annotations"]:
            if entry["category_id"] not in lesions:
                found[entry["image_id"]].polygons.extend(_polygons(entry, path))
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a COCO file with images, annotations and categories: {error!r}") from error
    return list(found.values())


def rasterize(outlines: Outlines) -> NDArray[np.bool_]:
    """Return the union of an image's polygons as a mask, ``(H, W)``: the pixels whose centres lie in one of them."""
    mask = np.zeros(outlines.shape, bool)
    for points in outlines.polygons:
        x, y = np.reshape(points, (-1, 2)).T - 0.5  # COCO's origin is the corner of the first pixel, not its centre
        mask[polygon(y, x, mask.shape)] = True  # type: ignore[no-untyped-call]
    return mask


def _polygons(annotation: dict[str, Any], path: Path) -> list[Sequence[float]]:
    polygons = annotation["segmentation"]
    if not isinstance(polygons, list):
        raise ValueError(
            f"annotation {annotation.get('id')} of {path} is run-length coded; only polygons are supported"
        )
    for points in polygons:
        if len(points) < 6 or len(points) % 2:
            raise ValueError(f"annotation {annotation.get('id')} of {path} has a polygon of {len(points)} numbers")
    return polygons
