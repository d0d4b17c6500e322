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
from .depth import Depth, to_mm
from .refining import refine_coarse_axes
from .cycles import break_cycles
from .pruning import drop_pieces, prune_spurs
from .rooting import Vessel, find_roots, grow
from .smoothing import arc_length, interpolate, resample, smooth
from .voxel_graph import components, contract_junctions, trace_chains

UNKNOWN = 14  # "other" among the branch ids
SMOOTHING_MM = 1.0


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
    matrix = np.asarray(affine, dtype=np.float64)
    mask = np.asarray(mask, dtype=bool)
    box = foreground_box(mask)
    if box is None:
        return []
    least_mm = max(min_spur_mm, 3 * float(spacing_mm(matrix).max()))
    matrix = _shifted(matrix, box)
    fine, matrix = refine_coarse_axes(mask[box], matrix)
    voxels = Voxels(fine)
    depth = Depth(voxels, matrix)
    chains = trace_chains(voxels.subset(skeletonize(fine)), matrix, depth)
    tree = None if aorta is None else _surface(aorta, np.asarray(affine, float))
    chains = contract_junctions(prune_spurs(chains, least_mm))
    roots = [root for part in components(chains) for root in find_roots(part, tree)]
    chains = prune_spurs(break_cycles(chains, roots), least_mm)
    chains = drop_pieces(bridge_gaps(chains, max_gap_mm), min_piece_mm)
    branches: list[Branch] = []
    for part in components(chains):
        branches += _branches(grow(part, find_roots(part, tree)[0]), depth, step_mm, len(branches))
    return branches


def _surface(aorta, affine):
    box = foreground_box(aorta)
    if box is None:
        return None
    v = Voxels(aorta[box])
    return KDTree(to_mm(v.index(v.surface()), _shifted(affine, box)))


def _shifted(affine: NDArray[np.float64], box: Sequence[slice]) -> NDArray[np.float64]:
    """Return the affine of a box cut out of a volume."""
    shifted = affine.copy()
    shifted[:3, 3] += affine[:3, :3] @ [side.start for side in box]
    return shifted


def _branches(vessels: Sequence[Vessel], depth: Depth, step_mm: float, first: int) -> list[Branch]:
    result: list[Branch] = []
    arcs = []
    for vessel in vessels:
        raw = vessel.chain.points.copy()
        parent_point = -1
        if vessel.parent >= 0:
            parent = result[vessel.parent]
            share = arcs[vessel.parent][vessel.parent_point]
            parent_point = int(round(share * (len(parent.points) - 1)))
            raw[0] = parent.points[parent_point]
        arc = arc_length(raw)
        arcs.append(arc / arc[-1])
        fine = resample(raw, step_mm / 2)
        points = resample(smooth(fine, SMOOTHING_MM / (step_mm / 2)), step_mm)
        radius = depth(points)
        result.append(Branch(points, radius, UNKNOWN, first + vessel.parent if vessel.parent >= 0 else -1, parent_point))
    return result
