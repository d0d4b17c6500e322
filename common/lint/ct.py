"""The checks of one CT with its label and centerlines."""

from __future__ import annotations

from typing import Any, NamedTuple

import nibabel
import numpy as np
import torch
from monai.data import MetaTensor
from monai.utils import ImageMetaKey
from numpy.typing import NDArray
from scipy import ndimage

from ..centerline.readers import read_centerline
from ..components import foreground_box, label_components
from ..diagnostics.volumes import MAX_COMPONENTS, VOLUME_ML, contrast_phase
from ..grids import Grid, describe_difference, spacing_mm
from ..heart_box import CONTRAST_HU, locate_heart
from ..layouts.case import Case
from ..loading import CheckVolumed
from .findings import CaseReport
from .thumbnails import WINDOW_HU, draw_ct
from .volumes import Volume, read_volume

WHOLE_HEART_MM = 90.0  # a shorter field shows a part of the heart, and so of the vessels
DARKEST_LUMEN_HU = {True: 100.0, False: -20.0}  # median, with contrast and without: muscle, and half way to fat
BESIDE_MM = 2.0  # from the lumen, where its wall and the blur of the scanner have ended
SMALLEST_STEP_HU = {True: 75.0, False: 20.0}  # from beside a vessel to its lumen; phantoms have 320, and 50 without
SAMPLED = 200_000  # voxels of a label; that of both trees has fewer, an inverted one hundreds of times as many
DEEPEST = 8  # voxels to go in from the rim of a label for its middle
VALUES_LISTED = 20

Places = tuple[NDArray[np.int64], ...]  # an array of indices for each axis


def inspect_ct(case: Case) -> CaseReport:
    """Check one case; what is wrong with it, damage included, is a finding."""
    report = CaseReport(case.name)
    image = _read(case.image, "image", report)
    label = None if case.label is None else _read(case.label, "label", report)
    if image is None:
        return report
    report.image_hash = image.hash
    _measure_image(image, report)
    mask = None
    if image.voxels.ndim != 3:
        report.refuse(
            "axes",
            f"{case.image} has the shape {image.grid.shape}, but volumes with 3 axes are needed",
            "save the volume to segment in a file of its own",
        )
    elif label is not None and (difference := describe_difference(image.grid, label.grid)):
        report.refuse(
            "geometry",
            f"{case.label} does not lie on {case.image}: {difference}",
            "is it the label of this case? Else resample it (nearest neighbour) to the image's grid",
        )
    elif label is not None:
        mask = np.asarray(label.voxels != 0)
        report.label_hash = label.hash if mask.any() else ""
        _check_values(_inside(label.voxels, mask), report)
    if image.voxels.ndim == 3:
        _check_image(image, case, mask, report)
        if mask is not None:
            _check_mask(mask, image, report)
        _check_centerlines(case, image.grid, mask, report)
        if "range" in report.measures:
            low, _, high = report.measures["percentiles_1_50_99"]
            window = WINDOW_HU if report.measures["hounsfield"] else (low, high)
            report.thumbnail = draw_ct(image.voxels, image.grid.affine, mask, window)
    return report


def _read(path: Any, key: str, report: CaseReport) -> Volume | None:
    try:
        return read_volume(path)
    except ValueError as error:
        report.refuse(f"unreadable {key}", error)
        return None


def _inside(voxels: NDArray[Any], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """Return the values in a mask, in the order of the file: NumPy takes 40 times as long in the other one."""
    return np.asarray(voxels.T[mask.T])


def _measure_image(image: Volume, report: CaseReport) -> None:
    """Note the figures of the header."""
    axes = nibabel.aff2axcodes(image.grid.affine)  # type: ignore[no-untyped-call]
    report.measures |= {
        "shape": list(image.grid.shape),
        "spacing_mm": [round(float(edge), 4) for edge in spacing_mm(image.grid.affine)],
        "orientation": "".join(str(axis) for axis in axes),
        "type": str(image.voxels.dtype),
    }
    if image.conflict_mm:
        report.add(
            "warning",
            "two affines",
            f"the header's qform and sform place a corner {image.conflict_mm:.1f} mm apart; our loaders take the "
            "sform, ITK and 3D Slicer may take the other, and a label drawn there will not fit",
            "find out which is right, and write it as both",
        )


def _check_image(image: Volume, case: Case, mask: NDArray[np.bool_] | None, report: CaseReport) -> None:
    """Check the grey values as training will, and look for contrast."""
    meta = {ImageMetaKey.FILENAME_OR_OBJ: str(case.image)}
    native = image.voxels.astype(image.voxels.dtype.newbyteorder("="), copy=False)
    if native.dtype.kind == "u" and native.dtype.itemsize > 1:
        native = native.astype(np.int64)  # torch knows no larger unsigned numbers well
    volume = MetaTensor(torch.from_numpy(native[None]), affine=torch.from_numpy(image.grid.affine), meta=meta)
    before = len(report.findings)
    with report.watching("image"):
        CheckVolumed("image")({"image": volume})
    sample = np.asarray(image.voxels[::4, ::4, ::4], np.float32)
    low, high = float(image.voxels.min()), float(image.voxels.max())
    if not np.isfinite([low, high]).all():
        return
    report.measures["range"] = [round(low, 2), round(high, 2)]
    report.measures["percentiles_1_50_99"] = [round(float(v), 1) for v in np.percentile(sample, (1, 50, 99))]
    usable = not any(finding.severity == "error" for finding in report.findings[before:])
    report.measures["hounsfield"] = usable
    if not usable:
        return
    region = locate_heart(image.voxels, image.grid.affine)
    lumen_hu = float(np.median(_inside(image.voxels, mask))) if mask is not None and mask.any() else None
    contrast = region is not None or (lumen_hu is not None and lumen_hu > CONTRAST_HU)
    report.measures["contrast"] = contrast_phase(region.blood_hu if region else lumen_hu, contrast)
    if region is not None:
        report.measures["blood_hu"] = round(region.blood_hu, 1)
    if lumen_hu is not None and mask is not None:
        report.measures["lumen_hu"] = round(lumen_hu, 1)
        _check_place(image, mask, contrast, report)


class _Brightness(NamedTuple):
    """Medians where a mask lies, and what they are judged by."""

    inside_hu: float
    beside_hu: float
    contrast: bool

    @property
    def step_hu(self) -> float:
        """How much brighter it is inside."""
        return self.inside_hu - self.beside_hu

    @property
    def is_vessel(self) -> bool:
        """Whether a vessel may be so."""
        darkest, smallest = DARKEST_LUMEN_HU[self.contrast], SMALLEST_STEP_HU[self.contrast]
        return self.inside_hu >= darkest and self.step_hu >= smallest


def _check_place(image: Volume, mask: NDArray[np.bool_], contrast: bool, report: CaseReport) -> None:
    """Say that a label does not lie on vessels, which are brighter than what is around them, and would mirrored."""
    places = _sampled(mask.T)
    here = _brightness(image, mask, places, places, contrast)
    if here.is_vessel:
        return
    core = _core(mask)  # of a label that is drawn too wide only the middle is lumen
    here = _brightness(image, mask, places, core, contrast)
    if here.is_vessel:
        return
    mirrored = {}
    for axis in range(3):
        around, middle = (_flipped(at, axis, mask.shape) for at in (places, core))
        mirrored[axis] = _brightness(image, np.flip(mask, axis), around, middle, contrast)
    best = max(mirrored, key=lambda axis: (mirrored[axis].is_vessel, mirrored[axis].step_hu))
    there = mirrored[best]
    fits = there.is_vessel and there.step_hu > here.step_hu
    expected = "blood with contrast has more than 150" if contrast else "blood has 30 to 50, fat -100"
    cure = (
        f"mirrored along axis {best} it would lie on {there.inside_hu:.0f} HU with {there.beside_hu:.0f} HU beside it: "
        "is it flipped? "
    )
    report.add(
        "error" if fits else "warning",
        "label beside vessels",
        f"half of the label's middle is below {here.inside_hu:.0f} HU, and half of what is {BESIDE_MM:g} mm beside it "
        f"below {here.beside_hu:.0f} HU; {expected} HU, and a vessel is brighter than its surroundings",
        f"{cure * fits}look at the picture: is it the label of this case, and drawn on this image?",
    )


def _core(mask: NDArray[np.bool_]) -> Places:
    """Return the places of the voxels that lie deepest in a mask, a quarter of them or more."""
    box = foreground_box(mask) or tuple(slice(0, size) for size in mask.shape)
    core = mask[box].T  # in the order of the file
    least = np.count_nonzero(core) / 4
    for _ in range(DEEPEST):
        eroded = np.asarray(ndimage.binary_erosion(core))
        if np.count_nonzero(eroded) < least:
            break
        core = eroded
    return tuple(line + part.start for line, part in zip(_sampled(core), box, strict=True))


def _sampled(mask: NDArray[np.bool_]) -> Places:
    """Return places, of X, Y and Z, of voxels in a mask with the axes ``(Z, Y, X)``."""
    flat = np.flatnonzero(mask)
    return np.unravel_index(flat[:: max(flat.size // SAMPLED, 1)], mask.shape)[::-1]


def _flipped(places: Places, axis: int, shape: tuple[int, ...]) -> Places:
    return tuple(shape[axis] - 1 - line if other == axis else line for other, line in enumerate(places))


def _brightness(image: Volume, mask: NDArray[np.bool_], places: Places, core: Places, contrast: bool) -> _Brightness:
    """Return how bright an image is at ``core`` of a mask, and beside it, where ``places`` are voxels of the mask."""
    inside, beside = image.voxels[core], []
    for axis, edge in enumerate(spacing_mm(image.grid.affine)):
        for direction in (-1, 1):
            moved = places[axis] + direction * max(round(BESIDE_MM / edge), 1)
            kept = (moved >= 0) & (moved < mask.shape[axis])
            at = tuple((moved if other == axis else line)[kept] for other, line in enumerate(places))
            beside.append(image.voxels[at][~mask[at]])
    around = np.concatenate(beside)
    return _Brightness(float(np.median(inside)), float(np.median(around if around.size else inside)), contrast)


def _check_values(values: NDArray[Any], report: CaseReport) -> None:
    """Note the nonzero values of a label, and what the loaders will say to others than 1."""
    found = np.unique(values)  # of the few voxels that are not 0
    listed = [int(value) if float(value).is_integer() else float(value) for value in found[:VALUES_LISTED]]
    report.measures["label_values"] = [0, *listed]
    if any(value != 1 for value in listed) or len(found) > VALUES_LISTED:
        several = "are branches or structures" if len(found) > 1 else "is the lumen"
        report.add(
            "error",
            "label values",
            f"the label holds {', '.join(map(str, listed))}{', ...' if len(found) > VALUES_LISTED else ''} beside 0; "
            "training and evaluation refuse other values than 0 and 1",
            f"if what is not 0 {several}, --binary True writes masks of (label > 0) beside the list, and lists those",
        )


def _check_mask(mask: NDArray[np.bool_], image: Volume, report: CaseReport) -> None:
    """Check that a mask may be that of coronary arteries."""
    spacing = spacing_mm(image.grid.affine)
    volume_ml = float(mask.sum() * spacing.prod() / 1000)
    report.measures["label_ml"] = round(volume_ml, 3)
    if not mask.any():
        report.add("error", "empty label", "the label is empty", "draw it, or take the case out of the list")
        return
    numbered, pieces = label_components(mask)
    sizes = np.sort(np.bincount(numbered[numbered > 0])[1:])[::-1]
    report.measures |= {"pieces": pieces, "largest_two": round(float(sizes[:2].sum() / sizes.sum()), 4)}
    whole = bool((np.array(mask.shape) * spacing >= WHOLE_HEART_MM).all())
    if volume_ml > VOLUME_ML[1] or (whole and volume_ml < VOLUME_ML[0]):
        report.add(
            "warning",
            "label volume",
            f"the label has {volume_ml:.3g} ml; the lumen of both trees has {VOLUME_ML[0]:.1f} to {VOLUME_ML[1]:.0f}",
            "look at the picture: is the label of coronary arteries, complete, and not inverted?",
        )
    if pieces > MAX_COMPONENTS:
        report.add(
            "warning",
            "label pieces",
            f"the label is in {pieces} pieces (the two largest hold {sizes[:2].sum() / sizes.sum():.0%}); two trees "
            "are two pieces",
            "is it a prediction, or was it resampled? Remove specks",
        )


def _check_centerlines(case: Case, grid: Grid, mask: NDArray[np.bool_] | None, report: CaseReport) -> None:
    """Check that centerlines lie in the label, or else in the image, and not in a mirror image of it."""
    if not case.centerlines:
        return
    inside = mask if mask is not None and mask.any() else None
    branches, length_mm = 0, 0.0
    for path in case.centerlines:
        with report.watching("centerline", cure='correct the file, or name its frame as "centerline_frame"'):
            try:
                read = read_centerline(path, case.extras.get("centerline_frame"), grid, inside)
            except (OSError, ImportError) as error:
                report.add("warning", "centerline not checked", error)
                continue
            branches += len(read)
            length_mm += sum(branch.length_mm for branch in read)
    report.measures["centerline"] = {"files": len(case.centerlines), "branches": branches, "mm": round(length_mm, 1)}
