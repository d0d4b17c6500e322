"""Plaques in a voxel volume with a vessel mask: the drawn geometry of :mod:`.plaque` painted into a CT.

A phantom knows its tubes; a CT with a label does not. Here the label's skeleton takes their place, and every voxel of
the label gets its vessel coordinates from the nearest skeleton point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_erosion, find_objects, gaussian_filter, gaussian_filter1d
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components, dijkstra
from scipy.spatial import cKDTree

from .checks import check_same_shape
from .plaque import Branch, Plaque
from .skeleton import skeletonize

_AXIS_SMOOTHING_MM = 1.5  # a thinned skeleton steps from voxel to voxel; its tangent would follow the steps
_BLEND_PX = 1.0
_TEXTURE_GAIN = 2 * np.sqrt(np.pi) * _BLEND_PX  # white noise loses this factor when it is smoothed in the slice


@dataclass(frozen=True)
class VesselVoxels:
    """The voxels of a vessel mask in vessel coordinates; see :class:`.plaque.Plaque` for their meaning.

    Attributes:
        shape: shape of the volume.
        spacing: mm per voxel.
        index: their place in the volume, ``(N, 3)``.
        branch: index into ``branches``, ``(N,)``.
        arc_mm: distance from the ostium along the vessel, ``(N,)``.
        angle_deg: angle around the axis from a direction that does not twist along a branch, ``(N,)``.
        radius_fraction: 0 on the axis, 1 at the wall, ``(N,)``.
        branches: the tree for :func:`.plaque.draw_plaques`: the longest path from each ostium, then side branches.
    """

    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    index: NDArray[np.intp]
    branch: NDArray[np.intp]
    arc_mm: NDArray[np.float64]
    angle_deg: NDArray[np.float64]
    radius_fraction: NDArray[np.float64]
    branches: list[Branch]


def locate_in_vessel(
    mask: NDArray[np.bool_], spacing: Sequence[float], aorta: NDArray[np.bool_] | None = None
) -> VesselVoxels:
    """Vessel coordinates of every voxel of a coronary mask.

    Each connected part of the skeleton is a tree. It begins at its point nearest to the aorta, with that distance as
    arc length, so that a fragment far out is not taken for an ostium; without an aorta at its widest point, with 0.

    Args:
        mask: coronary arteries, ``(X, Y, Z)``.
        spacing: mm per voxel.
        aorta: mask of the aorta, same shape.

    Returns:
        The voxels of the mask, none if it is empty.

    Raises:
        ValueError: If the masks differ in shape, or the spacing is not three positive numbers.
    """
    if len(spacing) != 3 or min(spacing) <= 0:
        raise ValueError(f"spacing must be three positive numbers, got {tuple(spacing)}")
    if aorta is not None:
        check_same_shape(mask=mask, aorta=aorta)
    index, mm = np.argwhere(mask), np.asarray(spacing, np.float64)
    if not len(index):
        nothing = np.empty(0)
        return VesselVoxels(mask.shape, tuple(spacing), index, np.empty(0, np.intp), nothing, nothing, nothing, [])
    first, last = index.min(0), index.max(0) + 1
    box = np.pad(mask[tuple(map(slice, first, last))], 1)
    voxels = (index - first + 1) * mm  # mm, as all points below
    nodes = np.argwhere(skeletonize(box))
    points = nodes * mm
    walls = np.argwhere(binary_dilation(box) & ~box) * mm  # the nearest background voxel is one of them
    half_voxel = min(spacing) / 2
    radius_mm = cKDTree(walls).query(points)[0] - half_voxel
    start_mm = np.zeros(len(points))
    if aorta is not None and aorta.any():
        start_mm = cKDTree((_surface(aorta) - first + 1) * mm).query(points)[0]
    arc_mm, parent = _grow_tree(nodes, points, start_mm if start_mm.any() else -radius_mm, start_mm)
    owner, paths = _decompose(arc_mm, parent, radius_mm)
    axis, frame = _frames(points, paths, min(spacing))

    nearest = cKDTree(points).query(voxels)[1]
    offset = np.einsum("nij,nj->ni", frame[nearest], voxels - axis[nearest])  # along, first normal, second normal
    from_axis = np.hypot(offset[:, 1], offset[:, 2])
    to_wall = cKDTree(walls).query(voxels)[0] - half_voxel
    return VesselVoxels(
        shape=mask.shape,
        spacing=tuple(spacing),
        index=index,
        branch=owner[nearest],
        arc_mm=arc_mm[nearest] + offset[:, 0],
        angle_deg=np.degrees(np.arctan2(offset[:, 2], offset[:, 1])) % 360,
        radius_fraction=from_axis / (from_axis + to_wall),
        branches=[Branch(arc_mm[path], radius_mm[path]) for path in paths],
    )


def paint_plaques(
    volume_hu: NDArray[np.floating], vessel: VesselVoxels, plaques: Sequence[Plaque], rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.uint8], list[dict[str, Any]]]:
    """A volume with plaques in its vessels, and what was painted.

    Each plaque replaces the vessel by its value with texture; outwards it fades in the slice, with a Gaussian of
    1 pixel. Where two overlap, the later one wins. So the vessels of a typical tree with 13 plaques of the preset
    "reference" have the mean and the deviation of the SynCAS authors' training data.

    Args:
        volume_hu: CT, ``(X, Y, Z)``.
        vessel: the coordinates of its coronary voxels.
        plaques: what to paint, drawn for ``vessel.branches``.
        rng: source of the texture.

    Returns:
        The painted volume; a map of plaques (0 none, 1 calcified, 2 soft) inside the vessel mask; and a table with one
        row for each plaque: its attributes, its centre in voxels (None if it holds no voxel) and its volume in mm^3.

    Raises:
        ValueError: If the volume's shape is not that of the vessel's mask.
    """
    if volume_hu.shape != vessel.shape:
        raise ValueError(f"volume_hu must have the shape of the vessel mask {vessel.shape}, got {volume_hu.shape}")
    painted, kinds = volume_hu.astype(np.float32), np.zeros(volume_hu.shape, np.uint8)
    table = []
    for plaque in plaques:
        on_branch = np.flatnonzero(vessel.branch == plaque.branch)
        coordinates = (vessel.arc_mm[on_branch], vessel.angle_deg[on_branch], vessel.radius_fraction[on_branch])
        index = vessel.index[on_branch[plaque.contains(*coordinates)]]
        if len(index):
            _blend(painted, index, plaque, rng)
            kinds[tuple(index.T)] = 1 if plaque.calcified else 2
        table.append(
            asdict(plaque)
            | {
                "centre_voxel": index.mean(0).tolist() if len(index) else None,
                "volume_mm3": len(index) * float(np.prod(vessel.spacing)),
            }
        )
    return painted, kinds, table


def _surface(mask: NDArray[np.bool_]) -> NDArray[np.intp]:
    """Indices of the voxels of a mask that touch its background."""
    (box,) = find_objects(mask.astype(np.uint8))
    inner = np.argwhere(mask[box] & ~binary_erosion(mask[box]))
    return np.asarray(inner + [axis.start for axis in box])


def _grow_tree(
    nodes: NDArray[np.intp], points: NDArray[np.float64], rank: NDArray[np.float64], start_mm: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Distance from the root along the skeleton and the previous node on the way (-1 at the root).

    Each component is rooted at its node of the lowest rank, whose distance is its ``start_mm``.
    """
    pairs = cKDTree(nodes).query_pairs(1.75, output_type="ndarray")  # 26-neighbours are at most sqrt(3) apart
    step_mm = np.linalg.norm(points[pairs[:, 0]] - points[pairs[:, 1]], axis=1)
    graph = coo_array((step_mm, (pairs[:, 0], pairs[:, 1])), shape=(len(nodes), len(nodes))).tocsr()
    component = connected_components(graph, directed=False)[1]
    by_rank = np.argsort(rank, kind="stable")
    roots = by_rank[np.unique(component[by_rank], return_index=True)[1]]
    distance, parent, source = dijkstra(graph, directed=False, indices=roots, return_predecessors=True, min_only=True)
    return distance + start_mm[source], np.maximum(parent, -1)


def _decompose(
    arc_mm: NDArray[np.float64], parent: NDArray[np.intp], radius_mm: NDArray[np.float64]
) -> tuple[NDArray[np.intp], list[NDArray[np.intp]]]:
    """Split the trees into branches: the branch of each node, and the nodes of each branch in order.

    The longest way from a root is one branch, the longest way from it is the next, and so on. A way shorter than the
    vessel is wide is a spur of the thinning and joins the branch that it leaves.
    """
    owner = np.full(len(arc_mm), -1)
    branches = 0
    for leaf in np.argsort(-arc_mm, kind="stable"):
        way, node = [], int(leaf)
        while node >= 0 and owner[node] < 0:
            way.append(node)
            node = int(parent[node])
        if not way:
            continue
        if node >= 0 and arc_mm[leaf] - arc_mm[node] <= radius_mm[node] * 2:
            owner[way] = owner[node]
        else:
            owner[way] = branches
            branches += 1
    by_arc = np.argsort(arc_mm, kind="stable")
    return owner, [by_arc[owner[by_arc] == branch] for branch in range(branches)]


def _frames(
    points: NDArray[np.float64], paths: Sequence[NDArray[np.intp]], step_mm: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Smoothed axis ``(N, 3)`` and frames ``(N, 3, 3)`` with the rows tangent, first and second normal."""
    axis, frame = points.astype(np.float64), np.zeros((len(points), 3, 3))
    for path in paths:
        axis[path] = gaussian_filter1d(points[path], _AXIS_SMOOTHING_MM / step_mm, axis=0, mode="nearest")
        tangents = np.gradient(axis[path], axis=0) if len(path) > 1 else np.zeros((1, 3))
        normal = np.array([1.0, 0.0, 0.0])
        tangent = np.array([0.0, 0.0, 1.0])
        for node, direction in zip(path, tangents, strict=True):
            if np.linalg.norm(direction) > 1e-6:
                tangent = direction / np.linalg.norm(direction)
            normal = normal - (normal @ tangent) * tangent  # carried along, so that it does not twist
            if np.linalg.norm(normal) < 1e-3:
                normal = np.cross(tangent, np.eye(3)[np.abs(tangent).argmin()])
            normal /= np.linalg.norm(normal)
            frame[node] = tangent, normal, np.cross(tangent, normal)
    return axis, frame


def _blend(volume: NDArray[np.float32], index: NDArray[np.intp], plaque: Plaque, rng: np.random.Generator) -> None:
    """Lay one plaque over the volume, in place."""
    reach = np.array([4, 4, 0])  # pixels: four sigma of the blending
    low = np.maximum(index.min(0) - reach, 0)
    high = np.minimum(index.max(0) + 1 + reach, volume.shape)
    box = tuple(map(slice, low, high))
    inside = np.zeros(high - low, np.float32)
    inside[tuple((index - low).T)] = 1
    in_slice = (_BLEND_PX, _BLEND_PX, 0)
    # twice the blurred mask is 1 up to a straight border; the blurred mask itself would dilute plaques of thin vessels
    share = np.minimum(2 * gaussian_filter(inside, in_slice, mode="nearest"), 1)
    texture = _TEXTURE_GAIN * gaussian_filter(rng.standard_normal(inside.shape, np.float32), in_slice, mode="wrap")
    volume[box] += share * (plaque.hu + plaque.texture_sd_hu * texture - volume[box])
