"""Masks of 0 and 1 out of labels that number branches, as training needs them, in files of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np

from ..files import replacing
from ..lint.volumes import read_volume
from .case import Case


def binarized(case: Case, folder: Path) -> Case:
    """Write (label > 0) of a CT to ``<folder>/<case>.nii.gz``, and return the case with that as its label.

    What the label was stays its "branches", where it has none.

    Raises:
        OSError: If the file cannot be written.
        ValueError: If the label cannot be read.
    """
    if case.label is None:
        return case
    path = folder / f"{case.name}.nii.gz"
    label = read_volume(case.label)
    with replacing(path) as temporary:
        mask = np.asarray(label.voxels > 0, np.uint8)
        nibabel.Nifti1Image(mask, label.grid.affine).to_filename(temporary)  # type: ignore[no-untyped-call]
    return replace(case, label=path, extras={"branches": case.label} | case.extras)
