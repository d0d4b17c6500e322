"""A real CT as background: a drawn coronary tree is fitted to the heart in it and painted over it.

The scan's own arteries stay in the image without a label, so the result suits pre-training and plausibility checks, not
evaluation. It works best on scans in which the own arteries are too coarse to be seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError
from numpy.typing import NDArray
from scipy.ndimage import affine_transform, distance_transform_edt, gaussian_filter, map_coordinates

from ..centerline.branch import Branch
from ..plaque import Plaque
from .canvas import ScanGrid
from .ccta import Protocol, Scan, blur, coronary_labels, paint_coronaries, stored_hu
from .courses import lay_on
from .heart import HEART_LABELS, Heart
from .shapes import Array
from .tree import CoronaryTree
from .vessels import lumen_truth

_MARGIN_MM = 15.0
_FAT_HU, _FAT_MM = -85.0, 1.5  # the coat of fat that makes a painted vessel stand out as real ones do
_SURFACE_STEP_MM = 2.0
_BLOOD_HU = (150.0, 700.0)


@dataclass(frozen=True)
class Background:
    """A CT volume with the heart in it, on one grid.

    Attributes:
        image: float32 HU.
        heart: boolean mask of the whole heart.
        grid: voxels of both.
    """

    image: NDArray[np.float32]
    heart: NDArray[np.bool_]
    grid: ScanGrid


def read_background(image: str | Path, heart_mask: str | Path, spacing: Sequence[float] | None = None) -> Background:
    """Read a CT and a mask of the heart in it.

    Args:
        image: NIfTI file in HU.
        heart_mask: NIfTI file, nonzero in the heart; its grid may differ from the image's.
        spacing: mm per voxel to resample to, within a box around the heart; None keeps the voxels of the image.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file cannot be read, is no volume, or the heart does not lie in the image.
    """
    volume, affine = _read(image, "background")
    mask, mask_affine = _read(heart_mask, "heart_mask")
    inside = np.argwhere(mask > 0)
    if not len(inside):
        raise ValueError(f"heart_mask {str(heart_mask)!r} is empty: it must be nonzero in the heart")
    grid = ScanGrid(volume.shape, affine)
    corners = grid.to_index(ScanGrid(mask.shape, mask_affine).to_patient(inside.astype(np.float64)))
    share = ((corners >= -0.5) & (corners <= np.array(volume.shape) - 0.5)).all(axis=1).mean()
    if share < 0.5:
        raise ValueError(
            f"only {share:.0%} of heart_mask {str(heart_mask)!r} lies in background {str(image)!r}: "
            "are the two of one patient, with intact affine matrices?"
        )
    if spacing is not None:
        edges = np.asarray(spacing, np.float64)
        margin = _MARGIN_MM / grid.spacing
        low = np.maximum(corners.min(axis=0) - margin, 0)
        high = np.minimum(corners.max(axis=0) + margin, np.array(volume.shape) - 1)
        shape = np.floor((high - low) * grid.spacing / edges).astype(int) + 1
        target = np.eye(4)
        target[:3, :3] = affine[:3, :3] / grid.spacing * edges
        target[:3, 3] = grid.to_patient(low[None])[0]
        grid = ScanGrid((int(shape[0]), int(shape[1]), int(shape[2])), target)
        volume = _resample(volume, affine, grid)
    return Background(volume, _resample((mask > 0).astype(np.float32), mask_affine, grid) > 0.5, grid)


def fit_tree(tree: CoronaryTree, heart: Heart, background: Background) -> CoronaryTree:
    """Scale a tree to the box of the heart in ``background`` and lay its arteries on the surface of that heart.

    Its veins are left out: those of the scan are there already.
    """
    own_low, own_high = _heart_box(heart)
    target = background.grid.to_patient(np.argwhere(background.heart).astype(np.float64))
    low, high = target.min(axis=0), target.max(axis=0)
    surface = _MaskSurface(background)

    def moved(branch: Branch) -> Branch:
        points = low + (branch.points - own_low) * (high - low) / (own_high - own_low)
        points = lay_on(surface, points, branch.radius_mm + _FAT_MM, rounds=12)
        points[1:-1] = _smooth(points)[1:-1]
        return replace(branch, points=points)

    branches = [moved(branch) for branch in tree.branches]
    for index, branch in enumerate(branches):  # children follow the point that they leave from
        if branch.parent >= 0:
            start = branches[branch.parent].points[branch.parent_point]
            weight = np.exp(-branch.arc_mm / 5)[:, None]
            branches[index] = replace(branch, points=branch.points + weight * (start - branch.points[0]))
    return replace(tree, branches=tuple(branches), veins=())


def render_on(
    background: Background,
    tree: CoronaryTree,
    plaques: Sequence[Plaque],
    protocol: Protocol,
    rng: np.random.Generator,
) -> Scan:
    """Paint a fitted tree into a real CT; blood is as bright as in that CT, noise and artefacts are its own.

    Args:
        background: the CT.
        tree: a tree from :func:`fit_tree`.
        plaques: plaques on its arteries.
        protocol: fall of contrast, blur and motion; the rest is not used.
        rng: source of textures.
    """
    grid = background.grid
    blood = background.image[background.heart & (background.image > _BLOOD_HU[0]) & (background.image < _BLOOD_HU[1])]
    if blood.size:
        protocol = replace(protocol, aorta_hu=float(np.percentile(blood, 75)))
    painted = background.image.copy()
    coats = [replace(v, radius_mm=v.radius_mm + _FAT_MM) for v in tree.branches]
    painted.reshape(-1)[lumen_truth(coats, (), grid)[0]] = _FAT_HU
    paint_coronaries(painted, grid, tree, plaques, protocol, rng)
    painted -= background.image
    blur(painted, grid, protocol.psf_mm)
    painted += background.image
    branches = coronary_labels(tree.branches, plaques, grid, None)
    labels = np.where(background.heart & (branches == 0), HEART_LABELS["heart"], 0).astype(np.uint8)
    tissue_hu = {"blood": protocol.aorta_hu}
    return Scan(stored_hu(painted), (branches > 0).astype(np.uint8), branches, labels, tree.branches, tissue_hu)


class _MaskSurface:
    """Signed distance to the surface of a mask, by interpolation, for points in RAS mm."""

    def __init__(self, background: Background) -> None:
        self.grid = background.grid
        self.steps = np.maximum(np.round(_SURFACE_STEP_MM / self.grid.spacing), 1).astype(int)
        x, y, z = self.steps
        heart = background.heart[::x, ::y, ::z]
        edges = self.grid.spacing * self.steps
        distance = distance_transform_edt(~heart, sampling=edges) - distance_transform_edt(heart, sampling=edges)
        self.distance = gaussian_filter(distance.astype(np.float32), (_SURFACE_STEP_MM / edges).tolist())

    def __call__(self, points: NDArray[np.float32]) -> Array:
        """Return signed distances of ``points``, ``(N, 3)`` RAS mm."""
        index = (self.grid.to_index(points) / self.steps).T
        return np.asarray(map_coordinates(self.distance, index, order=1, mode="nearest"), np.float32)


def _heart_box(heart: Heart) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return two corners of the box around the chambers, RAS mm."""
    axis = np.arange(-70.0, 101.0, 4.0)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    points = grid.astype(np.float32)
    chambers = grid[np.minimum(heart.ventricles(points), heart.atria(points)) < 0]
    patient = heart.to_patient(chambers)
    return patient.min(axis=0), patient.max(axis=0)


def _smooth(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return points smoothed along a curve."""
    return np.asarray(gaussian_filter(points, (3, 0), mode="nearest"))


def _read(path: str | Path, name: str) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Return voxels and affine of a NIfTI volume."""
    try:
        image = nibabel.load(path)
        voxels = np.asarray(image.dataobj, np.float32)  # type: ignore[attr-defined]
    except ImageFileError as error:
        raise ValueError(f"{name} must be a NIfTI file, got {str(path)!r}: {error}") from error
    if voxels.ndim != 3:
        raise ValueError(f"{name} must be a volume with three axes, got {str(path)!r} of shape {voxels.shape}")
    return voxels, np.asarray(image.affine, np.float64)  # type: ignore[attr-defined]


def _resample(volume: NDArray[np.float32], affine: NDArray[np.float64], grid: ScanGrid) -> NDArray[np.float32]:
    """Interpolate a volume linearly on another grid."""
    matrix = np.linalg.inv(affine) @ grid.affine
    return np.asarray(
        affine_transform(volume, matrix[:3, :3], matrix[:3, 3], output_shape=grid.shape, order=1, mode="nearest")
    )
