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


class SaveVolumed(SaveImaged):
    """What transforms share that write a file for each mask or map on the grid of its input.

    It is a ``SaveImaged`` because MONAI Label, which writes files itself, drops those.

    Args:
        keys: items to write, ``(1, X, Y, Z)``, on the grid of the input (after ``Invertd``).
        output_dir: folder to write to; made if it is absent.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(self, keys: KeysCollection, output_dir: str | Path, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, output_dir=output_dir, allow_missing_keys=allow_missing_keys)
        self.output_dir = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the items and return ``data`` unchanged.

        The case is ``data["case"]`` where the data list gives it, else the file name of the input.

        Raises:
            OSError: If the folder or the file cannot be written; no part of the file remains.
            ValueError: If an item is not one volume with its metadata, or the name of the input is unknown.
        """
        for key in self.key_iterator(dict(data)):
            volume = data[key]
            if not isinstance(volume, MetaTensor) or volume.ndim != 4 or len(volume) != 1:
                raise ValueError(
                    f"{key!r} must be a MetaTensor (1, X, Y, Z), as Invertd leaves it, got a "
                    f"{type(volume).__name__} of {tuple(volume.shape)}"
                )
            self.write(volume, data.get("case") or _case_of(volume, key))
        return dict(data)

    def write(self, volume: MetaTensor, case: str) -> None:
        """Write one item, ``(1, X, Y, Z)``, to a file that is named after its case."""
        raise NotImplementedError


class SaveMaskd(SaveVolumed):
    """Write ``<output_dir>/<case>_<postfix>.nii.gz`` in the geometry of the input image.

    MONAI's ``SaveImaged`` leaves half a file where the disk is full, cuts names at a dot, reports every failure as a
    missing writer, and resamples the volume in double precision onto its own grid. Here the file appears under its name
    only when it is complete.

    Args:
        keys: see :class:`SaveVolumed`; with several keys they need one transform each.
        output_dir: folder to write to; made if it is absent.
        postfix: what stands between the case and the suffix.
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
        super().__init__(keys, output_dir, allow_missing_keys)
        self.postfix = postfix
        self.output_dtype = output_dtype

    def write(self, volume: MetaTensor, case: str) -> None:
        """Write one mask or map."""
        affine = volume.affine.numpy(force=True)
        voxels = volume[0].numpy(force=True).astype(self.output_dtype)
        image: Any = nibabel.Nifti1Image(voxels, affine)  # type: ignore[no-untyped-call]
        image.header.set_xyzt_units("mm")
        for set_form in (image.set_sform, image.set_qform):  # viewers read one or the other
            set_form(affine, code="scanner")
        with replacing(self.output_dir / f"{case}_{self.postfix}{SUFFIX}") as part:
            nibabel.save(image, part)


def _case_of(volume: MetaTensor, key: Hashable) -> str:
    """Return the case name from the file that ``volume`` stems from."""
    name = volume.meta.get(ImageMetaKey.FILENAME_OR_OBJ)
    if not name:
        raise ValueError(f"{key!r} does not know its input file: its metadata has no {ImageMetaKey.FILENAME_OR_OBJ!r}")
    return case_name(name)
