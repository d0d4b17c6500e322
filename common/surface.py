"""Distances between the surfaces of two masks in mm, and the metrics that they give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

from .voxels import Voxels

ROUNDING = 1e-6  # relative; without it a tolerance that is a multiple of the spacing is decided by the last bit


class SurfaceDistances(NamedTuple):
    """Distance of each surface voxel to the nearest surface voxel of the other mask, in mm.

    Attributes:
        to_label: from the prediction's surface, ``(n,)``.
        to_prediction: from the label's surface, ``(m,)``.
    """

    to_label: NDArray[np.float64]
    to_prediction: NDArray[np.float64]


def surface_distances(prediction: Voxels, label: Voxels, spacing: Sequence[float]) -> SurfaceDistances:
    """Measure once what all surface metrics need.

    A surface voxel has a face in common with the background or with the outside of the array; distances are between
    voxel centres, as in MONAI.

    Args:
        prediction: voxels of a mask, at least one.
        label: voxels of the reference mask, at least one.
        spacing: mm per voxel along each axis.
    """
    ours, theirs = (voxels.points_mm(voxels.surface(), spacing) for voxels in (prediction, label))
    return SurfaceDistances(to_label=_nearest_mm(ours, theirs), to_prediction=_nearest_mm(theirs, ours))


def hd95_mm(distances: SurfaceDistances) -> float:
    """Return the larger of the two directed 95th percentiles.

    This is MONAI's ``HausdorffDistanceMetric(percentile=95)`` and what ImageCAS-X reports; the percentile of both
    directions pooled, which some tools report, is smaller where one mask has an extra part.
    """
    return float(max(np.percentile(distances.to_label, 95), np.percentile(distances.to_prediction, 95)))


def assd_mm(distances: SurfaceDistances) -> float:
    """Return the mean over the surface voxels of both masks, MONAI's ``SurfaceDistanceMetric(symmetric=True)``."""
    return float(np.concatenate(distances).mean())


def nsd(distances: SurfaceDistances, tolerance_mm: float) -> float:
    """Return the share of the surface voxels of both masks that lie within a tolerance of the other surface.

    MONAI's ``SurfaceDiceMetric``, with a millionth added to the tolerance so that a distance equal to it counts
    whatever the rounding.
    """
    return float((np.concatenate(distances) <= tolerance_mm * (1 + ROUNDING)).mean())


def _nearest_mm(points: NDArray[np.float64], others: NDArray[np.float64]) -> NDArray[np.float64]:
    distances, _ = KDTree(others, leafsize=32).query(points)
    return np.asarray(distances)
