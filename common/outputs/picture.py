"""The preview picture of a segmentation, right after it is made."""

from __future__ import annotations

from typing import cast

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Orientation

from ..grids import spacing_mm
from ..loading import LoadVolumed, file_of
from ..preview import preview_figure, write_picture
from ..saving import SaveVolumed


class SavePreviewd(SaveVolumed):
    """Write ``<output_dir>/<case>_preview.png``: the vessels from three sides with the mask on them.

    The scan is read again from its file, as it was before preprocessing; see :func:`..preview.preview_figure`.
    """

    def write(self, volume: MetaTensor, case: str) -> None:
        """Draw one mask on its scan."""
        scan = LoadVolumed("image")({"image": file_of(volume, self.keys[0])})["image"]
        to_ras = Orientation("RAS", labels=None)
        image, mask = (cast(MetaTensor, to_ras(item)) for item in (scan, volume))
        picture = preview_figure(
            np.asarray(image[0].numpy(force=True), np.float32),
            spacing_mm(image.affine.numpy()).tolist(),
            mask[0].numpy(force=True) > 0.5,
            title=case,
        )
        write_picture(self.output_dir / f"{case}_preview.png", picture)
