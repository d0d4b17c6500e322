"""Reading a volume once and to its end, so that damage shows that the loaders would pass over."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from numpy.typing import NDArray

from ..grids import NIFTI_SUFFIXES, Grid
from ..loading import DAMAGED, LoadVolumed, grid_of
from ..nifti import whole_image

_FORM_MM = 0.1  # farther apart the two affines of a NIfTI header are not the same


class Volume(NamedTuple):
    """One volume.

    Attributes:
        voxels: ``(X, Y, Z)`` or whatever axes the file has.
        grid: its shape and affine.
        hash: of the voxels and the shape; the same volume in another file, compressed or not, has the same.
        conflict_mm: how far the two affines of a NIfTI header (qform and sform) lie apart; 0 where there is one only.
    """

    voxels: NDArray[Any]
    grid: Grid
    hash: str
    conflict_mm: float


def read_volume(path: Path) -> Volume:
    """Read a volume.

    MONAI's readers stop where they have all voxels, and ITK returns a damaged NIfTI file as if it were whole; here the
    checksum at the end of a .nii.gz counts too.

    Raises:
        ValueError: If there is no such file, or it cannot be read or is damaged, its affine included.
    """
    try:
        if not path.exists():
            raise ValueError(f"there is no file {path}")
        if path.name.lower().endswith(NIFTI_SUFFIXES):
            voxels, affine, conflict_mm = _read_nifti(path)
        else:
            loaded = LoadVolumed("volume")({"volume": path})["volume"]
            voxels, affine, conflict_mm = loaded[0].numpy(force=True), grid_of(loaded).affine, 0.0
    except (*DAMAGED, MemoryError) as error:
        if isinstance(error, ValueError) and str(path) in str(error):
            raise
        raise ValueError(
            f"cannot read {path}; is it complete, and of the format that its name says? Copy or export it again (the "
            f"reader says: {' '.join(str(error).split()) or type(error).__name__})"
        ) from error
    if not np.isfinite(affine).all() or np.linalg.matrix_rank(affine) < 4:
        raise ValueError(
            f"{path}: its header places all voxels in a plane, or nowhere (affine {affine.tolist()}); export it again, "
            "or correct the affine"
        )
    return Volume(voxels, Grid(voxels.shape, affine), hash_of(voxels), conflict_mm)


def hash_of(voxels: NDArray[Any]) -> str:
    """Return a hash of an array's values and shape."""
    stored = voxels.T if voxels.T.flags.c_contiguous else np.ascontiguousarray(voxels.T)
    digest = hashlib.sha256(repr((voxels.shape, voxels.dtype.kind)).encode())
    digest.update(stored.data)
    return digest.hexdigest()


def _read_nifti(path: Path) -> tuple[NDArray[Any], NDArray[np.float64], float]:
    """Return voxels, affine and the distance between the header's affines."""
    image = whole_image(path)
    if image is None:  # nibabel knows more beginnings, and mends some
        image = nibabel.load(path)
    proxy = image.dataobj
    if image.get_data_dtype().fields or image.get_data_dtype().kind == "c":
        raise ValueError("it is a colour or complex image")
    voxels = np.asarray(proxy) if (proxy.slope, proxy.inter) == (1.0, 0.0) else np.asarray(proxy, np.float32)
    if voxels.ndim > 3 and set(voxels.shape[3:]) == {1}:
        voxels = voxels.reshape(voxels.shape[:3], order="F")
    return voxels, np.asarray(image.affine, np.float64), _conflict_mm(image.header, voxels.shape)


def _conflict_mm(header: Any, shape: tuple[int, ...]) -> float:
    """Return how far apart the affines of a header place a corner of the volume."""
    if not header["sform_code"] or not header["qform_code"] or len(shape) != 3:
        return 0.0
    corners = np.array([[x, y, z, 1] for x in (0, shape[0]) for y in (0, shape[1]) for z in (0, shape[2])])
    try:
        other = header.get_qform()
    except ValueError:  # a quaternion that is none; the loaders take the sform
        return 0.0
    apart = np.linalg.norm((corners @ (header.get_sform() - other).T)[:, :3], axis=1).max()
    return float(apart) if apart > _FORM_MM else 0.0
