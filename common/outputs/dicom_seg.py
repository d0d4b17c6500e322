"""Masks of DICOM series as DICOM segmentations."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.data.utils import orientation_ras_lps
from numpy.typing import NDArray
from pydicom import Dataset

from ..files import replacing
from ..grids import TOLERANCE, dicom_series, longest_series, spacing_mm
from ..loading import file_of
from ..saving import SaveVolumed
from .dicom_parts import SUFFIX, Algorithm, equipment, highdicom, read_algorithm, read_header, segment_description

NEEDED = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "FrameOfReferenceUID"),
    *("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "Rows", "Columns"),
)


class SaveDicomSegd(SaveVolumed):
    """Write ``<output_dir>/<case>_seg.dcm``, a DICOM segmentation that refers to the slices of its series.

    It belongs to the patient and study of the series and lies in its frame of reference; each frame has the position
    of the slice it was drawn on and names that slice. Slices without vessel are left out, unless all are. Of an input
    that is no folder of DICOM slices there is a warning, and no file.

    Args:
        keys: masks, ``(1, X, Y, Z)``, on the grid of the input.
        output_dir: folder to write to; made if it is absent.
        metadata: ``metadata.json`` of the bundle, which tells name and version of the algorithm.
        allow_missing_keys: skip absent keys instead of raising.

    Raises:
        ImportError: If the package highdicom is not installed.
        ValueError: If the metadata cannot be read.
    """

    def __init__(
        self,
        keys: KeysCollection,
        output_dir: str | Path,
        metadata: str | Path,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, output_dir, allow_missing_keys)
        highdicom()
        self.algorithm = read_algorithm(metadata)

    def write(self, volume: MetaTensor, case: str) -> None:
        """Write the segmentation of one series.

        Raises:
            ValueError: If the mask does not lie on the slices, or they lack tags that are needed.
            OSError: If the file cannot be written; no part of it remains.
        """
        folder = Path(file_of(volume, self.keys[0]))
        if not folder.is_dir():
            warnings.warn(
                f"{folder} is no folder of DICOM slices, so there is no {case}{SUFFIX}; a DICOM segmentation refers to "
                "them: give the series itself as the image, or use the other outputs",
                stacklevel=2,
            )
            return
        series = dicom_series(folder)
        files = series[longest_series(series)]  # as they were loaded
        slices = [read_header(Path(file), NEEDED) for file in files]
        _check_places(slices, volume, folder)
        for header in slices:
            if header.get("SliceThickness") in (None, ""):  # may be absent from a CT, but not from a segmentation
                header.SliceThickness = round(float(spacing_mm(volume.affine.numpy(force=True))[2]), 6)
        mask = volume[0].numpy(force=True) > 0.5
        write_dicom_seg(self.output_dir / f"{case}{SUFFIX}", mask.transpose(2, 1, 0), slices, self.algorithm)


def write_dicom_seg(
    path: str | Path, masks: NDArray[np.bool_], slices: Sequence[Dataset], algorithm: Algorithm
) -> None:
    """Write the masks of slices as one binary DICOM segmentation.

    Args:
        path: file to write, ``*.dcm``.
        masks: ``(slices, rows, columns)``.
        slices: headers of the source images, in the same order.
        algorithm: what made the masks.

    Raises:
        OSError: If the file cannot be written; no part of it remains.
    """
    hd = highdicom()
    segmentation = hd.seg.Segmentation(
        source_images=slices,
        pixel_array=masks,
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[segment_description(algorithm)],
        content_label="CORONARY_ARTERY",
        **equipment(algorithm),
    )
    with replacing(path) as part:
        segmentation.save_as(part)


def _check_places(slices: Sequence[Dataset], volume: MetaTensor, folder: Path) -> None:
    """Raise unless the planes of the volume are these slices: as many, of that size, the first in the same place."""
    shape = (int(slices[0].Columns), int(slices[0].Rows), len(slices))
    if shape != volume.shape[1:]:
        raise ValueError(
            f"{folder}: its slices make a volume of {shape}, the mask has {tuple(volume.shape[1:])}; a DICOM "
            "segmentation needs one file for each slice: is this an enhanced multi-frame image? Else set "
            "save_dicom_seg to False"
        )
    affine = orientation_ras_lps(volume.affine.numpy(force=True).astype(np.float64))
    first = slices[0]
    along_row, down_column = np.reshape(np.asarray(first.ImageOrientationPatient, np.float64), (2, 3))
    row_mm, column_mm = map(float, first.PixelSpacing)  # between rows, and between columns
    expected = np.stack([along_row * column_mm, down_column * row_mm, first.ImagePositionPatient], axis=1)
    corner = np.array([shape[0] - 1, shape[1] - 1, 1])
    apart = np.linalg.norm((affine[:3, [0, 1, 3]] - expected.astype(np.float64)) @ corner)
    if apart > TOLERANCE * spacing_mm(affine).min():
        raise ValueError(
            f"{folder}: the mask lies {apart:.3g} mm from the slices; was the folder changed since it was loaded?"
        )
