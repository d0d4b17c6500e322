"""The record of what guided a segmentation, beside its mask."""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.transforms import SaveImaged
from monai.utils import ImageMetaKey

from .common.centerline.writers import centerline_record
from .common.diagnostics.notes import note, note_warning
from .common.files import replacing
from .common.grids import case_name
from .inferers import GuidedInferer


class SaveGuidanced(SaveImaged):
    """Write ``<output_dir>/<case>_guidance.json``: the source of the centerline, its branches, and the crops.

    The branches have the form of :func:`common.centerline.writers.write_json`, so that the file can be read as a
    centerline again. It is a ``SaveImaged`` because MONAI Label, which writes files itself, drops those.

    Args:
        keys: the prediction, which knows its input file.
        inferer: what made it.
        output_dir: folder to write to; made if it is absent.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(
        self, keys: KeysCollection, inferer: GuidedInferer, output_dir: str | Path, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, output_dir=output_dir, allow_missing_keys=allow_missing_keys)
        self.inferer = inferer
        self.output_dir = Path(output_dir)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the record of the first arm and return ``data`` unchanged."""
        for key in self.key_iterator(dict(data)):
            case = data.get("case") or case_name(str(data[key].meta[ImageMetaKey.FILENAME_OR_OBJ]))
            crops = self.inferer.last[self.inferer.arms[0]]
            guidance = crops.guidance
            record = {
                "source": guidance.source,
                "reason": guidance.reason,
                "quality": round(guidance.quality, 4),
                "crop_size": list(crops.size),
                "crop_starts": crops.starts.tolist(),
                "crop_affine": np.round(guidance.affine, 6).tolist(),
                **centerline_record(guidance.branches),
            }
            note(
                data[key], guidance={"source": guidance.source, "quality": guidance.quality, "crops": len(crops.starts)}
            )
            if guidance.reason:
                note_warning(data[key], f"segmented without a centerline: {guidance.reason}")
            with replacing(self.output_dir / f"{case}_guidance.json") as path:
                path.write_text(json.dumps(record), encoding="ascii")
        return dict(data)
