"""One picture of a segmentation that a person can judge at a glance."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from monai.data import MetaTensor
from monai.transforms import Orientation
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage
from scipy.ndimage import (
    binary_dilation,
    binary_erosion,
    distance_transform_edt,
    gaussian_filter,
    maximum_filter,
    minimum_filter,
    zoom,
)
from scipy.spatial import cKDTree
from tqdm import tqdm

from .checks import check_same_shape
from .datasets import list_images
from .files import replacing
from .grids import describe_difference, read_grid, spacing_mm
from .heart_box import locate_heart
from .loading import LoadVolumed

TOLERANCE_MM = 1.0  # a voxel farther than this from the other mask is an error; nearer, the contours show it
MARGIN_MM = 15.0  # shown around the masks
THIN_MM = 6.0  # wider structures (chambers, aorta) are faded, so that coronaries in front of them can be seen
NEAR_MM = (12.0, 30.0)  # from the masks; farther away the image fades
VESSEL_HU = (250.0, 700.0)  # above the surroundings: the value shown as white is chosen in this range
DIMMED = 0.6  # the image under the masks
WIDTH_PX = 1500
_COARSE_MM = 2.0  # grid for what is smooth anyway

# of Okabe and Ito's palette, which colour-blind people can tell apart
TRUTH, PREDICTION, MISSED, FALSE = (0, 200, 130), (86, 180, 233), (230, 60, 0), (240, 228, 66)
INK, PAPER = (235, 235, 235), (18, 18, 18)


class View(NamedTuple):
    """A direction of projection: the axis that is lost, and the letters left, right, above and below the picture."""

    name: str
    axis: int
    letters: str


# radiological convention: the patient's right is on the left of the picture; from the side, the front is on the left
VIEWS = (View("coronal", 1, "RLSI"), View("sagittal", 0, "APSI"), View("axial", 2, "RLAP"))


def preview(image: str, pred: str, out: str, label: str | None = None) -> None:
    """Write a PNG for each scan, with its vessels from three sides, the prediction on them, and its errors.

    Args:
        image: CT volume: NIfTI, NRRD, MetaImage, or the folder of a DICOM series; or a folder of these.
        pred: mask on the same grid, 1 (or any value above 0.5) where a vessel was found; or the folder in which
            inference wrote it, as <case>_seg.nii.gz.
        out: the picture, ``.png``, or the folder for pictures <case>.png.
        label: reference mask on the same grid, or the folder of reference masks <case>.nii.gz.

    Raises:
        ValueError: If a file cannot be read, a mask lies on another grid than the image, or several pictures are to go
            into one file.
        OSError: If a file is missing or a picture cannot be written.
    """
    scans = list_images(image)
    one_file = Path(out).suffix.lower() == ".png"
    if Path(out).suffix and not one_file and not Path(out).is_dir():
        raise ValueError(f"out must end in .png or be a folder, got {out}")
    if one_file and len(scans) > 1:
        raise ValueError(f"{image} holds {len(scans)} scans: out must be a folder, got {out}")
    for scan in tqdm(scans, "pictures", unit="scan", disable=len(scans) == 1):
        case = scan["case"]
        masks = {"pred": _of_case(pred, f"{case}_seg.nii.gz")}
        if label is not None:
            masks["label"] = _of_case(label, f"{case}.nii.gz")
        _draw(scan["image"], masks, Path(out) if one_file else Path(out) / f"{case}.png", case)


def _of_case(path: str, name: str) -> str:
    return str(Path(path) / name) if Path(path).is_dir() else path


def _draw(image: str, paths: dict[str, str], out: Path, case: str) -> None:
    """Write the picture of one scan; ``paths`` are those of its masks."""
    volume, spacing = _load("image", image)
    masks = {}
    for key, path in paths.items():
        masks[key] = _load(key, path)[0] > 0.5
        if difference := describe_difference(read_grid(image), read_grid(path)):
            raise ValueError(f"{path} does not lie on {image}: {difference}; resample it to the image's grid")
    write_picture(out, preview_figure(volume, spacing, masks["pred"], masks.get("label"), title=case))


def write_picture(path: Path, picture: NDArray[np.uint8]) -> None:
    """Write a picture, ``(height, width, 3)``, as PNG, whole or not at all.

    Raises:
        OSError: If it cannot be written.
    """
    with replacing(path) as temporary:
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
        ``(height, width, 3)``. With empty masks the heart is shown, or the whole volume if it is not found.

    Raises:
        ValueError: If shapes differ, the volume has not three axes, or a shown voxel is not finite.
    """
    masks = {"prediction": prediction} | ({} if label is None else {"label": label})
    check_same_shape(image_hu=image_hu, **masks)
    if image_hu.ndim != 3 or len(spacing) != 3 or min(spacing) <= 0:
        raise ValueError(f"image_hu must be (X, Y, Z) with three spacings, got shape {image_hu.shape}, {spacing}")
    box = _box(prediction if label is None else prediction | label, image_hu, spacing)
    volume_hu = np.asarray(image_hu[box], np.float32)
    if not np.isfinite([volume_hu.min(), volume_hu.max()]).all():  # NaN and infinity both come through
        raise ValueError("image_hu has voxels that are NaN or infinite; replace them, for example by -1000 HU (air)")
    masks = {name: mask[box] for name, mask in masks.items()}
    if label is not None:
        masks["missed"] = _farther_than_tolerance(masks["label"], masks["prediction"], spacing)
        masks["false"] = _farther_than_tolerance(masks["prediction"], masks["label"], spacing)
    shown = np.logical_or(masks["prediction"], masks.get("label", False))
    thin = _thin_structures(volume_hu, spacing)
    thin *= _nearness(shown, spacing)

    extent_mm = np.multiply(volume_hu.shape, spacing)
    px_per_mm = WIDTH_PX / sum(extent_mm[_kept_axes(view)[0]] for view in VIEWS)
    plain, marked = [], []
    for view in VIEWS:
        size = tuple(max(round(extent_mm[axis] * px_per_mm), 1) for axis in _kept_axes(view))
        grey = _background(volume_hu, thin, view, size)
        plain.append(grey)
        marked.append(_overlay(grey, {name: _shadow(mask, view, size) for name, mask in masks.items()}))
    return _compose(f"{title}   {_figures(masks, spacing)}".strip(), [plain, marked], px_per_mm, list(masks))


def _load(key: str, path: str) -> tuple[NDArray[np.float32], tuple[float, ...]]:
    """A volume in RAS and its spacing."""
    loaded = Orientation("RAS", labels=None)(LoadVolumed(key)({key: path})[key])
    return np.asarray(loaded[0].numpy(), np.float32), tuple(spacing_mm(cast(MetaTensor, loaded).affine.numpy()))


def _figures(masks: dict[str, NDArray[np.bool_]], spacing: Sequence[float]) -> str:
    """The numbers of the heading."""
    count = {name: int(mask.sum()) for name, mask in masks.items()}
    ml = float(np.prod(spacing)) / 1000
    parts = int(ndimage.label(masks["prediction"], np.ones((3, 3, 3)))[1])
    predicted = f"prediction {count['prediction'] * ml:.2f} ml in {parts} part{'' if parts == 1 else 's'}"
    if not count["prediction"]:
        predicted = "the prediction is empty"
    if "label" not in masks:
        return predicted
    total = count["prediction"] + count["label"]
    dice = 2 * int((masks["prediction"] & masks["label"]).sum()) / total if total else 1.0
    missed, false = count["missed"] / max(count["label"], 1), count["false"] / max(count["prediction"], 1)
    return (
        f"Dice {dice:.3f}   missed {missed:.0%}   false {false:.0%}   {predicted}, label {count['label'] * ml:.2f} ml"
    )


def _box(
    shown: NDArray[np.bool_], image_hu: NDArray[np.floating], spacing: Sequence[float]
) -> tuple[slice, slice, slice]:
    """The masks with a margin; the heart if they are empty; the whole volume if there is none either."""
    if not shown.any():
        heart = locate_heart(np.asarray(image_hu, np.float32), np.diag([*spacing, 1.0]))
        return heart.box if heart else (slice(None), slice(None), slice(None))
    first, last = [], []
    for axis, step_mm in enumerate(spacing):
        filled = np.flatnonzero(shown.any(tuple({0, 1, 2} - {axis})))
        margin = round(MARGIN_MM / step_mm)
        first.append(max(int(filled[0]) - margin, 0))
        last.append(int(filled[-1]) + 1 + margin)
    return slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2])


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


def _thin_structures(volume_hu: NDArray[np.float32], spacing: Sequence[float]) -> NDArray[np.float32]:
    """What is bright and thin outside the lungs, in HU above its surroundings."""
    step_mm = np.asarray(spacing)
    thin = np.clip(volume_hu, -150, 700)  # in place from here on: a volume may fill a good part of the memory
    gaussian_filter(thin, 0.35 / step_mm, output=thin)
    edge = 2 * np.round(THIN_MM / step_mm / 2).astype(int) + 1
    # opening; the dilation reaches a millimetre farther than the erosion, or rims of chambers would stay
    wide = maximum_filter(minimum_filter(thin, edge), edge + 2 * np.ceil(1.0 / step_mm).astype(int))
    thin -= wide
    np.maximum(thin, 0, out=thin)
    in_lung = gaussian_filter(_coarse(volume_hu, spacing) < -500, 2, output=np.float32)
    thin *= _like(np.clip((0.55 - in_lung) / 0.2, 0, 1), thin.shape)
    return thin


def _nearness(shown: NDArray[np.bool_], spacing: Sequence[float]) -> NDArray[np.float32]:
    """1 near the masks, less far from them: of bones behind the heart a hint is enough. 1 if they are empty."""
    if not shown.any():
        return np.ones(shown.shape, np.float32)
    near, far = NEAR_MM
    distance = _COARSE_MM * distance_transform_edt(_coarse(~maximum_filter(shown, _coarse_step(spacing)), spacing))
    return _like(np.clip((far - distance) / (far - near), 0.3, 1), shown.shape)


def _coarse_step(spacing: Sequence[float]) -> NDArray[np.intp]:
    """Voxels along each axis that make about 2 mm."""
    return np.maximum(np.round(_COARSE_MM / np.asarray(spacing)), 1).astype(int)


def _coarse(volume: NDArray[Any], spacing: Sequence[float]) -> NDArray[Any]:
    """Every voxel of a coarse grid."""
    step = _coarse_step(spacing)
    return volume[:: step[0], :: step[1], :: step[2]]


def _like(coarse: NDArray[np.floating], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """A coarse volume interpolated to the full grid."""
    factors = np.divide(shape, coarse.shape)
    return np.asarray(zoom(coarse.astype(np.float32), factors, order=1, grid_mode=True, mode="nearest"))


def _kept_axes(view: View) -> tuple[int, int]:
    """The axes that run across and down the picture."""
    across, down = (axis for axis in range(3) if axis != view.axis)
    return across, down


def _resized(projection: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """A projection as rows and columns, its first axis from right to left and its second from bottom to top.

    ``size`` is the width and height of its panel.
    """
    picture = Image.fromarray(np.ascontiguousarray(projection[::-1, ::-1].T, np.float32))
    return np.array(picture.resize(size, Image.Resampling.BICUBIC), np.float32)


def _background(
    volume_hu: NDArray[np.float32], thin: NDArray[np.float32], view: View, size: tuple[int, int]
) -> NDArray[np.uint8]:
    """Thin bright structures over a faint mean projection that shows where the heart is, ``(height, width, 3)``."""
    anatomy = np.asarray(np.clip(volume_hu, -200, 500).mean(view.axis))
    low, high = np.percentile(anatomy, (5, 99))
    faint = 0.3 * np.clip((_resized(anatomy, size) - low) / max(high - low, 1), 0, 1)
    brightest = np.asarray(thin.max(view.axis))
    white = np.clip(np.percentile(brightest, 98), *VESSEL_HU)
    vessels = np.clip(_resized(brightest, size) / white, 0, 1)
    grey = faint + (1 - faint) * vessels**0.8
    return np.repeat(np.round(255 * grey).astype(np.uint8)[..., None], 3, axis=2)


def _shadow(mask: NDArray[np.bool_], view: View, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The projection of a mask at the size of its panel."""
    return _resized(np.asarray(mask.any(view.axis), np.float32), size) > 0.5


def _overlay(grey: NDArray[np.uint8], shadows: dict[str, NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """Draw contours and errors on a panel."""
    panel = DIMMED * grey.astype(np.float32)
    if "label" in shadows:
        panel[binary_dilation(shadows["label"], iterations=2) & ~shadows["label"]] = TRUTH
    panel[shadows["prediction"] & ~binary_erosion(shadows["prediction"], iterations=2)] = PREDICTION
    for name, colour in (("false", FALSE), ("missed", MISSED)):
        if name in shadows:
            panel[shadows[name]] = colour
    return panel.astype(np.uint8)


def _compose(
    heading: str, rows: Sequence[Sequence[NDArray[np.uint8]]], px_per_mm: float, names: Sequence[str]
) -> NDArray[np.uint8]:
    """Put panels, letters, scale bar, legend and heading on one sheet."""
    gap, top, bottom = 10, 48, 44
    widths = [panel.shape[1] for panel in rows[0]]
    height = max(panel.shape[0] for panel in rows[0])
    sheet = Image.new("RGB", (sum(widths) + 4 * gap, top + 2 * (height + gap) + bottom), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((gap, top // 2), heading, INK, ImageFont.load_default(22), anchor="lm")
    for row, panels in enumerate(rows):
        left, upper = gap, top + row * (height + gap)
        for view, panel in zip(VIEWS, panels, strict=True):
            sheet.paste(Image.fromarray(panel), (left, upper))
            _letter(draw, view, (left, upper, panel.shape[1], panel.shape[0]))
            left += panel.shape[1] + gap
    line = top + 2 * (height + gap) + bottom // 2 - gap // 2
    _legend(draw, (gap, line), names)
    length = round(20 * px_per_mm)
    draw.line((sheet.width - gap - length, line, sheet.width - gap, line), INK, 4)
    draw.text((sheet.width - 2 * gap - length, line), "20 mm", INK, ImageFont.load_default(18), anchor="rm")
    return np.asarray(sheet)


def _letter(draw: ImageDraw.ImageDraw, view: View, place: tuple[int, int, int, int]) -> None:
    """Name a panel and its four sides."""
    left, upper, width, height = place
    font = ImageFont.load_default(17)
    middle, centre = left + width // 2, upper + height // 2
    spots = ((left + 6, centre, "lm"), (left + width - 6, centre, "rm"), (middle, upper + 5, "mt"))
    for letter, (x, y, anchor) in zip(view.letters, (*spots, (middle, upper + height - 5, "mb")), strict=True):
        draw.text((x, y), letter, INK, font, anchor=anchor, stroke_width=2, stroke_fill=PAPER)
    draw.text((left + 6, upper + 5), view.name, INK, font, anchor="lt", stroke_width=2, stroke_fill=PAPER)


def _legend(draw: ImageDraw.ImageDraw, place: tuple[int, int], names: Sequence[str]) -> None:
    """Say what the colours mean."""
    x, y = place
    font = ImageFont.load_default(18)
    texts = {
        "label": (TRUTH, "label (outline)"),
        "prediction": (PREDICTION, "prediction (outline)"),
        "missed": (MISSED, f"missed: > {TOLERANCE_MM:g} mm from the prediction"),
        "false": (FALSE, f"false: > {TOLERANCE_MM:g} mm from the label"),
    }
    for name, (colour, text) in texts.items():
        if name in names:
            filled = name in ("missed", "false")
            draw.rectangle((x, y - 8, x + 16, y + 8), fill=colour if filled else None, outline=colour, width=3)
            draw.text((x + 24, y), text, INK, font, anchor="lm")
            x += 24 + round(font.getlength(text)) + 30
