"""The centerline tree of a vessel mask."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial import KDTree

from ..checks import check_same_shape
from ..components import foreground_box
from ..grids import spacing_mm
from ..skeleton import skeletonize
from ..voxels import Voxels
from .branch import Branch
from .bridging import bridge_gaps
from .centring import centred
from .cycles import break_cycles
from .depth import Depth, to_mm
from .pruning import drop_pieces, prune_spurs
from .refining import refine_coarse_axes
from .rooting import Vessel, find_roots, grow
from .smoothing import arc_length, resample, smooth
from .voxel_graph import components, contract_junctions, trace_chains

OTHER = 14
"""Label of branches whose name is not known, see ``BRANCH_LABELS``."""

SMOOTHING_MM = 1.0
"""Standard deviation of the Gaussian along a branch: arteries turn within several mm, stairs of voxels within one."""

LEAST_SPUR = 2.0
"""Side branches have to be longer than this many of the longest voxel edges as well: thick slices make stairs."""


def extract_centerline(
    mask: NDArray[np.bool_],
    affine: ArrayLike,
    aorta: NDArray[np.bool_] | None = None,
    *,
    step_mm: float = 0.5,
    max_gap_mm: float = 3.0,
    min_spur_mm: float = 3.0,
    min_piece_mm: float = 5.0,
) -> list[Branch]:
    """Extract the centerline tree of a vessel mask.

    Guarded thinning on the bounding box, chains of voxels between ends and junctions, spurs pruned, cycles opened at
    their thinnest chain, gaps bridged, small pieces dropped, roots found; then every vessel is smoothed, resampled and
    given its radius. At a branching the child whose direction and radius agree best with the parent continues it.

    Each connected part is a tree of its own. Its root is the end nearest the aorta, or without an aorta its thickest
    end. Two ostia in one part (trees that touch; LAD and LCx without a left main) are told apart only with an aorta,
    which both ends have to touch; the part is then divided where it is thinnest on the way between them.

    Args:
        mask: vessels, ``(X, Y, Z)``.
        affine: voxel index to RAS mm, ``(4, 4)``; any spacing, flip and obliqueness.
        aorta: mask of the aorta on the same grid; an empty one counts as none.
        step_mm: distance of the points.
        max_gap_mm: largest gap that is bridged, between surfaces; both ends have to point across it.
        min_spur_mm: side branches end at least this far from their junction, and farther than the diameter of the
            vessel that they leave and two voxels.
        min_piece_mm: connected parts with less length go. What thins to one voxel has no direction and goes, too.

    Returns:
        Branches in RAS mm, parents first; a child begins with a point of its parent. The radius is the distance to the
        mask's border (:class:`Depth`). No branch for an empty mask.

    Raises:
        ValueError: If the mask is not 3-D, the aorta has another shape, the affine is no invertible ``(4, 4)`` matrix
            or a length is out of range.
    """
    mask = np.asarray(mask, dtype=bool)
    matrix = _checked(mask, affine, aorta)
    _check_lengths(step_mm, max_gap_mm=max_gap_mm, min_spur_mm=min_spur_mm, min_piece_mm=min_piece_mm)
    box = foreground_box(mask)
    if box is None:
        return []
    least_spur_mm = max(min_spur_mm, LEAST_SPUR * float(spacing_mm(matrix).max()))
    entrance = None if aorta is None else _surface(np.asarray(aorta, dtype=bool), matrix)
    fine, matrix = refine_coarse_axes(mask[box], _shifted(matrix, box))
    voxels = Voxels(fine)
    depth = Depth(fine, voxels, matrix)
    chains = trace_chains(voxels.subset(skeletonize(fine)), matrix, depth)
    chains = contract_junctions(prune_spurs(chains, least_spur_mm))
    ostia = [find_roots(part, entrance) for part in components(chains)]
    chains = prune_spurs(break_cycles(chains, ostia), least_spur_mm)
    chains = drop_pieces(bridge_gaps(chains, max_gap_mm), min_piece_mm)
    vessels: list[Vessel] = []
    for part in components(chains):
        vessels += grow(part, find_roots(part, entrance)[0], len(vessels))
    return _branches(vessels, to_mm(voxels.index(voxels.places), matrix), depth, step_mm)


def _checked(mask: NDArray[np.bool_], affine: ArrayLike, aorta: NDArray[np.bool_] | None) -> NDArray[np.float64]:
    """Return the affine as a matrix after all arguments have been looked at."""
    if mask.ndim != 3:
        raise ValueError(f"mask must have three axes (X, Y, Z), got the shape {mask.shape}: take off channel and batch")
    if aorta is not None:
        check_same_shape(mask=mask, aorta=np.asarray(aorta))
    matrix = np.asarray(affine, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"affine must be a (4, 4) matrix from voxel index to RAS mm, got the shape {matrix.shape}")
    if not np.isfinite(matrix).all() or abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise ValueError(
            f"affine must be finite and invertible, got {matrix.tolist()}: read it from the image that the mask lies on"
        )
    return matrix


def _check_lengths(step_mm: float, **others: float) -> None:
    """Raise a ``ValueError`` unless the step is positive and the other lengths are not negative."""
    if not step_mm > 0:
        raise ValueError(f"step_mm must be positive, got {step_mm}; 0.5 is usual")
    for name, length in others.items():
        if not length >= 0:
            raise ValueError(f"{name} must be 0 or more, got {length}")


def _surface(aorta: NDArray[np.bool_], affine: NDArray[np.float64]) -> KDTree | None:
    """Return the surface voxels of the aorta in RAS mm, None if it is empty."""
    box = foreground_box(aorta)
    if box is None:
        return None
    voxels = Voxels(aorta[box])
    return KDTree(to_mm(voxels.index(voxels.surface()), _shifted(affine, box)), leafsize=32)


def _shifted(affine: NDArray[np.float64], box: Sequence[slice]) -> NDArray[np.float64]:
    """Return the affine of a box cut out of a volume."""
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    return shifted


def _branches(
    vessels: Sequence[Vessel], mask_points: NDArray[np.float64], depth: Depth, step_mm: float
) -> list[Branch]:
    """Smooth, centre and resample vessels and measure their radii."""
    if not vessels:
        return []
    sigma = 2 * SMOOTHING_MM / step_mm  # lines have twice the wanted density until the end
    rough = [smooth(resample(vessel.chain.points, step_mm / 2), sigma) for vessel in vessels]
    result: list[Branch] = []
    for vessel, line in zip(vessels, centred(rough, mask_points, sigma), strict=True):
        parent_point = -1
        if vessel.parent >= 0:
            trunk = result[vessel.parent].points
            arc = arc_length(vessels[vessel.parent].chain.points)
            parent_point = round(arc[vessel.parent_point] / arc[-1] * (len(trunk) - 1))
            line[0] = trunk[parent_point]
        points = resample(smooth(line, sigma / 2), step_mm)
        points[0] = line[0]
        result.append(Branch(points, depth.along(points), OTHER, vessel.parent, parent_point))
    return result
