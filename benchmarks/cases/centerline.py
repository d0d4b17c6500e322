"""Centerline trees: time on a clinical volume, and accuracy on phantoms whose centerlines are known."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import networkx
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree
from skimage.morphology import skeletonize

from benchmarks.case import Case, Variant
from benchmarks.data import coronary_mask
from common.centerline.branch import Branch
from common.centerline.extract import extract_centerline
from common.centerline.overlap import score_centerline
from common.centerline.tree import leaves
from common.phantom.framing import draw_grid
from common.phantom.heart import draw_heart
from common.phantom.tree import draw_tree
from common.phantom.vessels import lumen_truth

Mask = NDArray[np.bool_]
Lines = tuple[float, NDArray[np.float64], NDArray[np.float64]]  # length mm, points mm (N, 3), radii mm (N,)

SPACING = (0.35, 0.35, 0.5)  # mm
CLEAR_MM = 3.0  # an end that lies this far clear of all other vessels must be found


class Phantom(NamedTuple):
    """A true tree, and where its mask and the aorta of the same heart are true: places in the raveled volume."""

    truth: tuple[Branch, ...]
    affine: NDArray[np.float64]
    shape: tuple[int, int, int]
    lumen: NDArray[np.int64]
    aorta: NDArray[np.int64]


def cases(size: str) -> list[Case]:
    """A volume as it comes from the scanner, or a smaller one; 50 phantoms, or 6."""
    shape, count, floor = ((512, 512, 275), 50, 20) if size == "full" else ((320, 320, 192), 6, 10)
    return [
        Case(
            name="centerline tree of a label",
            size="x".join(map(str, shape)),
            prepare=functools.partial(coronary_mask, shape),
            peer=Variant("scikit-image + networkx", functools.partial(_with_peers, affine=np.diag([*SPACING, 1]))),
            ours=[Variant("numba", _extract, floor, 0.5, "numba", math.prod(shape))],
            check=_same_lines,
        ),
        Case(
            name="accuracy of centerline trees",
            size=f"{count} phantoms at 0.5 mm",
            prepare=functools.partial(_phantoms, count),
            peer=Variant("scikit-image, skeleton only", _thin_all),
            ours=[Variant("numba", _extract_all, 1, None, "numba")],
            check=functools.partial(_accurate, count),
        ),
    ]


def _extract(mask: Mask) -> Lines:
    branches = extract_centerline(mask, np.diag([*SPACING, 1]))
    return (
        sum(b.length_mm for b in branches),
        np.concatenate([b.points for b in branches]),
        np.concatenate([b.radius_mm for b in branches]),
    )


def _with_peers(mask: Mask, affine: NDArray[np.float64]) -> Lines:
    """Thin the volume, join neighbouring voxels to the shortest forest, look up the distance transform."""
    skeleton = skeletonize(mask) > 0
    index = np.argwhere(skeleton)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    graph = networkx.Graph()
    for i, j in KDTree(index).query_pairs(1.8):  # voxels with a common corner are 1.73 apart
        graph.add_edge(i, j, weight=float(np.linalg.norm(points[i] - points[j])))
    length = networkx.minimum_spanning_tree(graph).size(weight="weight")
    depth = distance_transform_edt(mask, sampling=np.linalg.norm(affine[:3, :3], axis=0))
    return float(length), points, depth[skeleton]


def _same_lines(ours: Lines, peer: Lines) -> str:
    """The peer's line climbs from voxel to voxel, which makes it longer by 10 to 15 %, and it has spurs of its own."""
    length, radius = ours[0] / peer[0] - 1, float(np.mean(ours[2])) - float(np.mean(peer[2]))
    apart = float(KDTree(peer[1]).query(ours[1])[0].mean())
    assert abs(length) <= 0.2, f"length differs by {length:.1%}"
    assert apart <= 0.5, f"points are {apart:.2f} mm apart"
    assert abs(radius) <= 0.2, f"mean radius differs by {radius:.2f} mm"
    return f"length {length:+.1%}, points {apart:.2f} mm apart, radius {radius:+.2f} mm"


def _phantoms(count: int) -> list[Phantom]:
    result = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        heart = draw_heart(rng)
        tree = draw_tree(heart, rng)
        grid = draw_grid(np.concatenate([b.points for b in tree.branches]), rng, spacing=(0.5, 0.5, 0.5))
        aorta = np.zeros(grid.shape, bool)
        distance = heart.aorta(heart.to_heart(grid.coarse_points()).astype(np.float32)).reshape(grid.coarse_shape())
        box = grid.box(distance, 3.4)
        if box is not None:
            aorta[box] = grid.refine(distance, box) < 0
        lumen = lumen_truth(tree.branches, (), grid)[0]
        result.append(Phantom(tree.branches, grid.affine, grid.shape, lumen, np.flatnonzero(aorta)))
    return result


def _extract_all(phantoms: Sequence[Phantom]) -> list[tuple[tuple[Branch, ...], list[Branch]]]:
    return [
        (p.truth, extract_centerline(_volume(p.shape, p.lumen), p.affine, _volume(p.shape, p.aorta))) for p in phantoms
    ]


def _thin_all(phantoms: Sequence[Phantom]) -> int:
    return sum(int(np.count_nonzero(skeletonize(_volume(p.shape, p.lumen)))) for p in phantoms)


def _volume(shape: tuple[int, int, int], places: NDArray[np.int64]) -> Mask:
    volume = np.zeros(shape, bool)
    volume.reshape(-1)[places] = True
    return volume


def _accurate(count: int, ours: list[tuple[tuple[Branch, ...], list[Branch]]], _: Any) -> str:
    """Compared with the truth that the phantoms were drawn from, not with the peer, which makes no tree."""
    overlaps, errors, equal, exact = [], [], 0, 0
    for truth, found in ours:
        overlaps.append(score_centerline(found, truth)["ov"])
        errors.append(_radius_error(found, truth))
        number, (least, most) = _branchings(found), _true_branchings(truth)
        equal += number == most
        exact += least <= number <= most
    overlap, error = float(np.mean(overlaps)), float(np.mean(errors))
    assert overlap >= 0.98, f"OV is {overlap:.4f}"
    assert error <= 0.15, f"the radius is {error:.3f} mm wrong"
    assert exact >= 0.9 * count or count < 50, f"bifurcations of {exact} of {count} phantoms are right"
    return (
        f"OV {overlap:.4f} (least {min(overlaps):.3f}), radius error {error:.3f} mm, "
        f"bifurcation count right in {exact} of {count}, equal to the drawn tree's in {equal}"
    )


def _radius_error(found: Sequence[Branch], truth: Sequence[Branch]) -> float:
    """Return the mean error at the points that lie in the lumen of the nearest true point."""
    points, radius = (np.concatenate([getattr(b, name) for b in truth]) for name in ("points", "radius_mm"))
    distance, nearest = KDTree(points).query(np.concatenate([b.points for b in found]))
    error = np.abs(np.concatenate([b.radius_mm for b in found]) - radius[nearest])
    return float(error[distance <= radius[nearest]].mean())


def _branchings(branches: Sequence[Branch]) -> int:
    """Return how often vessels divide in two; one that divides in three at a point counts twice, as everywhere here."""
    return len(leaves(branches)) - sum(b.parent < 0 for b in branches)


def _true_branchings(truth: Sequence[Branch]) -> tuple[int, int]:
    """Return the least and the largest number of bifurcations that a right extraction finds.

    The largest is that of the drawn tree. In a mask, an end that touches another vessel is none: whether it is found
    again where the cycle is opened is left to the method. The least counts only the ends that are clear of all other
    vessels (distance of the axes above the sum of the radii) over their last 3 mm, which is the shortest side branch
    that the extraction keeps.
    """
    hidden = 0
    for number in leaves(truth):
        end = truth[number].arc_mm >= truth[number].length_mm - CLEAR_MM
        others = [b for other, b in enumerate(truth) if other != number]
        points, radius = (np.concatenate([getattr(b, name) for b in others]) for name in ("points", "radius_mm"))
        apart = np.linalg.norm(truth[number].points[end][:, None] - points, axis=-1)
        hidden += bool((apart <= truth[number].radius_mm[end][:, None] + radius).any())
    return _branchings(truth) - hidden, _branchings(truth)
