"""Non-contrast CT (NCCT) of a phantom: blood and muscle nearly alike, vessels seen by the fat around them, calcium.

The anatomy is painted on thin slices; thick slices average them; each of these is scanned: projections, photon
noise, filtered back-projection and blur of the SynCAS data engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..calcium import CalciumScore, agatston_score
from ..plaque import Plaque
from ..tomography.scan import simulate_scan
from .anatomy import Anatomy
from .canvas import Canvas
from .ccta import stored_hu
from .chest import paint_anatomy
from .heart import HEART_LABELS
from .slabs import Slabs, slab_labels
from .tissues import NATIVE, Tissues
from .vessels import VesselImage, render_vessels

IN_PLANE_MM = (0.33, 0.42)
SLICE_MM = (3.0,)
"""Voxels of a scan, as calcium scoring takes them."""

PHOTONS = {"easy": (35_000.0, 140_000.0), "default": (6_000.0, 35_000.0), "hard": (2_000.0, 6_000.0)}
"""Photons of the brightest ray, by difficulty.

They leave 4 to 8, 8 to 20 and 20 to 33 HU of noise in the middle of the heart (``1500 / sqrt(photons)`` HU for a field
of view of 150 mm); real calcium scans have about 20 HU. The SynCAS data engine draws 10,000 to 100,000.
"""

_SLICE_SPREAD = 0.15  # tube current follows the body: relative standard deviation of the photons among slices
_NOISE_FREE = 1e15  # photons
_BLOOMING_MM = 3.0  # farther away an image shows nothing of a plaque


@dataclass(frozen=True)
class Exposure:
    """How one view of a phantom was taken.

    Attributes:
        photons: photons of the brightest ray of every slice.
        tissue_hu: mean values of the tissues.
    """

    photons: tuple[float, ...]
    tissue_hu: dict[str, float]


@dataclass(frozen=True)
class Truth:
    """What all views of a phantom share, on the voxels of the scan.

    Attributes:
        label: uint8, 1 in the coronary lumen.
        branches: uint8, ids of ImageCAS-X.
        heart: uint8, see ``HEART_LABELS``.
        calcium: uint8, 1 in the voxels that each calcified plaque fills most, as many as its volume has, at least one.
            (Few plaques fill half of a voxel of 3 mm.)
        blooming: uint8, branch ids around all calcium, where an image may show it.
        plaque_mm3: volume of every plaque inside the scan; 0 for soft ones.
    """

    label: NDArray[np.uint8]
    branches: NDArray[np.uint8]
    heart: NDArray[np.uint8]
    calcium: NDArray[np.uint8]
    blooming: NDArray[np.uint8]
    plaque_mm3: tuple[float, ...]


def draw_exposure(slices: int, difficulty: str, rng: np.random.Generator) -> Exposure:
    """Draw dose and tissue values of one view; the dose varies a little among slices."""
    low, high = PHOTONS[difficulty]
    dose = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    photons = dose * np.exp(rng.normal(0, _SLICE_SPREAD, slices))
    tissues = Tissues(NATIVE, rng, {})
    return Exposure(tuple(np.round(photons, 1).tolist()), {name: tissues.hu(name) for name in NATIVE})


def render_tissue(
    anatomy: Anatomy,
    plaques: Sequence[Plaque],
    tissue_hu: Mapping[str, float],
    slabs: Slabs,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8], VesselImage]:
    """Render one anatomy without noise and blur.

    Args:
        anatomy: heart, chest and vessels.
        plaques: plaques on the arteries.
        tissue_hu: mean values of the tissues.
        slabs: slices of the scan.
        rng: source of textures; views of one anatomy begin with the same state.

    Returns:
        HU of the thick slices; labels of the heart, in which the arteries are not yet left out; arteries on the thin
        slices.
    """
    tree = anatomy.tree
    canvas = Canvas(slabs.thin, tissue_hu["myocardium"])
    tissues = Tissues(NATIVE, rng, tissue_hu)
    paint_anatomy(canvas, anatomy.heart, anatomy.thorax, (*tree.branches, *tree.veins), tissues)
    flat = canvas.image.reshape(-1)
    wall_hu = tissue_hu["coronary_wall"]
    vessels = [(tree.veins, (), "coronary_veins"), (tree.branches, plaques, "coronary_lumen")]
    for branches, own, name in vessels:
        lumen_hu = [np.full(len(b.points), tissue_hu[name]) for b in branches]
        part = render_vessels(branches, own, slabs.thin, lumen_hu, wall_hu, rng)
        flat[part.flat] += (part.cover * (part.hu - flat[part.flat])).astype(np.float32)
    return slabs.mean(canvas.image), slabs.middle(canvas.labels), part


def slab_truth(
    anatomy: Anatomy, plaques: Sequence[Plaque], heart: NDArray[np.uint8], arteries: VesselImage, slabs: Slabs
) -> Truth:
    """Return the truth about a phantom; arguments as :func:`render_tissue` takes and gives them."""
    tree = anatomy.tree
    branches = slab_labels(tree.branches, plaques, slabs, anatomy.heart)
    veins = slab_labels(tree.veins, (), slabs)
    heart = np.where(veins > 0, np.uint8(HEART_LABELS["coronary_veins"]), heart)
    heart[branches > 0] = 0
    calcium, blooming, plaque_mm3 = _calcium_truth(anatomy, plaques, arteries, slabs)
    return Truth((branches > 0).astype(np.uint8), branches, heart, calcium, blooming, plaque_mm3)


def scan_slices(
    tissue: NDArray[np.float32],
    slabs: Slabs,
    photons: Sequence[float],
    rngs: Sequence[np.random.Generator],
) -> NDArray[np.int16]:
    """Scan thick slices, each with its own number of photons and source of noise; return stored HU."""
    image = _scan(np.moveaxis(tissue, slabs.axis, -1), slabs, photons, rngs)
    return np.ascontiguousarray(np.moveaxis(image, -1, slabs.axis))


def calcium_scores(
    image: NDArray[np.int16], tissue: NDArray[np.float32], truth: Truth, slabs: Slabs
) -> dict[str, CalciumScore]:
    """Return the calcium scores of a scan, and of the same scan without noise, which are the truth about it.

    Args:
        image: the scan.
        tissue: what was scanned, from :func:`render_tissue`.
        truth: where the calcium is.
        slabs: slices of the scan.
    """
    vessels = np.moveaxis(truth.blooming, slabs.axis, -1)
    bright = np.flatnonzero(vessels.any(axis=(0, 1)))
    vessels, noisy = vessels[..., bright], np.moveaxis(image, slabs.axis, -1)[..., bright]
    if not len(bright):
        clear = noisy
    else:
        rngs = [np.random.default_rng(0) for _ in bright]
        clear = _scan(np.moveaxis(tissue, slabs.axis, -1)[..., bright], slabs, [_NOISE_FREE] * len(bright), rngs)
    spacing = [*np.delete(slabs.grid.spacing, slabs.axis).tolist(), slabs.thickness_mm]
    return {
        "noise_free": agatston_score(clear, vessels, spacing, vessels),
        "view_0": agatston_score(noisy, vessels, spacing, vessels),
    }


def _scan(
    slices: NDArray[np.float32], slabs: Slabs, photons: Sequence[float], rngs: Sequence[np.random.Generator]
) -> NDArray[np.int16]:
    """Scan slices that lie along the last axis."""
    pixel_mm = float(np.delete(slabs.grid.spacing, slabs.axis)[0])
    return stored_hu(simulate_scan(slices, pixel_mm, np.asarray(photons), rngs))


def _calcium_truth(
    anatomy: Anatomy, plaques: Sequence[Plaque], arteries: VesselImage, slabs: Slabs
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], tuple[float, ...]]:
    """Return label, surroundings and volumes of the calcium."""
    at = np.flatnonzero(arteries.calcium > 0)
    share, owner = arteries.calcium[at], arteries.plaque[at]
    volume_mm3 = np.bincount(owner, share, minlength=len(plaques)) * np.prod(slabs.thin.spacing)
    found, entry = np.unique(slabs.voxel_of(arteries.flat[at]), return_inverse=True)
    filled = np.zeros((len(plaques), len(found)))
    np.add.at(filled, (owner, entry), share / slabs.count)
    marked = np.zeros(len(found), bool)
    for row in filled[filled.any(axis=1)]:
        marked[np.argsort(-row, kind="stable")[: max(round(row.sum()), 1)]] = True
    calcium = np.zeros(slabs.grid.shape, np.uint8)
    calcium.reshape(-1)[found[marked]] = 1
    labels = np.array([anatomy.tree.branches[p.branch].label for p in plaques], np.uint8)
    blooming = np.zeros(slabs.grid.shape, np.uint8)
    if len(found):
        _stamp(blooming, found, labels[filled.argmax(axis=0)], slabs)
    return calcium, blooming, tuple(np.round(volume_mm3, 3).tolist())


def _stamp(volume: NDArray[np.uint8], flat: NDArray[np.int64], ids: NDArray[np.uint8], slabs: Slabs) -> None:
    """Write ids on discs around voxels, within their slices; where discs meet, the nearest centre decides."""
    pixel = [float(v) for v in np.delete(slabs.grid.spacing, slabs.axis)]
    reach = [int(_BLOOMING_MM / v) for v in pixel]
    first, second = (np.arange(-r, r + 1) for r in reach)
    disc = np.stack(np.meshgrid(first, second, indexing="ij"), axis=-1).reshape(-1, 2)
    distance_mm = np.linalg.norm(disc * pixel, axis=1)
    shape = np.array(volume.shape)
    center = np.stack(np.unravel_index(flat, volume.shape), axis=1)
    outside_in = np.argsort(-distance_mm, kind="stable")
    for step in disc[outside_in[distance_mm[outside_in] <= _BLOOMING_MM]]:
        index = center + np.insert(step, slabs.axis, 0)
        inside = ((index >= 0) & (index < shape)).all(axis=1)
        volume[tuple(index[inside].T)] = ids[inside]
