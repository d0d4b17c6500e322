"""Where the heart lies in a contrast CT, found by its blood pool; and whether there is contrast at all.

A window over the whole chest costs three times as much as one over the heart, and only the heart has coronaries. What
tells the heart from everything else that is bright (ribs, vertebrae, lung vessels, spleen) is that its blood is bright
*and* deep: more than a centimetre from anything darker. That holds for no bone, since a vertebra is a shell around
marrow between dark discs.
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping
from typing import Any, NamedTuple

import nibabel
import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Crop, Cropd, MapTransform
from numpy.typing import NDArray
from scipy import ndimage

from .grids import spacing_mm
from .loading import file_of

CONTRAST_HU = 150.0  # blood has 30-50 HU without contrast, 250-600 in a coronary CTA, below 150 in a late phase
MYOCARDIUM_HU = 100.0  # with contrast; the border of the blood pool lies halfway to it
COARSE_MM = 3.0  # voxel edge for the search: averages noise, ribs and vessels away
DEPTH_MM = 10.0  # from the border of the blood pool to what counts as deep; excludes ribs, vertebrae, lung vessels
MIN_DEEP_ML = 5.0  # connected; heart chambers have more than 20, the largest dense vertebra below 2
HEART_ML = (60.0, 2000.0)  # plausible volume of blood pool; outside it the box is the whole volume
REACH_MM = 80.0  # from the middle of the blood pool to its end; cuts the descending aorta and the arch off
# From the blood pool to the box: myocardium and epicardial fat with the arteries. The blood of the right heart is often
# washed out; its right border then lies up to 40 mm from the rest of the pool, its front up to 35 mm.
MARGIN_RIGHT_MM, MARGIN_LEFT_MM = 45.0, 25.0
MARGIN_FRONT_MM, MARGIN_BACK_MM = 40.0, 25.0
MARGIN_ABOVE_MM, MARGIN_BELOW_MM = 20.0, 30.0


class HeartRegion(NamedTuple):
    """A box of voxels that holds the heart, and the median Hounsfield unit of the blood in it."""

    box: tuple[slice, slice, slice]
    blood_hu: float


def locate_heart(volume_hu: NDArray[np.float32], affine: NDArray[np.float64]) -> HeartRegion | None:
    """Find the contrast-filled heart in a CT.

    Args:
        volume_hu: Hounsfield units, ``(X, Y, Z)``, axes in any order and direction.
        affine: voxel to RAS in mm, ``(4, 4)``; the box is wider where the right heart may lie unseen.

    Returns:
        The region, wide enough for all coronary arteries; its box is the whole volume where the blood pool has not the
        size of a heart. None where there is no blood pool: a scan without contrast, or not of the heart.
    """
    spacing = spacing_mm(affine)
    factors = np.maximum(np.round(COARSE_MM / spacing), 1).astype(int)
    coarse = _block_mean(volume_hu, factors)
    edges = factors * spacing
    pool = _blood_pool(coarse, edges)
    if pool is None:
        return None
    blood_hu = float(np.median(coarse[pool]))
    opened = _distance(~pool, edges) < DEPTH_MM  # dilated back to its border
    if not HEART_ML[0] <= opened.sum() * edges.prod() / 1000 <= HEART_ML[1]:
        return HeartRegion(_box(np.zeros(3, int), np.array(volume_hu.shape)), blood_hu)
    low, high = _extent_mm(opened, edges)
    before, after = _margins_mm(affine)
    first = np.maximum(np.floor((low - before) / spacing), 0).astype(int)
    last = np.minimum(np.ceil((high + after) / spacing), volume_hu.shape).astype(int)
    return HeartRegion(_box(first, last), blood_hu)


class CropToHeartd(Cropd):
    """Crop to the heart, before resampling, and note whether the scan has contrast.

    MONAI's crop inside, so ``Invertd`` puts a prediction back on the whole grid, with zeros around. The volume is kept
    whole where the heart is not found. ``meta["contrast"]`` of each item is 1 or 0 then; ``ClearWithoutContrastd``
    reads it after the network. MONAI's ``CropForegroundd`` takes one threshold, which ribs pass.

    Args:
        keys: items to crop, ``(C, X, Y, Z)``.
        source_key: the CT in Hounsfield units, ``(1, X, Y, Z)``, in which the heart is looked for.
        crop: False keeps the volume whole and only notes the contrast.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(
        self, keys: KeysCollection, source_key: str, crop: bool = True, allow_missing_keys: bool = False
    ) -> None:
        super().__init__(keys, cropper=Crop(), allow_missing_keys=allow_missing_keys)
        self.source_key = source_key
        self.crop = crop

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        """Crop the items; warn where the scan shows no contrast."""
        cropped = dict(data)
        source = cropped[self.source_key]
        region = locate_heart(source[0].numpy(force=True), source.affine.numpy(force=True))
        if region is None:
            warnings.warn(
                f"{file_of(source, self.source_key)}: there is no contrast-filled heart in this volume (no compact "
                f"region above {CONTRAST_HU:g} HU). Coronary arteries show only in a contrast CT of the heart: a mask "
                "of this scan would mean nothing",
                stacklevel=2,
            )
        whole = _box(np.zeros(3, int), np.array(source.shape[1:]))
        box = region.box if region is not None and self.crop else whole
        for key in self.key_iterator(cropped):
            # a copy, because MONAI's crop is a view that would keep the whole volume in memory
            cropped[key] = self.cropper(cropped[key], slices=box, lazy=lazy).clone()
            if isinstance(cropped[key], MetaTensor):
                cropped[key].meta["contrast"] = int(region is not None)
        return cropped


class ClearWithoutContrastd(MapTransform):
    """Empty the masks of scans without contrast: a confident mask of nothing is worse than none.

    Switch it off with ``_disabled_: true``.

    Args:
        keys: masks or probabilities to empty.
        image_key: the image that went through ``CropToHeartd``.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(self, keys: KeysCollection, image_key: str, allow_missing_keys: bool = False) -> None:
        super().__init__(keys, allow_missing_keys)
        self.image_key = image_key

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Set the items to zero where the image has no contrast; keep their metadata.

        Raises:
            ValueError: If the image did not go through ``CropToHeartd``.
        """
        cleared = dict(data)
        if "contrast" not in cleared[self.image_key].meta:
            raise ValueError(
                f"{self.image_key!r} has no 'contrast' in its metadata: put CropToHeartd into preprocessing"
            )
        if not int(cleared[self.image_key].meta["contrast"]):
            for key in self.key_iterator(cleared):
                cleared[key] = cleared[key].clone().zero_()
        return cleared


def _blood_pool(coarse: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """Return the deep voxels of the blood pool, or None where there is none."""
    deep = _distance(coarse > CONTRAST_HU, edges) >= DEPTH_MM
    components, count = ndimage.label(deep)
    if count == 0 or np.bincount(components.ravel())[1:].max() * edges.prod() / 1000 < MIN_DEEP_ML:
        return None
    # once more at the border of this patient's blood, which dense marrow, liver and spleen do not reach
    threshold = max(CONTRAST_HU, (float(np.median(coarse[deep])) + MYOCARDIUM_HU) / 2)
    deeper = _distance(coarse > threshold, edges) >= DEPTH_MM
    return deeper if deeper.any() else deep


def _extent_mm(
    opened: NDArray[np.bool_], edges: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first and last mm of the blood pool along each axis, no farther than ``REACH_MM`` from its middle."""
    points = np.argwhere(opened) * edges
    middle = np.median(points, axis=0)
    low = np.maximum(points.min(axis=0), middle - REACH_MM)
    high = np.minimum((points + edges).max(axis=0), middle + REACH_MM)
    return low, high


def _margins_mm(affine: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the margins at the first and at the last voxel of each array axis."""
    towards = np.array([MARGIN_RIGHT_MM, MARGIN_FRONT_MM, MARGIN_ABOVE_MM])  # R, A, S
    away = np.array([MARGIN_LEFT_MM, MARGIN_BACK_MM, MARGIN_BELOW_MM])
    orientation = nibabel.io_orientation(affine)  # type: ignore[no-untyped-call]
    world_axes = orientation[:, 0].astype(int)  # of each array axis
    runs_towards = orientation[:, 1] > 0
    towards, away = towards[world_axes], away[world_axes]
    return np.where(runs_towards, away, towards), np.where(runs_towards, towards, away)


def _box(first: NDArray[np.int_], last: NDArray[np.int_]) -> tuple[slice, slice, slice]:
    """Return the slices from ``first`` to before ``last``."""
    x, y, z = (slice(int(start), int(stop)) for start, stop in zip(first, last, strict=True))
    return x, y, z


def _distance(mask: NDArray[np.bool_], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distance in mm from each voxel of ``mask`` to the nearest one outside; 0 outside."""
    if mask.all():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(mask, sampling=edges))


def _block_mean(volume: NDArray[np.float32], factors: NDArray[np.int_]) -> NDArray[np.float32]:
    """Average blocks of ``factors`` voxels; those at the far border may be smaller."""
    mean: NDArray[Any] = volume
    for axis in np.argsort(volume.strides)[
        ::-1
    ]:  # the first sum shrinks the volume most cheaply along the slowest axis
        starts = np.arange(0, volume.shape[axis], factors[axis])
        sizes = np.diff(starts, append=volume.shape[axis]).astype(np.float32)
        shape = [-1 if other == axis else 1 for other in range(3)]
        mean = np.add.reduceat(mean, starts, axis=axis, dtype=np.float32) / sizes.reshape(shape)
    return np.asarray(mean, dtype=np.float32)
