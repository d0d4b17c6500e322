"""What an angiogram shows behind the vessels: lungs, heart, diaphragm, spine and ribs, as the rays pass the person."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift

from ..anatomy import Anatomy
from ..shapes import Ellipsoid
from .carm import CArm
from .quality import Exposure
from .rays import Tubes, ray_sums

Image = NDArray[np.float32]

WATER_PER_MM = 0.019
"""Attenuation of soft tissue at the tube voltages of angiography; lung has a fourth, spongy bone about the double."""

_LUNG, _BONE = 0.3, 1.9
_GRID = 112  # rays across for large structures; their edges are soft anyway
_MARGIN = 1.25  # these rays reach beyond the frame, so that what moves comes from somewhere
_STEP_MM = 8.0  # along the rays
_DEPTHS_MM = np.arange(-148.0, 149.0, _STEP_MM)


@dataclass(frozen=True)
class Background:
    """Attenuation of the body along the rays, split by what moves together.

    ``still``, ``heart`` and ``abdomen`` are coarse, ``(112, 112)``, and reach beyond the frame; the others ``(H, W)``.

    Attributes:
        still: chest wall, spine and all that neither beats nor breathes.
        heart: excess of the heart over the lung that it displaces.
        abdomen: excess of everything below the diaphragm over lung.
        fine: ribs, lung vessels and texture of the frame's own resolution.
        silhouette: where the heart is, in [0, 1].
    """

    still: Image
    heart: Image
    abdomen: Image
    fine: Image
    silhouette: Image

    def attenuation(self, heart_px: NDArray[np.float64], breath_px: NDArray[np.float64]) -> Image:
        """Return the attenuation of one frame, ``(H, W)``.

        Args:
            heart_px: displacement of the heart, (column, row).
            breath_px: displacement of the diaphragm, (column, row).
        """
        rows, columns = self.fine.shape
        step = _MARGIN * max(self.fine.shape) / _GRID
        moved = self.still + shift(self.heart, heart_px[::-1] / step, order=1, mode="nearest")
        moved = moved + shift(self.abdomen, breath_px[::-1] / step, order=1, mode="nearest")
        fine = shift(self.fine, np.rint(breath_px[::-1] / 2), order=0, mode="reflect")
        return np.asarray(enlarged(moved, (rows, columns)) + fine, np.float32)


def enlarged(coarse: Image, shape: tuple[int, int]) -> Image:
    """Return the part of a coarse image that a frame shows, interpolated by cubic B-splines (which smooth a little)."""
    rows, columns = (_spline_matrix(count, max(shape)) for count in shape)
    return np.asarray(rows @ coarse @ columns.T, np.float32)


def paint_background(anatomy: Anatomy, carm: CArm, exposure: Exposure, rng: np.random.Generator) -> Background:
    """Return what lies behind the vessels.

    Args:
        anatomy: the person.
        carm: source and detector.
        exposure: how strong texture and ribs are, and how high the diaphragm stands.
        rng: source of the texture.
    """
    step_px = _MARGIN * max(carm.shape) / _GRID
    places = (np.arange(_GRID) - (_GRID - 1) / 2) * step_px * carm.pixel_at_isocentre_mm
    cone = 1 + _DEPTHS_MM / carm.source_isocentre_mm
    v, u, w = np.meshgrid(places, places, _DEPTHS_MM, indexing="ij")
    camera = np.stack([u * cone, v * cone, w + carm.source_isocentre_mm], axis=-1).reshape(-1, 3)
    points = carm.to_patient(camera).astype(np.float32)
    shape = (_GRID, _GRID, len(_DEPTHS_MM))
    cage, abdomen, heart, middle, bone = (share.reshape(shape) for share in _solids(anatomy, points, exposure.dome_mm))
    body = _share(anatomy.thorax.cage(points) - 28).reshape(shape)
    lung = cage * (1 - abdomen) * (1 - middle) * (1 - heart)
    full = WATER_PER_MM * _STEP_MM
    still = (body * (1 - cage) + cage * (_LUNG + (1 - _LUNG) * middle) + bone * (_BONE - 1)).sum(axis=2) * full
    extra = (1 - _LUNG) * full
    silhouette = np.clip((heart * cage).sum(axis=2) * _STEP_MM / 60, 0, 1)
    fine = exposure.ribs * _ribs(anatomy, carm) + _lung_vessels(anatomy, carm, lung)
    return Background(
        still.astype(np.float32),
        ((cage * heart * (1 - middle) * (1 - abdomen)).sum(axis=2) * extra).astype(np.float32),
        ((cage * abdomen * (1 - middle)).sum(axis=2) * extra).astype(np.float32),
        fine + _texture(carm, exposure.texture, rng),
        enlarged(gaussian_filter(silhouette, 3).astype(np.float32), carm.shape),
    )


def _solids(anatomy: Anatomy, points: Image, dome_mm: float) -> list[Image]:
    """Return how far points lie in the rib cage, the abdomen, the heart, the mediastinum and bone, in [0, 1]."""
    heart, thorax = anatomy.heart, anatomy.thorax
    cage = thorax.cage(points)
    inside = np.flatnonzero(cage < 4)
    local = heart.to_heart(points[inside]).astype(np.float32)
    pericardium = np.full(len(points), 50, np.float32)
    pericardium[inside] = heart.pericardium(local)
    middle = thorax.mediastinum(points, np.maximum(pericardium, 12))
    bones = thorax.vertebrae(points)["bone"]
    below = thorax.abdomen(points)
    for side, lift_mm in ((55, 8), (-55, 0)):  # right and left dome; round, so that it has an edge in every view
        top = thorax.center_mm + np.array([side, 5, dome_mm + lift_mm - thorax.dome_mm])
        semi = (75.0, 68.0, 60.0)
        center = (float(top[0]), float(top[1]), float(top[2]) - semi[2])
        below = np.minimum(below, Ellipsoid(center, semi).distance(points))
    return [_share(d) for d in (cage, below, pericardium, middle, np.minimum(bones, thorax.sternum(points)))]


def _share(distance: Image) -> Image:
    """Return how much of a sample's surroundings lies inside, from its signed distance."""
    return np.asarray(np.clip(0.5 - distance / _STEP_MM, 0, 1), np.float32)


def _ribs(anatomy: Anatomy, carm: CArm) -> Image:
    """Return the attenuation of the ribs: cortical shells around marrow, edges softened."""
    outer, inner = [], []
    for rib in anatomy.thorax.ribs:
        fine = np.linspace(0, len(rib.points) - 1, 5 * len(rib.points))
        points = np.stack([np.interp(fine, np.arange(len(rib.points)), rib.points[:, k]) for k in range(3)], axis=1)
        outer.append(Tubes.along(points, rib.radii_mm[0]))
        inner.append(Tubes.along(points, rib.radii_mm[0] - 1.0))
    whole, marrow = (ray_sums(Tubes.joined(parts), carm).path_mm for parts in (outer, inner))
    path = 1.6 * (whole - marrow) + 0.3 * marrow
    return np.asarray(gaussian_filter(WATER_PER_MM * path, 0.004 * max(carm.shape)), np.float32)


def _lung_vessels(anatomy: Anatomy, carm: CArm, lung: Image) -> Image:
    """Return the attenuation of the vessels of both lungs, faint where the ray meets little lung."""
    tubes = Tubes.joined([Tubes.along(v.points, v.radii_mm) for v in anatomy.thorax.lung_vessels])
    air = enlarged(np.clip(lung.sum(axis=2) * _STEP_MM / 60, 0, 1), carm.shape)
    path = gaussian_filter(ray_sums(tubes, carm).path_mm, 0.003 * max(carm.shape))
    return np.asarray(WATER_PER_MM * (1 - _LUNG) * path * air, np.float32)


def _texture(carm: CArm, size: float, rng: np.random.Generator) -> Image:
    """Return small structures of several sizes, as soft tissue shows them."""
    result = np.zeros(carm.shape, np.float32)
    for sigma, share in ((0.006, 0.4), (0.016, 0.7), (0.05, 1.2)):
        noise = gaussian_filter(rng.standard_normal(carm.shape, np.float32), sigma * max(carm.shape), truncate=3)
        result += share * noise / noise.std()
    return np.asarray(size * result, np.float32)


def _spline_matrix(count: int, longest: int) -> Image:
    """Return the weights by which ``count`` pixels of a frame are made of the coarse samples, ``(count, 112)``."""
    step = _MARGIN * longest / _GRID
    at = (np.arange(count) - (count - 1) / 2) / step + (_GRID - 1) / 2
    away = np.abs(at[:, None] - np.arange(_GRID)[None])
    near = 2 / 3 - away**2 + away**3 / 2
    return np.asarray(np.where(away < 1, near, np.clip(2 - away, 0, None) ** 3 / 6), np.float32)
