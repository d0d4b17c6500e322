"""Writing masks and probability maps, whole or not at all."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from monai.config import DtypeLike, KeysCollection
from monai.data import MetaTensor
from monai.transforms import SaveImaged
from monai.utils import ImageMetaKey

from .files import replacing
from .grids import case_name

SUFFIX = ".nii.gz"


class SaveMaskd(SaveImaged):
    """Write ``<output_dir>/<case>_<postfix>.nii.gz`` in the geometry of the input image.

    MONAI's ``SaveImaged`` leaves half a file where the disk is full, cuts names at a dot, reports every failure as a
    missing writer, and resamples the volume in double precision onto its own grid. Here the file appears under its name
    only when it is complete. It stays a ``SaveImaged`` because MONAI Label, which writes files itself, drops those.

    Args:
        keys: items to write, ``(1, X, Y, Z)``, on the grid of the input (after ``Invertd``).
        output_dir: folder to write to; made if it is absent.
        postfix: what stands between the case and the suffix; with several keys they need one transform each.
        output_dtype: type of the voxels: unsigned bytes for a mask, ``float32`` for a probability map.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        postfix: str = "seg",
        output_dtype: DtypeLike = np.uint8,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, output_dir=output_dir, allow_missing_keys=allow_missing_keys)
        self.output_dir = Path(output_dir)
        self.postfix = postfix
        self.output_dtype = output_dtype

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the items and return ``data`` unchanged.

        The case is ``data["case"]`` where the data list gives it, else the file name of the input.

        Raises:
            OSError: If the folder or the file cannot be written; no part of the file remains.
            ValueError: If an item is not one volume with its metadata, or the name of the input is unknown.
        """
        for key in self.key_iterator(dict(data)):
            if not isinstance(data[key], MetaTensor) or data[key].ndim != 4 or len(data[key]) != 1:
                raise ValueError(
                    f"{key!r} must be a MetaTensor (1, X, Y, Z), as Invertd leaves it, got a "
                    f"{type(data[key]).__name__} of {tuple(data[key].shape)}"
                )
            case = data.get("case") or _case_of(data[key], key)
            self._write(data[key], self.output_dir / f"{case}_{self.postfix}{SUFFIX}")
        return dict(data)

    def _write(self, volume: MetaTensor, path: Path) -> None:
        """Write to a temporary name beside ``path``, then rename."""
        affine = volume.affine.numpy(force=True)
        voxels = volume[0].numpy(force=True).astype(self.output_dtype)
        image: Any = nibabel.Nifti1Image(voxels, affine)  # type: ignore[no-untyped-call]
        image.header.set_xyzt_units("mm")
        for set_form in (image.set_sform, image.set_qform):  # viewers read one or the other
            set_form(affine, code="scanner")
        with replacing(path) as part:
            nibabel.save(image, part)


def _case_of(volume: MetaTensor, key: Hashable) -> str:
    """Return the case name from the file that ``volume`` stems from."""
    name = volume.meta.get(ImageMetaKey.FILENAME_OR_OBJ)
    if not name:
        raise ValueError(f"{key!r} does not know its input file: its metadata has no {ImageMetaKey.FILENAME_OR_OBJ!r}")
    return case_name(name)
