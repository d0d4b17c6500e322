"""Reading volumes (NIfTI, NRRD, MetaImage, DICOM series), and refusing, by name, what a network must not see."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from monai.config import KeysCollection
from monai.data import ITKReader, MetaTensor
from monai.transforms import LoadImage, MapTransform
from monai.utils import ImageMetaKey
from torch import Tensor

from .diagnostics.notes import note_values, warn
from .grids import BROKEN, NIFTI_SUFFIXES, Grid, describe_difference, dicom_series, longest_series, spacing_mm
from .nifti import load_nifti

DAMAGED = (*BROKEN, ValueError)
MIN_SPACING_MM, MAX_SPACING_MM = 0.05, 10.0  # beyond them the header is wrong, not the scanner unusual
VISIBLE_SHARE = 0.375  # of a slice that a vessel along it must fill; 50 of the 130 HU between fat and blood are left
HU_SPAN = 255  # air to contrast spans more than 1000 HU; an 8-bit or normalized image this much at most


class LoadVolumed(MapTransform):
    """Load volumes channel first, ``(1, X, Y, Z)``, with their affine.

    MONAI's ``LoadImage`` with the reader chosen by format: nibabel for NIfTI (:func:`~.nifti.load_nifti`), because ITK
    5.4 returns a truncated file as if it were whole, and ITK for the rest. ``LoadImaged`` alone tries several readers,
    names the file in a page of tracebacks, and takes the first of several DICOM series. Of several series we take the
    longest. It is no ``LoadImaged`` because MONAI Label would make one return the metadata apart.

    Args:
        keys: items to load; each a path to a file, or to the folder of one DICOM series.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(self, keys: KeysCollection, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.load = LoadImage(image_only=True, ensure_channel_first=True)

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Replace the paths by ``MetaTensor`` volumes.

        Raises:
            FileNotFoundError: If a path leads nowhere.
            ValueError: If a file cannot be read, or a folder has no DICOM series or several of equal length.
        """
        loaded = dict(data)
        for key in self.key_iterator(loaded):
            path = Path(loaded[key])
            if not path.exists():
                raise FileNotFoundError(f"{key!r}: there is no file {path}")
            try:
                series, remark = _longest_series(path) if path.is_dir() else ("", "")
                if path.name.lower().endswith(NIFTI_SUFFIXES) and not series:
                    loaded[key] = load_nifti(path, self.load)
                else:
                    loaded[key] = self.load(path, ITKReader(series_name=series) if series else ITKReader())
            except DAMAGED as error:
                reason = " ".join(str(error).split())
                raise ValueError(
                    f"{key!r}: cannot read {path}; is it complete, and of the format that its name says? Copy or "
                    f"export it again (the reader says: {reason})"
                ) from error
            if remark:
                warn(loaded[key], str(path), remark)
        return loaded


class CheckVolumed(MapTransform):
    """Refuse a volume that cannot be the CT the model expects; use it right after loading.

    It takes 0.1 s for 512 x 512 x 275. What it measures is noted for the report (:mod:`.diagnostics`).

    Args:
        keys: volumes to check, ``(1, X, Y, Z)``, with their affine.
        window_hu: lower and upper Hounsfield unit that the model's window maps to [0, 1]. With a negative lower
            bound the values must be Hounsfield units; give [0, 255] or [0, 1] for images that are windowed already.
        min_size: smallest number of voxels along a side.
        thick_slice_mm: voxels longer than this are warned of; in contrast CT the field's standard is 0.3 to 1 mm, in
            calcium scoring 3 mm.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(
        self,
        keys: KeysCollection,
        window_hu: Sequence[float] = (-200.0, 1000.0),
        min_size: int = 2,
        thick_slice_mm: float = 2.0,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, allow_missing_keys)
        self.window_hu = (float(window_hu[0]), float(window_hu[1]))
        self.min_size = min_size
        self.thick_slice_mm = thick_slice_mm

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` unchanged.

        Raises:
            ValueError: If a volume is not 3-D, has more than one channel, a short side, NaN or infinite voxels, the
                same value everywhere, no Hounsfield units where the window needs them, or an impossible spacing.
        """
        for key in self.key_iterator(dict(data)):
            volume, name = data[key], file_of(data[key], key)
            _check_shape(volume, name, self.min_size)
            _check_spacing(volume, name, self.thick_slice_mm)
            _check_values(volume, name, self.window_hu)
        return dict(data)


class CheckLabeld(MapTransform):
    """Refuse a label that is not a mask of 0 and 1 on the grid of its image; use it right after loading.

    Args:
        keys: labels to check, ``(1, *spatial)``.
        image_key: the image whose shape and affine they must have.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(self, keys: KeysCollection, image_key: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Return ``data`` unchanged.

        Raises:
            ValueError: If a label has values other than 0 and 1, or another shape or affine than the image.
        """
        for key in self.key_iterator(dict(data)):
            label, name = data[key], file_of(data[key], key)
            voxels = label.numpy(force=True)
            wrong = (voxels != 0) & (voxels != 1)
            if wrong.any():
                values = np.unique(voxels[wrong])[:10].tolist()
                raise ValueError(
                    f"{name}: a label is 0 (background) and 1 (coronary lumen), but it holds {values} as well; "
                    "if every nonzero value is lumen, write (label > 0) as 1 to the file"
                )
            difference = describe_difference(grid_of(data[self.image_key]), grid_of(label))
            if difference:
                raise ValueError(
                    f"{name}: the label does not lie on its image: {difference}; "
                    "is it the label of this case? Else resample it (nearest neighbour) to the image's grid"
                )
        return dict(data)


def file_of(volume: Tensor, key: Hashable) -> str:
    """Return the file that ``volume`` was loaded from, or the name of its item where that is not known."""
    name = volume.meta.get(ImageMetaKey.FILENAME_OR_OBJ) if isinstance(volume, MetaTensor) else None
    return str(name) if name else f"item {key!r}"


def grid_of(volume: Tensor) -> Grid:
    """Return the grid of a channel-first volume; without metadata, one voxel a millimetre."""
    axes = volume.ndim - 1
    affine = volume.affine.numpy(force=True) if isinstance(volume, MetaTensor) else np.eye(axes + 1)
    return Grid(tuple(volume.shape[1:]), np.asarray(affine, dtype=np.float64))


def _longest_series(folder: Path) -> tuple[str, str]:
    """Return the identifier of the DICOM series in ``folder`` that has the most slices, and a remark on others."""
    series = dicom_series(folder)
    if not series:
        raise ValueError("the folder holds no DICOM series")
    longest = longest_series(series)
    slices = sorted((len(files) for files in series.values()), reverse=True)
    if len(slices) == 1:
        return longest, ""
    if slices[0] == slices[1]:
        raise ValueError(f"the folder holds {len(slices)} DICOM series of {slices} slices: leave one in it")
    return longest, f"the folder holds {len(slices)} DICOM series of {slices} slices: the longest is used ({longest})"


def _check_shape(volume: Tensor, name: str, min_size: int) -> None:
    """Raise unless ``volume`` is ``(1, X, Y, Z)``."""
    if volume.ndim != 4:
        raise ValueError(f"{name}: a volume with 3 axes is needed, got {volume.ndim - 1}: {tuple(volume.shape[1:])}")
    if volume.shape[0] != 1:
        raise ValueError(
            f"{name}: one volume is needed, got {volume.shape[0]} (phases or colours) of {tuple(volume.shape[1:])}; "
            "save the one to segment in a file of its own"
        )
    if min(volume.shape[1:]) < min_size:
        raise ValueError(
            f"{name}: every side needs at least {min_size} voxels, got {tuple(volume.shape[1:])}; is it a single slice?"
        )


def _check_spacing(volume: Tensor, name: str, thick_slice_mm: float) -> None:
    """Raise if the affine cannot be that of a CT, warn if the slices are thick."""
    if not isinstance(volume, MetaTensor):
        return
    affine = volume.affine.numpy(force=True)
    spacing = spacing_mm(affine)
    listed = " x ".join(f"{edge:.4g}" for edge in spacing)
    # written so that NaN, which compares as false, is refused too
    if not np.all((spacing >= MIN_SPACING_MM) & (spacing <= MAX_SPACING_MM)) or np.linalg.matrix_rank(affine) < 4:
        raise ValueError(
            f"{name}: a spacing of {listed} mm cannot be right (expected {MIN_SPACING_MM:g} to {MAX_SPACING_MM:g} mm "
            "along three different axes); was the header lost in a conversion? Convert the original again"
        )
    thickness = float(spacing.max())
    if thickness > thick_slice_mm:
        warn(
            volume,
            name,
            f"the voxels are {listed} mm. In slices of {thickness:.2g} mm, vessels under "
            f"{VISIBLE_SHARE * thickness:.1f} mm cannot be seen; coronary arteries are 1-5 mm wide, so expect gaps and "
            f"missing vessels. Use slices below {thick_slice_mm:g} mm",
            stacklevel=3,
        )


def _check_values(volume: Tensor, name: str, window_hu: tuple[float, float]) -> None:
    """Raise if the values are not finite, constant, or not what the window expects."""
    voxels = volume.numpy(force=True)  # numpy, unlike torch, needs no copy for the axis order of a NIfTI file
    low, high = float(voxels.min()), float(voxels.max())  # NaN and infinity both come through
    if not np.isfinite([low, high]).all():
        bad = int((~np.isfinite(voxels)).sum())
        raise ValueError(
            f"{name}: {bad} voxels are NaN or infinite; replace them, for example by the value of air, -1000 HU"
        )
    if low == high:
        raise ValueError(f"{name}: every voxel is {low:g}; is it the right file, and complete?")
    note_values(volume, voxels)
    window = f"[{window_hu[0]:g}, {window_hu[1]:g}]"
    if window_hu[0] < 0 and (low >= 0 or high - low <= HU_SPAN):
        raise ValueError(
            f"{name}: values from {low:g} to {high:g} cannot be Hounsfield units (air is -1000, fat -100), which the "
            f"window {window} expects. If 1000 or 1024 was added, subtract it; if the image is windowed already, set "
            f"window_hu to its range, such as [{low:g}, {high:g}]"
        )
    if high <= window_hu[0] or low >= window_hu[1]:
        raise ValueError(
            f"{name}: values from {low:g} to {high:g} lie all on one side of the window {window}: the model would see "
            "an empty image; check window_hu"
        )
