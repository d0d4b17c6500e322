"""Reading what the data engine needs of a case, and writing its volumes in the geometry of their CCTA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import nibabel
import numpy as np
from monai.data import MetaTensor
from monai.transforms import Orientation
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt_transform
from numpy.typing import NDArray

from .common.files import replacing
from .common.grids import NIFTI_SUFFIXES, Grid, describe_difference, spacing_mm
from .common.loading import CheckVolumed, LoadVolumed
from .structures import TOTALSEGMENTATOR_MASKS, ids_of_phantom, merge_structures

_CT_WINDOW_HU = (-150.0, 250.0)  # of the network; the values must be Hounsfield units that reach into it
_DESCRIPTION = b"synthetic non-contrast CT, SynCAS"
_RAS = np.array([[0, 1], [1, 1], [2, 1]])


@dataclass(frozen=True)
class StoredGeometry:
    """How a file stores its volume.

    Attributes:
        affine: from stored voxel to RAS in mm.
        shape: stored voxels.
        header: of a NIfTI file, None for other formats.
    """

    affine: NDArray[np.float64]
    shape: tuple[int, ...]
    header: nibabel.Nifti1Header | None


@dataclass(frozen=True)
class CaseVolumes:
    """A CCTA and its label map, in RAS.

    Attributes:
        ccta_hu: float32, ``(X, Y, Z)``.
        ids: see :func:`.structures.merge_structures`, same shape.
        affine: of both.
        stored: geometry of the CCTA's file.
    """

    ccta_hu: NDArray[np.float32]
    ids: NDArray[np.uint8]
    affine: NDArray[np.float64]
    stored: StoredGeometry


def read_case(files: Mapping[str, str]) -> CaseVolumes:
    """Read and merge the files of one case.

    Args:
        files: paths: ``image`` (CCTA in HU), ``label`` (coronary arteries, nonzero), and a label map: ``structures``
            (ids of TotalSegmentator's task total, or the folder of its masks), with or without ``chambers`` (the task
            heartchambers_highres), or ``heart`` (label map of a phantom).

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file cannot be read, the image is not in HU, or volumes do not lie on one another.
    """
    if "structures" not in files and "heart" not in files:
        raise ValueError(f"{files['image']} has no label map of its structures; {MAPS_WANTED}")
    image = LoadVolumed("image")({"image": files["image"]})
    CheckVolumed("image", _CT_WINDOW_HU)(image)
    stored = _stored_geometry(files["image"], image["image"])
    ccta_hu, affine = _in_ras(image.pop("image"))
    grid = Grid(ccta_hu.shape, affine)
    coronary = _read_map(files["label"], files["image"], grid) != 0
    if "structures" in files:
        source = Path(files["structures"])
        ids = _read_masks(source, files["image"], grid) if source.is_dir() else _read_map(source, files["image"], grid)
        chambers = _read_map(files["chambers"], files["image"], grid) if "chambers" in files else None
    else:
        ids = ids_of_phantom(_read_map(files["heart"], files["image"], grid)).astype(np.int16)
        chambers = None
    try:
        merged = merge_structures(ids, coronary, ccta_hu, spacing_mm(affine).tolist(), chambers)
    except ValueError as error:
        raise ValueError(f"{files.get('structures', files.get('heart'))}: {error}") from error
    return CaseVolumes(ccta_hu, merged, affine, stored)


MAPS_WANTED = (
    'give it as "structures" in dataset.json or as structures/<case>.nii.gz (ids of TotalSegmentator\'s task total, or '
    'the folder of its masks), with "chambers" or chambers/<case>.nii.gz from its task heartchambers_highres'
)


def write_volume(path: Path, volume: NDArray[np.generic], affine: NDArray[np.float64], stored: StoredGeometry) -> None:
    """Write a NIfTI file in the orientation, and with the header, of the CCTA.

    Args:
        path: the file.
        volume: in RAS, ``(X, Y, Z)``.
        affine: of the volume.
        stored: geometry of the CCTA; where its slices are those of the volume, its affine is kept to the bit.
    """
    turn = ornt_transform(_RAS, io_orientation(stored.affine))
    voxels = np.asfortranarray(apply_orientation(volume, turn))
    same = voxels.shape == stored.shape
    matrix = stored.affine if same else affine @ inv_ornt_aff(turn, volume.shape)
    image = nibabel.Nifti1Image(voxels, matrix, stored.header, dtype=voxels.dtype)  # type: ignore[no-untyped-call]
    header = cast(Any, image.header)
    header.set_data_dtype(voxels.dtype)
    header["descrip"], header["cal_min"], header["cal_max"] = _DESCRIPTION, 0, 0
    if stored.header is None or not same:
        codes = (1, 1) if stored.header is None else (int(header["qform_code"]), int(header["sform_code"]))
        cast(Any, image).set_qform(matrix, codes[0])
        cast(Any, image).set_sform(matrix, codes[1] or (0 if codes[0] else 1))
        header.set_xyzt_units("mm")
    with replacing(path) as temporary:
        nibabel.save(image, temporary)


def _stored_geometry(path: str, loaded: MetaTensor) -> StoredGeometry:
    """Keep how a file stores its volume."""
    affine, header = loaded.affine.numpy().astype(np.float64), None
    if path.lower().endswith(NIFTI_SUFFIXES):
        header = cast(nibabel.Nifti1Image, nibabel.load(path)).header.copy()
        affine = np.asarray(cast(nibabel.Nifti1Image, nibabel.load(path)).affine, np.float64)
    return StoredGeometry(affine, tuple(loaded.shape[1:]), header)


def _in_ras(loaded: MetaTensor) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Turn a loaded volume, ``(1, X, Y, Z)``; slices lie one after the other in the memory."""
    turned = cast(MetaTensor, Orientation("RAS", labels=None)(loaded))
    return np.asfortranarray(turned[0].numpy()), turned.affine.numpy().astype(np.float64)


def _read_map(path: str | Path, image: str, grid: Grid) -> NDArray[np.int16]:
    """Read a label map that must lie on the CCTA, in whatever order of axes."""
    loaded = LoadVolumed("map")({"map": str(path)})["map"]
    if loaded.ndim != 4 or loaded.shape[0] != 1:
        raise ValueError(f"{path}: a label map with 3 axes is needed, got the shape {tuple(loaded.shape[1:])}")
    voxels, affine = _in_ras(loaded)
    if difference := describe_difference(grid, Grid(voxels.shape, affine)):
        raise ValueError(
            f"{path} does not lie on {image}: {difference}; was it made from another file? Else resample it (nearest "
            "neighbour) to the image's grid"
        )
    low, high = float(voxels.min()), float(voxels.max())
    if not (low >= 0 and high <= 255):  # NaN is refused too
        raise ValueError(f"{path}: the ids of a label map are 0 to 255, got {low:g} to {high:g}; is it an image?")
    ids = voxels.astype(np.int16)
    if not np.array_equal(ids, voxels):
        raise ValueError(f"{path}: a label map holds whole numbers; was it resampled with interpolation?")
    return ids


def _read_masks(folder: Path, image: str, grid: Grid) -> NDArray[np.int16]:
    """Merge the masks that TotalSegmentator writes as one file for each structure."""
    ids = np.zeros(grid.shape, np.int16, order="F")
    found = {name: folder / f"{name}.nii.gz" for name in TOTALSEGMENTATOR_MASKS}
    found = {name: path for name, path in found.items() if path.is_file()}
    if not found:
        raise ValueError(f"{folder} holds none of the masks {', '.join(TOTALSEGMENTATOR_MASKS)} (.nii.gz)")
    for name, path in found.items():
        ids[_read_map(path, image, grid) != 0] = TOTALSEGMENTATOR_MASKS[name]
    return ids
