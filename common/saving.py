"""Writing masks and probability maps, whole or not at all."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import DtypeLike, KeysCollection
from monai.data import MetaTensor
from monai.transforms import SaveImaged
from monai.utils import ImageMetaKey
from torch import Tensor

from .files import replacing
from .grids import case_name

SUFFIX = ".nii.gz"


class SaveMaskd(SaveImaged):
    """Write ``<output_dir>/<case>_<postfix>.nii.gz`` in the geometry of the input image.

    MONAI's ``SaveImaged`` writes it, but leaves half a file where the disk is full, cuts names at the first dot, and
    reports every failure as a missing writer. Here the file appears under its name only when it is complete.

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
        super().__init__(
            keys,
            output_dir=output_dir,
            output_ext=SUFFIX,
            output_dtype=output_dtype,
            resample=False,
            separate_folder=False,
            print_log=False,
            allow_missing_keys=allow_missing_keys,
        )
        self.output_dir = Path(output_dir)
        self.postfix = postfix

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the items and return ``data`` unchanged.

        The case is ``data["case"]`` where the data list gives it, else the file name of the input.

        Raises:
            OSError: If the folder or the file cannot be written; no part of the file remains.
            ValueError: If the name of the input is unknown.
        """
        for key in self.key_iterator(dict(data)):
            case = data.get("case") or _case_of(data[key], key)
            self._write(data[key], self.output_dir / f"{case}_{self.postfix}{SUFFIX}")
        return dict(data)

    def _write(self, volume: Tensor, path: Path) -> None:
        """Write to a temporary name beside ``path``, then rename."""
        with replacing(path) as part:
            try:
                self.saver(volume, filename=str(part).removesuffix(SUFFIX))  # it appends the suffix
            except RuntimeError as error:  # MONAI's for whatever the writer raised: its text ends with the reason
                raise OSError(str(error).strip().rsplit("\n", 1)[-1]) from error


def _case_of(volume: Tensor, key: Hashable) -> str:
    """Return the case name from the file that ``volume`` stems from."""
    name = volume.meta.get(ImageMetaKey.FILENAME_OR_OBJ) if isinstance(volume, MetaTensor) else None
    if not name:
        raise ValueError(f"{key!r} does not know its input file; it must be a MetaTensor, as Invertd leaves it")
    return case_name(name)
