"""Contrast-enhanced coronary CT (CCTA) of a phantom: blood pools, fat, lung, bone, vessels, blur, noise, artefacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, shift

from ..centerline.branch import Branch
from ..plaque import Branch as PlaqueBranch
from ..plaque import Plaque, draw_plaques
from ..tomography.noise import correlated_noise
from .canvas import Canvas, ScanGrid
from .chest import paint_anatomy
from .heart import HEART_LABELS, Heart
from .thorax import Thorax
from .tissues import CONTRAST, Tissues
from .tree import CoronaryTree
from .vessels import OSTIUM_MM, lumen_truth, ostium_distance, render_vessels

Range = tuple[float, float]

_MOTION_SHARE = {9: 1.0, 14: 0.8, 10: 0.5, 11: 0.5, 3: 0.7}  # by branch id: the atrioventricular grooves move most

_RECORDED_TISSUES = ("fat", "lung", "liver", "myocardium", "right_heart", "superior_vena_cava", "left_atrium")


@dataclass(frozen=True)
class Difficulty:
    """Ranges that a scan's quality is drawn from.

    Attributes:
        noise_hu: standard deviation of the noise.
        aorta_hu: value of the blood in the aorta.
        fall_per_cm: relative loss of lumen contrast for each cm from the ostium.
        psf_mm: full width at half maximum of the point spread function.
        vein_contrast: contrast of coronary veins relative to the aorta.
        plaques: least and greatest number of plaques.
        max_stenosis_percent: greatest diameter stenosis of a plaque.
        motion_mm: path of the RCA during the exposure; other vessels move less.
        steps: greatest number of slabs that are displaced against each other.
        step_mm: greatest displacement of a slab.
    """

    noise_hu: Range
    aorta_hu: Range
    fall_per_cm: Range
    psf_mm: Range
    vein_contrast: Range
    plaques: tuple[int, int]
    max_stenosis_percent: float
    motion_mm: Range
    steps: int
    step_mm: float


DIFFICULTIES = {
    "easy": Difficulty((10, 15), (420, 500), (0.02, 0.03), (0.5, 0.55), (0.15, 0.3), (0, 3), 50, (0, 0), 0, 0),
    "default": Difficulty((15, 26), (360, 500), (0.03, 0.05), (0.5, 0.65), (0.25, 0.5), (0, 7), 70, (0, 0.4), 1, 0.5),
    "hard": Difficulty((26, 40), (330, 450), (0.05, 0.1), (0.6, 0.7), (0.45, 0.8), (3, 15), 90, (0.3, 2), 3, 2),
}


@dataclass(frozen=True)
class Protocol:
    """How one scan was taken: everything that is not anatomy. Units as in :class:`Difficulty`."""

    noise_hu: float
    aorta_hu: float
    fall_per_cm: float
    psf_mm: float
    vein_contrast: float
    motion_mm: float
    steps: tuple[tuple[float, float, float], ...]
    """Displaced slabs: height where one begins as a fraction of the volume, and two displacements in mm."""


@dataclass(frozen=True)
class Scan:
    """A rendered volume with its truth.

    Attributes:
        image: int16 HU.
        label: uint8, 1 in the coronary lumen.
        branches: uint8, ids of ImageCAS-X.
        heart: uint8, see ``HEART_LABELS``.
        centerlines: branches in RAS mm as they appear in the image (displaced where the slabs are).
        tissue_hu: drawn mean values of the tissues.
    """

    image: NDArray[np.int16]
    label: NDArray[np.uint8]
    branches: NDArray[np.uint8]
    heart: NDArray[np.uint8]
    centerlines: tuple[Branch, ...]
    tissue_hu: dict[str, float]


def draw_protocol(difficulty: Difficulty, rng: np.random.Generator) -> Protocol:
    """Draw the quality of one scan."""
    count = int(rng.integers(0, difficulty.steps + 1))
    if difficulty.steps == 1:
        count = int(rng.random() < 0.3)  # most good scans have none
    heights = rng.uniform(0.2, 0.8, count)
    moves = rng.uniform(-1, 1, (count, 2)) * difficulty.step_mm
    steps = [
        (float(height), float(first), float(second)) for height, (first, second) in zip(heights, moves, strict=True)
    ]
    return Protocol(
        noise_hu=float(rng.uniform(*difficulty.noise_hu)),
        aorta_hu=float(rng.uniform(*difficulty.aorta_hu)),
        fall_per_cm=float(rng.uniform(*difficulty.fall_per_cm)),
        psf_mm=float(rng.uniform(*difficulty.psf_mm)),
        vein_contrast=float(rng.uniform(*difficulty.vein_contrast)),
        motion_mm=float(rng.uniform(*difficulty.motion_mm)),
        steps=tuple(sorted(steps)),
    )


def draw_tree_plaques(branches: Sequence[Branch], difficulty: Difficulty, rng: np.random.Generator) -> list[Plaque]:
    """Draw plaques whose arc lengths count from the ostium, none beyond the difficulty's greatest stenosis.

    Where a plaque reaches into a bifurcation, the lumen of the other branch stays free, in image and label alike.
    """
    starts = ostium_distance(branches)
    walls = [PlaqueBranch(b.arc_mm + start, b.radius_mm) for b, start in zip(branches, starts, strict=True)]
    count = int(rng.integers(difficulty.plaques[0], difficulty.plaques[1] + 1))
    plaques = draw_plaques(
        rng, walls, preset="clinical", count=count, calcified_share=0.6, calcified_hu=(400, 1300), soft_hu=(30, 110)
    )
    result = []
    for plaque in plaques:
        deepest = 0.45 + 0.5 * plaque.sector_deg / 360  # a narrow sector stays shallow: a crescent, not a slot
        root = branches[plaque.branch].parent < 0
        first = OSTIUM_MM + 1 + plaque.length_mm / 2 if root else 0.0  # not in the wall of the aorta
        plaque = replace(plaque, depth=min(plaque.depth, deepest), arc_mm=max(plaque.arc_mm, first))
        while plaque.diameter_stenosis_percent > difficulty.max_stenosis_percent:
            plaque = replace(plaque, depth=plaque.depth * 0.95)
        result.append(plaque)
    return result


def render_ccta(
    heart: Heart,
    thorax: Thorax,
    tree: CoronaryTree,
    plaques: Sequence[Plaque],
    protocol: Protocol,
    grid: ScanGrid,
    rng: np.random.Generator,
) -> Scan:
    """Render one anatomy as a CCTA scan.

    Args:
        heart: chambers and great vessels.
        thorax: the chest around them.
        tree: coronary arteries and veins.
        plaques: plaques on the arteries.
        protocol: quality of the scan.
        grid: voxels of the scan.
        rng: source of textures and noise.
    """
    canvas = Canvas(grid, 50.0)
    tissues = Tissues(CONTRAST, rng, {"aorta": protocol.aorta_hu})
    paint_anatomy(canvas, heart, thorax, (*tree.branches, *tree.veins), tissues)
    paint_coronaries(canvas.image, grid, tree, plaques, protocol, rng)
    branches = coronary_labels(tree.branches, plaques, grid, heart)
    vein_voxels = lumen_truth(tree.veins, (), grid)[0] if tree.veins else np.zeros(0, np.int64)
    canvas.labels.reshape(-1)[vein_voxels] = HEART_LABELS["coronary_veins"]
    canvas.labels[branches > 0] = 0
    centerlines = _displace((canvas.image, branches, canvas.labels), tree.branches, grid, protocol)
    blur(canvas.image, grid, protocol.psf_mm)
    spacing = grid.spacing.tolist()
    canvas.image += correlated_noise(grid.shape, spacing, protocol.noise_hu, rng, fwhm_mm=protocol.psf_mm)
    label = (branches > 0).astype(np.uint8)
    tissue_hu = {name: tissues.hu(name) for name in _RECORDED_TISSUES}
    return Scan(stored_hu(canvas.image), label, branches, canvas.labels, centerlines, tissue_hu)


def paint_coronaries(
    image: NDArray[np.float32],
    grid: ScanGrid,
    tree: CoronaryTree,
    plaques: Sequence[Plaque],
    protocol: Protocol,
    rng: np.random.Generator,
) -> None:
    """Paint veins, then arteries with walls and plaques into an image in HU, in place."""
    flat = image.reshape(-1)
    vein_hu = 70 + protocol.vein_contrast * (protocol.aorta_hu - 70)
    values = [np.full(len(v.points), vein_hu) for v in tree.veins]
    arteries = [
        60 + (protocol.aorta_hu - 60) * np.exp(-protocol.fall_per_cm * (b.arc_mm + start) / 10)
        for b, start in zip(tree.branches, ostium_distance(tree.branches), strict=True)
    ]
    direction = rng.normal(size=3)
    direction *= protocol.motion_mm / np.linalg.norm(direction)
    motion = [direction * _MOTION_SHARE.get(b.label, 0.35) for b in tree.branches]
    for vessels, own, hu, path in ((tree.veins, (), values, None), (tree.branches, plaques, arteries, motion)):
        if vessels:
            part = render_vessels(vessels, own, grid, hu, 45.0, rng, path)
            flat[part.flat] += (part.cover * (part.hu - flat[part.flat])).astype(np.float32)


def coronary_labels(
    branches: Sequence[Branch], plaques: Sequence[Plaque], grid: ScanGrid, heart: Heart | None
) -> NDArray[np.uint8]:
    """Return the branch id of every lumen voxel; the blood of the aorta, where a heart is given, is left out."""
    flat, ids, position = lumen_truth(branches, plaques, grid)
    if heart is not None:
        outside = heart.aorta(heart.to_heart(position).astype(np.float32)) >= 0
        flat, ids = flat[outside], ids[outside]
    result = np.zeros(grid.shape, np.uint8)
    result.reshape(-1)[flat] = ids
    return result


def blur(image: NDArray[np.float32], grid: ScanGrid, fwhm_mm: float) -> None:
    """Blur an image with a Gaussian point spread function, in place."""
    for axis, spacing in enumerate(grid.spacing):
        gaussian_filter1d(image, fwhm_mm / 2.355 / spacing, axis=axis, output=image, mode="nearest", truncate=3.0)


def stored_hu(image: NDArray[np.float32]) -> NDArray[np.int16]:
    """Return an image in HU as scanners store it: whole numbers from -1024 to 3071; ``image`` is overwritten."""
    np.clip(image, -1024, 3071, out=image)
    return np.rint(image, out=image).astype(np.int16)


def _displace(
    volumes: Sequence[NDArray[Any]], branches: Sequence[Branch], grid: ScanGrid, protocol: Protocol
) -> tuple[Branch, ...]:
    """Displace slabs by whole voxels in all volumes and in the centerlines (step artefact of gated scans)."""
    axis = int(np.argmax(np.abs(grid.affine[2, :3])))
    others = [k for k in range(3) if k != axis]
    points = [grid.to_index(b.points) for b in branches]
    heights = [round(s[0] * grid.shape[axis]) for s in protocol.steps] + [grid.shape[axis]]
    for (_, *moves), low, high in zip(protocol.steps, heights[:-1], heights[1:], strict=True):
        offset = np.zeros(3)
        offset[others] = [round(move / grid.spacing[k]) for move, k in zip(moves, others, strict=True)]
        slab = tuple(slice(low, high) if k == axis else slice(None) for k in range(3))
        for volume in volumes:
            volume[slab] = shift(volume[slab], offset, order=0, mode="nearest")
        for p in points:
            p[(p[:, axis] >= low - 0.5) & (p[:, axis] < high - 0.5)] += offset
    return tuple(replace(b, points=grid.to_patient(p)) for b, p in zip(branches, points, strict=True))
