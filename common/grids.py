"""The voxel grid of an image: shape and affine, read from the header alone, and compared."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import NamedTuple, cast

import nibabel
import numpy as np
from monai.data.utils import orientation_ras_lps
from monai.utils import optional_import
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import ArrayLike, NDArray

itk, _ = optional_import("itk")  # raises a helpful message at its first use where it is absent

NIFTI_SUFFIXES = (".nii.gz", ".nii")
VOLUME_SUFFIXES = (*NIFTI_SUFFIXES, ".nrrd", ".mha", ".mhd")
BROKEN = (  # what readers raise on damaged files, beside ValueError
    *(OSError, EOFError, RuntimeError, OverflowError, zlib.error),
    *(ImageFileError, HeaderDataError, WrapStructError),
)
TOLERANCE = 0.1  # voxels; headers in single precision stay far below it, a shifted or flipped label far above


class Grid(NamedTuple):
    """Where an image's voxels lie: ``shape`` of the spatial axes, ``affine`` from voxel to RAS in mm, ``(4, 4)``."""

    shape: tuple[int, ...]
    affine: NDArray[np.float64]


def case_name(path: str | Path) -> str:
    """Return the file name of ``path`` without its known suffix (``1.img.nii.gz`` is case ``1.img``).

    The name of a folder, which is a DICOM series, is kept whole, whatever dots it has.
    """
    path = Path(path)
    if not path.is_dir():
        for suffix in VOLUME_SUFFIXES:
            if path.name.lower().endswith(suffix):
                return path.name[: -len(suffix)]
    return path.name


def spacing_mm(affine: ArrayLike) -> NDArray[np.float64]:
    """Return the voxel edges in mm, one for each column of ``affine``, ``(n + 1, n + 1)``."""
    matrix = np.asarray(affine, dtype=np.float64)
    return np.asarray(np.linalg.norm(matrix[:-1, :-1], axis=0))


def read_grid(path: str | Path) -> Grid:
    """Read the grid of an image from its header.

    Args:
        path: a NIfTI, NRRD, MetaImage or other file that ITK reads, or the folder of one DICOM series.

    Returns:
        Its grid; the affine of a 2-D image is that of its plane.

    Raises:
        ValueError: If no reader understands the header.
    """
    path = Path(path)
    try:
        if path.name.lower().endswith(NIFTI_SUFFIXES):
            header = cast(nibabel.Nifti1Image, nibabel.load(path))  # lazy: the voxels stay on the disk
            shape = tuple(map(int, header.shape))
            single = shape[:3] if set(shape[3:]) == {1} else shape  # a time axis of one volume is none
            return Grid(single, np.asarray(header.affine, dtype=np.float64))
        return _read_with_itk(path)
    except BROKEN as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"cannot read the header of {path}; is it complete, and of the format that its name says? Copy or export "
            f"it again (the reader says: {reason})"
        ) from error


def describe_difference(image: Grid, label: Grid) -> str | None:
    """Say in words how the grid of ``label`` differs from that of ``image``.

    Args:
        image: one grid.
        label: another.

    Returns:
        A phrase with the figures; None where no voxel centre is farther apart than a tenth of a voxel.
    """
    if image.shape != label.shape:
        return f"the image has the shape {image.shape}, the label {label.shape}"
    # the offset is linear in the voxel index, so it is largest at a corner; a 2-D NIfTI has a 3-D affine
    sides = [[0, n - 1] for n in (*image.shape, *[1] * 3)[: len(image.affine) - 1]]
    corners = np.array([(*corner, 1) for corner in product(*sides)])
    offset_mm = np.linalg.norm((corners @ (image.affine - label.affine).T)[:, :-1], axis=1).max()
    if offset_mm <= TOLERANCE * spacing_mm(image.affine).min():
        return None
    return (
        f"their affines place the same voxel up to {offset_mm:.3g} mm apart "
        f"(image: spacing {_numbers(spacing_mm(image.affine))}, origin {_numbers(image.affine[:-1, -1])}; "
        f"label: spacing {_numbers(spacing_mm(label.affine))}, origin {_numbers(label.affine[:-1, -1])})"
    )


def dicom_series(folder: str | Path) -> dict[str, tuple[str, ...]]:
    """Return the files of each DICOM series directly in ``folder``, in slice order, by series identifier."""
    names = itk.GDCMSeriesFileNames.New()
    names.SetUseSeriesDetails(True)
    names.AddSeriesRestriction("0008|0021")  # as MONAI's ITKReader does: the identifiers must be the same
    names.SetDirectory(str(folder))
    return {str(series): tuple(names.GetFileNames(series)) for series in names.GetSeriesUIDs()}


def longest_series(series: Mapping[str, Sequence[str]]) -> str:
    """Return the identifier of the series with the most files: the one of several that is loaded.

    Args:
        series: files of each, at least one, as :func:`dicom_series` gives them.
    """
    return max(series, key=lambda name: len(series[name]))


def _read_with_itk(path: Path) -> Grid:
    """Read a grid with ITK, which computes in LPS."""
    if path.is_dir():
        series = dicom_series(path)
        if not series:
            raise ValueError(f"{path} is a folder without a DICOM series")
        reader = itk.ImageSeriesReader.New(FileNames=series[longest_series(series)])
        reader.UpdateOutputInformation()
        output = reader.GetOutput()
        shape = tuple(output.GetLargestPossibleRegion().GetSize())
        direction = itk.array_from_matrix(output.GetDirection())
        spacing, origin = np.asarray(output.GetSpacing()), np.asarray(output.GetOrigin())
    else:
        header = itk.ImageIOFactory.CreateImageIO(str(path), itk.CommonEnums.IOFileMode_ReadMode)
        if header is None:
            raise ValueError(f"cannot read {path}: it is in none of the image formats that ITK knows, or damaged")
        header.SetFileName(str(path))
        header.ReadImageInformation()
        axes = range(header.GetNumberOfDimensions())
        shape = tuple(header.GetDimensions(axis) for axis in axes)
        direction = np.array([header.GetDirection(axis) for axis in axes]).T  # one axis in each column
        spacing, origin = (np.array([of(axis) for axis in axes]) for of in (header.GetSpacing, header.GetOrigin))
    affine = np.eye(len(shape) + 1)
    affine[:-1, :-1] = direction * spacing
    affine[:-1, -1] = origin
    return Grid(shape, np.asarray(orientation_ras_lps(affine)))


def _numbers(values: NDArray[np.float64]) -> str:
    """Write a few numbers shortly."""
    return "[" + ", ".join(f"{value:.4g}" for value in values) + "]"
