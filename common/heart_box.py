"""Where the heart lies in a CT, with contrast or without; and whether there is contrast at all.

A window over the whole chest costs three times as much as one over the heart, and only the heart has coronaries.

With contrast, what tells the heart from everything else that is bright (ribs, vertebrae, lung vessels, spleen) is that
its blood is bright *and* deep: more than a centimetre from anything darker. That holds for no bone, since a vertebra
is a shell around marrow between dark discs. Without, the heart is the soft tissue between the lungs that is deep: the
vessels and the fat above it, the gullet and the spine behind it are thin, and beside the liver there is no lung, or
only one.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import nibabel
import numpy as np
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import Crop, Cropd, MapTransform
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from .components import label_components, remove_small_components
from .diagnostics.notes import note, warn
from .grids import spacing_mm
from .loading import file_of

CONTRAST_HU = 150.0  # blood has 30-50 HU without contrast, 250-600 in a coronary CTA, below 150 in a late phase
SHIFTED_HU = 260.0  # a synthetic scan without contrast may have one chamber of up to 250 HU; more is contrast
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

# Blood at the end of the scan, in cm^2, from which on the heart is cut off there. In 20 phantoms and 2 real scans there
# are up to 15 at the top (the great vessels), 17 to 57 in their halves; at the bottom up to 4 (the aorta), and 13 to
# 44. The aorta may lie along the back, which is not judged.
CUT_CM2 = {"right": 5.0, "left": 5.0, "front": 5.0, "bottom": 9.0, "top": 30.0}

SOFT_HU = (-30.0, 110.0)  # muscle and blood without contrast, half way to fat and to trabecular bone
LUNG_HU = (-970.0, -400.0)  # air outside the body is darker
MAX_CALCIUM_ML = 3.0  # a smaller dense component is calcium, a valve or a lead, no bone, and leaves the heart compact
LUNG_DEPTH_MM = 8.0  # excludes the rim of the body, where skin and air average to lung
LUNG_GAP_MM = 200.0  # between the lungs, from right to left: an enlarged heart takes 180, the liver 220 and more
WHOLE_CHEST_MM = 260.0  # a wider field shows lung on both sides of the heart
CORE_DEPTH_MM = 18.0  # the chambers together; excludes the great vessels
TISSUE_DEPTH_MM = 12.0  # all chambers, but also the aortic arch and the liver's dome
MIN_CORE_ML = 5.0  # connected; of 15 in a heart with fatty grooves, 50 in a lean one. Beside the liver all are kept
MIN_TISSUE_ML = 50.0  # that deep, at the levels of the core; of 100 and more
NATIVE_MARGINS_MM = (25.0, 20.0, 30.0), (25.0, 20.0, 40.0)  # to the right, front, top; to the left, back, bottom
MIN_BOX_MM = (150.0, 120.0, 150.0)  # from right to left, front to back, top to bottom, where the field is as large

Box = tuple[slice, slice, slice]


class HeartRegion(NamedTuple):
    """Where the heart lies in a volume.

    Attributes:
        box: voxels that hold the heart with its arteries.
        blood_hu: median Hounsfield unit of the blood, without contrast of blood and muscle.
        cut_at: sides of the volume, such as "bottom", at which blood of the heart goes on; None where that is not
            known: without contrast, and where the blood has not the size of a heart.
    """

    box: Box
    blood_hu: float
    cut_at: tuple[str, ...] | None = None


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
    towards = np.array([MARGIN_RIGHT_MM, MARGIN_FRONT_MM, MARGIN_ABOVE_MM])
    away = np.array([MARGIN_LEFT_MM, MARGIN_BACK_MM, MARGIN_BELOW_MM])
    before, after = _margins_mm(affine, towards, away)
    box = _box_of(low - before, high + after, spacing, volume_hu.shape)
    return HeartRegion(box, blood_hu, _cut_at(opened, edges, affine))


def locate_native_heart(volume_hu: NDArray[np.float32], affine: NDArray[np.float64]) -> HeartRegion | None:
    """Find the heart in a CT without contrast.

    Args:
        volume_hu: Hounsfield units, ``(X, Y, Z)``, axes in any order and direction.
        affine: voxel to RAS in mm, ``(4, 4)``.

    Returns:
        The region, wide enough for all coronary arteries; in a field that holds little more than the heart, most of the
        volume. None where there is no deep soft tissue between the lungs, or less than a heart has.
    """
    spacing = spacing_mm(affine)
    factors = np.maximum(np.round(COARSE_MM / spacing), 1).astype(int)
    coarse = _block_mean(volume_hu, factors)
    edges = factors * spacing
    world_axes = _orientation(affine)[:, 0]
    between = _between_lungs(coarse, edges, axis=int(np.argmin(world_axes)))
    depth = np.where(between, _distance(_soft_tissue(coarse, edges), edges), 0)
    core = remove_small_components(depth >= CORE_DEPTH_MM, MIN_CORE_ML * 1000 / edges.prod())
    if not core.any():
        return None
    low, high = _reach_mm(core, edges, CORE_DEPTH_MM)
    # the core says how high and low the heart is; the tissue at these levels how wide, but it goes on far upwards
    up = int(np.argmax(world_axes))
    levels = np.arange(coarse.shape[up]) * edges[up]
    shape = [-1 if axis == up else 1 for axis in range(3)]
    tissue = (depth >= TISSUE_DEPTH_MM) & ((levels >= low[up]) & (levels < high[up])).reshape(shape)
    tissue = _connected_to(core, tissue)
    if tissue.sum() * edges.prod() / 1000 < MIN_TISSUE_ML:
        return None
    wide_low, wide_high = _reach_mm(tissue, edges, TISSUE_DEPTH_MM)
    in_plane = np.arange(3) != up
    low[in_plane], high[in_plane] = wide_low[in_plane], wide_high[in_plane]
    before, after = _margins_mm(affine, *np.array(NATIVE_MARGINS_MM))
    missing = np.maximum(np.array(MIN_BOX_MM)[world_axes] - (high + after - low + before), 0) / 2
    box = _box_of(low - before - missing, high + after + missing, spacing, volume_hu.shape)
    return HeartRegion(box, float(np.median(coarse[core])))


class CropToHeartd(Cropd):
    """Crop to the heart, before resampling, and note whether the scan has contrast.

    MONAI's crop inside, so ``Invertd`` puts a prediction back on the whole grid, with zeros around. The volume is kept
    whole where the heart is not found. ``meta["contrast"]`` of each item is 1 or 0 then; ``ClearWithoutContrastd``
    reads it after the network. MONAI's ``CropForegroundd`` takes one threshold, which ribs pass.

    Args:
        keys: items to crop, ``(C, X, Y, Z)``.
        source_key: the CT in Hounsfield units, ``(C, X, Y, Z)``, in whose first channel the heart is looked for.
        crop: False keeps the volume whole and only notes the contrast.
        contrast: whether the model is for scans with contrast or for scans without; the other kind is warned of.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(
        self,
        keys: KeysCollection,
        source_key: str,
        crop: bool = True,
        contrast: bool = True,
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, cropper=Crop(), allow_missing_keys=allow_missing_keys)
        self.source_key = source_key
        self.crop = crop
        self.contrast = contrast

    def __call__(self, data: Mapping[Hashable, Any], lazy: bool | None = None) -> dict[Hashable, Any]:
        """Crop the items; warn where the scan has no contrast, or has it and should not."""
        cropped = dict(data)
        source = cropped[self.source_key]
        volume_hu, affine = source[0].numpy(force=True), source.affine.numpy(force=True)
        region = locate_heart(volume_hu, affine)
        heart = region if self.contrast else locate_native_heart(volume_hu, affine)
        # of a scan without contrast both boxes: contrast may be in a stomach, or in one chamber only
        boxes = [] if heart is None else [found.box for found in (region, heart) if found is not None]
        box = _union(boxes) if boxes and self.crop else _box(np.zeros(3, int), np.array(source.shape[1:]))
        for key in self.key_iterator(cropped):
            # a copy, because MONAI's crop is a view that would keep the whole volume in memory
            cropped[key] = self.cropper(cropped[key], slices=box, lazy=lazy).clone()
            if isinstance(cropped[key], MetaTensor):
                cropped[key].meta["contrast"] = int(region is not None)
            self._note(cropped[key], region, heart, box)
        if (region is None) if self.contrast else (region is not None and region.blood_hu > SHIFTED_HU):
            warn(cropped[self.source_key], file_of(source, self.source_key), _mismatch(region))
        return cropped

    def _note(self, item: Tensor, region: HeartRegion | None, heart: HeartRegion | None, box: Box) -> None:
        """Note for the report what was found."""
        blood = region or heart
        contrast = {"expected": self.contrast, "found": region is not None, "blood_hu": blood and blood.blood_hu}
        around = (heart.box if not self.crop else box) if heart else None
        note(
            item,
            contrast=contrast,
            heart={
                "found": heart is not None and not (self.contrast and heart.cut_at is None),
                "cropped": self.crop,
                "box": around and [[side.start, side.stop] for side in around],
                "cut_at": None if heart is None or heart.cut_at is None else list(heart.cut_at),
            },
        )


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


def _mismatch(region: HeartRegion | None) -> str:
    """Say what it means that a scan has contrast, or none, for a model that is made for the other kind."""
    if region is None:
        return (
            f"there is no contrast-filled heart in this volume (no compact region above {CONTRAST_HU:g} HU). Coronary "
            "arteries show only in a contrast CT of the heart: a mask of this scan would mean nothing"
        )
    return (
        f"this scan has contrast (a compact region of {region.blood_hu:.0f} HU; blood alone has 30 to 50 HU). The "
        "model is made for CT without contrast: expect a poor mask, and use one that is made for contrast CT"
    )


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


def _soft_tissue(coarse: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Return muscle, blood and what calcium they hold."""
    dense = coarse > SOFT_HU[1]
    bone = remove_small_components(dense, MAX_CALCIUM_ML * 1000 / float(edges.prod()))
    return np.asarray((coarse > SOFT_HU[0]) & ~bone)


def _between_lungs(coarse: NDArray[np.float32], edges: NDArray[np.float64], axis: int) -> NDArray[np.bool_]:
    """Return what lies on a line of at most ``LUNG_GAP_MM`` along ``axis`` from one lung to the other.

    In a field that does not show the whole chest there may be lung beyond its ends.
    """
    air = (coarse > LUNG_HU[0]) & (coarse < LUNG_HU[1])
    lung = np.moveaxis(_distance(air, edges) >= LUNG_DEPTH_MM, axis, -1)
    size = lung.shape[-1]
    gap = LUNG_GAP_MM / edges[axis]
    start, end = (-1.0, float(size)) if size * edges[axis] < WHOLE_CHEST_MM else (-np.inf, np.inf)
    last = np.maximum.accumulate(np.where(lung, np.arange(size), start), axis=-1)
    following = np.minimum.accumulate(np.where(lung, np.arange(size), end)[..., ::-1], axis=-1)[..., ::-1]
    return np.moveaxis(following - last - 1 <= gap, -1, axis)


def _connected_to(core: NDArray[np.bool_], mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the components of ``mask`` that hold voxels of ``core``."""
    labels, count = label_components(mask)
    kept = np.bincount(labels[core], minlength=count + 1) > 0
    kept[0] = False
    return np.asarray(kept[labels])


def _reach_mm(
    deep: NDArray[np.bool_], edges: NDArray[np.float64], depth_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the first and last mm along each axis of the tissue whose deep voxels are given."""
    points = np.argwhere(deep)
    return points.min(axis=0) * edges - depth_mm, (points.max(axis=0) + 1) * edges + depth_mm


def _margins_mm(
    affine: NDArray[np.float64], towards: NDArray[np.float64], away: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the margins at the first and at the last voxel of each array axis.

    Args:
        affine: voxel to RAS.
        towards: margins in mm to the right, to the front and above.
        away: margins in mm to the left, to the back and below.
    """
    world_axes, direction = _orientation(affine).T
    towards, away = towards[world_axes], away[world_axes]
    return np.where(direction > 0, away, towards), np.where(direction > 0, towards, away)


def _orientation(affine: NDArray[np.float64]) -> NDArray[np.int_]:
    """Return, for each array axis, the world axis that it follows, and 1 or -1 for its direction; ``(3, 2)``."""
    orientation = nibabel.io_orientation(affine)  # type: ignore[no-untyped-call]
    return np.asarray(orientation).astype(int)


def _cut_at(opened: NDArray[np.bool_], edges: NDArray[np.float64], affine: NDArray[np.float64]) -> tuple[str, ...]:
    """Return the sides of the volume at which more blood goes on than great vessels hold."""
    names = (("left", "right"), ("back", "front"), ("bottom", "top"))
    areas = {}
    for axis, (world_axis, direction) in enumerate(_orientation(affine)):
        ends = names[world_axis][::direction]  # at the first voxel and at the last
        for end, place in zip(ends, (0, -1), strict=True):
            areas[end] = opened.take(place, axis).sum() * np.delete(edges, axis).prod() / 100
    return tuple(side for side, limit in CUT_CM2.items() if areas[side] > limit)


def _box_of(
    low: NDArray[np.float64], high: NDArray[np.float64], spacing: NDArray[np.float64], shape: tuple[int, ...]
) -> Box:
    """Return the voxels from ``low`` to ``high`` in mm, as far as there are any."""
    first = np.maximum(np.floor(low / spacing), 0).astype(int)
    last = np.minimum(np.ceil(high / spacing), shape).astype(int)
    return _box(first, last)


def _box(first: NDArray[np.int_], last: NDArray[np.int_]) -> Box:
    """Return the slices from ``first`` to before ``last``."""
    x, y, z = (slice(int(start), int(stop)) for start, stop in zip(first, last, strict=True))
    return x, y, z


def _union(boxes: Sequence[Box]) -> Box:
    """Return the smallest box that holds all ``boxes``."""
    first = np.min([[side.start for side in box] for box in boxes], axis=0)
    last = np.max([[side.stop for side in box] for box in boxes], axis=0)
    return _box(first, last)


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
