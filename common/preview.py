"""One picture of a segmentation that a person can judge at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from monai.transforms import Orientation
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, binary_erosion, gaussian_filter, label as components, maximum_filter
from scipy.ndimage import minimum_filter, zoom
from scipy.spatial import cKDTree

from .checks import check_same_shape
from .files import replacing
from .grids import case_name, describe_difference, read_grid, spacing_mm
from .loading import LoadVolumed

TOLERANCE_MM = 1.0  # a voxel farther than this from the other mask is an error; nearer, the contours show it
MARGIN_MM = 15.0  # shown around the masks
THIN_MM = 6.0  # wider structures (chambers, aorta) are faded, so that coronaries in front of them can be seen
WIDTH_PX = 1500

# of Okabe and Ito's palette, which colour-blind people can tell apart
TRUTH, PREDICTION, MISSED, FALSE = (0, 200, 130), (86, 180, 233), (230, 60, 0), (240, 228, 66)
INK, PAPER, FAINT = (235, 235, 235), (18, 18, 18), (150, 150, 150)


class View(NamedTuple):
    """A direction of projection: the axis that is lost, and the letters left, right, above and below the picture."""

    name: str
    axis: int
    letters: str


# radiological convention: the patient's right is on the left of the picture; from the side, the front is on the left
VIEWS = (View("coronal", 1, "RLSI"), View("sagittal", 0, "APSI"), View("axial", 2, "RLAP"))


def preview(image: str, pred: str, out: str, label: str | None = None) -> None:
    """Write one PNG with the vessels of a scan from three sides, the prediction on them, and its errors.

    Args:
        image: CT volume: NIfTI, NRRD, MetaImage, or the folder of a DICOM series.
        pred: mask on the same grid, 1 (or any value above 0.5) where a vessel was found.
        out: the picture, ``.png``.
        label: reference mask on the same grid.

    Raises:
        ValueError: If a file cannot be read or a mask lies on another grid than the image.
        OSError: If a file is missing or the picture cannot be written.
    """
    if Path(out).suffix.lower() != ".png":
        raise ValueError(f"out must end in .png, got {out}")
    paths = {"image": image, "pred": pred} | ({"label": label} if label else {})
    volumes = {}
    for key, path in paths.items():
        volume = Orientation("RAS")(LoadVolumed(key)({key: path})[key])
        if key == "image":
            spacing = spacing_mm(volume.affine.numpy())
        elif difference := describe_difference(read_grid(image), read_grid(path)):
            raise ValueError(f"{path} does not lie on the image {image}: {difference}; resample it to the image's grid")
        array = volume[0].numpy()
        volumes[key] = array if key == "image" else array > 0.5
    picture = preview_figure(
        volumes["image"], tuple(spacing), volumes["pred"], volumes.get("label"), title=case_name(image)
    )
    with replacing(out) as temporary:
        Image.fromarray(picture).save(temporary)


def preview_figure(
    image_hu: NDArray[np.floating],
    spacing: Sequence[float],
    prediction: NDArray[np.bool_],
    label: NDArray[np.bool_] | None = None,
    title: str = "",
) -> NDArray[np.uint8]:
    """Maximum-intensity projections of the vessels' surroundings: above the image alone, below with the masks.

    A plain projection of a contrast CT shows chambers and bone. Here what is wider than a coronary is faded, and the
    lungs with their vessels are left out. Contours are those of the projected masks: the label's runs outside, the
    prediction's inside, so that both are seen where they agree. Errors are filled: label voxels farther than 1 mm
    from the prediction (missed) and prediction voxels farther than 1 mm from the label (false).

    Args:
        image_hu: ``(X, Y, Z)`` in RAS.
        spacing: mm per voxel.
        prediction: mask, same shape.
        label: reference mask, same shape.
        title: heads the picture, before the figures.

    Returns:
        ``(height, width, 3)``. With empty masks the whole volume is shown.

    Raises:
        ValueError: If shapes differ, or the volume has not three axes.
    """
    masks = {"prediction": prediction} | ({} if label is None else {"label": label})
    check_same_shape(image_hu=image_hu, **masks)
    if image_hu.ndim != 3 or len(spacing) != 3 or min(spacing) <= 0:
        raise ValueError(f"image_hu must be (X, Y, Z) with three spacings, got shape {image_hu.shape}, {spacing}")
    heading = f"{title}   {_figures(prediction, label, spacing)}".strip()
    shown = np.logical_or.reduce(list(masks.values()))
    box = _box(shown, spacing)
    masks = {name: mask[box] for name, mask in masks.items()}
    if label is not None:
        masks["missed"] = _farther_than_tolerance(masks["label"], masks["prediction"], spacing)
        masks["false"] = _farther_than_tolerance(masks["prediction"], masks["label"], spacing)
    layers = _fade_wide_structures(np.asarray(image_hu[box], np.float32), spacing)

    extent_mm = np.multiply(shown[box].shape, spacing)
    px_per_mm = WIDTH_PX / sum(extent_mm[_kept_axes(view)[0]] for view in VIEWS)
    plain, marked = [], []
    for view in VIEWS:
        size = tuple(max(round(extent_mm[axis] * px_per_mm), 1) for axis in _kept_axes(view))
        grey = _background(layers, view, size)
        plain.append(grey)
        marked.append(_overlay(grey, {name: _shadow(mask, view, size) for name, mask in masks.items()}))
    return _compose(heading, [plain, marked], px_per_mm, list(masks))


def _figures(prediction: NDArray[np.bool_], label: NDArray[np.bool_] | None, spacing: Sequence[float]) -> str:
    """The numbers of the heading."""
    voxel_ml = float(np.prod(spacing)) / 1000
    volume = f"prediction {prediction.sum() * voxel_ml:.2f} ml in {components(prediction)[1]} parts"
    if label is None:
        return volume
    both, total = (prediction & label).sum(), prediction.sum() + label.sum()
    return f"Dice {2 * both / total if total else 1:.3f}   {volume}   label {label.sum() * voxel_ml:.2f} ml"


def _box(shown: NDArray[np.bool_], spacing: Sequence[float]) -> tuple[slice, ...]:
    """The masks with a margin; the whole volume if there is nothing in them."""
    if not shown.any():
        return tuple(slice(0, n) for n in shown.shape)
    box = []
    for axis, step_mm in enumerate(spacing):
        filled = np.flatnonzero(shown.any(tuple({0, 1, 2} - {axis})))
        margin = round(MARGIN_MM / step_mm)
        box.append(slice(max(int(filled[0]) - margin, 0), int(filled[-1]) + 1 + margin))
    return tuple(box)


def _farther_than_tolerance(
    mask: NDArray[np.bool_], other: NDArray[np.bool_], spacing: Sequence[float]
) -> NDArray[np.bool_]:
    """The voxels of a mask that are farther than the tolerance from another one."""
    voxels = np.argwhere(mask)
    if not len(voxels) or not other.any():
        return mask
    tree = cKDTree(np.argwhere(other) * spacing)
    distance = tree.query(voxels * np.asarray(spacing), distance_upper_bound=TOLERANCE_MM * (1 + 1e-6))[0]
    far = np.zeros_like(mask)
    far[tuple(voxels[np.isinf(distance)].T)] = True
    return far


def _fade_wide_structures(volume_hu: NDArray[np.float32], spacing: Sequence[float]) -> NDArray[np.float32]:
    """What is bright and thin outside the lungs, in HU above its surroundings."""
    step_mm = np.asarray(spacing)
    smooth = gaussian_filter(np.clip(volume_hu, -150, 700), 0.35 / step_mm)
    edge = 2 * np.round(THIN_MM / step_mm / 2).astype(int) + 1
    # opening; the dilation reaches a millimetre farther than the erosion, or rims of chambers would stay
    wide = maximum_filter(minimum_filter(smooth, edge), edge + 2 * np.ceil(1.0 / step_mm).astype(int))
    thin = np.maximum(smooth - wide, 0)
    coarse = np.maximum(np.round(2.0 / step_mm), 1).astype(int)
    air = gaussian_filter((volume_hu[:: coarse[0], :: coarse[1], :: coarse[2]] < -500).astype(np.float32), 2)
    in_lung = zoom(air, np.divide(thin.shape, air.shape), order=1, grid_mode=True, mode="nearest")
    return thin * np.clip((0.55 - in_lung) / 0.2, 0, 1)
