"""Masks of 0 and 1 out of labels that number branches, as training needs them, in files of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image

from ..angiograms.masks import GREY_VESSEL
from ..angiograms.reading import read_angiogram
from ..files import replacing
from ..lint.volumes import read_volume
from .case import Case


def binarized(case: Case, folder: Path, modality: str) -> Case:
    """Write (label > 0) of a CT to ``<folder>/<case>.nii.gz``, and return the case with that as its label.

    What the label was stays its "branches", where it has none. Of a still angiogram (``modality`` is ``xca``) the file
    is ``<folder>/<case>.png``, and of a label in grey, 0 to 255, it holds what is above the middle.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the label cannot be read.
    """
    if case.label is None:
        return case
    if modality == "xca":
        return replace(case, label=_write_still(case.label, folder / f"{case.name}.png"))
    path = folder / f"{case.name}.nii.gz"
    label = read_volume(case.label)
    with replacing(path) as temporary:
        mask = np.asarray(label.voxels > 0, np.uint8)
        nibabel.Nifti1Image(mask, label.grid.affine).to_filename(temporary)  # type: ignore[no-untyped-call]
    return replace(case, label=path, extras={"branches": case.label} | case.extras)


def _write_still(label: Path, path: Path) -> Path:
    (frame,) = read_angiogram(label).frames
    mask = frame > (GREY_VESSEL if frame.max() > GREY_VESSEL else 0)
    with replacing(path) as temporary:
        Image.fromarray(mask.astype(np.uint8)).save(temporary)
    return path
