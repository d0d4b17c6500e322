"""How well one centerline tree covers another: the CAT08 measures, distances, and what was detected.

Empty centerlines are never left out of a mean, as in :mod:`..metrics`: two empty ones score 1 (distances: 0 mm), one
empty one scores 0 (distances: the diagonal).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from .branch import Branch
from .tree import bifurcation_points, check_tree, leaves, path_to, segment_cuts

SAMPLE_MM = 0.03
"""Step along the lines, as in CAT08; a finer one moves no distance by more than half of it."""
SKIPPED_MM = 5.0
"""OF forgives errors this near to the ostium, whose place observers disagree on."""
RELEVANT_RADIUS_MM = 0.75
"""OT counts a vessel as far as this radius: 1.5 mm of diameter is what is treated."""
DETECTED_SHARE = 0.8
"""A branch is detected when this share of its length is, the rule of ATM'22."""
BIFURCATION_MM = 3.0
"""Two bifurcations farther apart are not the same."""


def score_centerline(
    prediction: Sequence[Branch],
    reference: Sequence[Branch],
    diagonal_mm: float | None = None,
    step_mm: float = SAMPLE_MM,
) -> dict[str, float]:
    """Score a centerline tree against a reference tree.

    Both are sampled densely. A reference point is found when the prediction comes nearer than the local radius; a
    predicted point is right when it is nearer to the closest reference point than the radius there. Points are
    weighted by the length that they stand for.

    Args:
        prediction: branches, RAS mm; their radii do not matter.
        reference: branches with radii, RAS mm.
        diagonal_mm: the distance that a missing centerline scores, usually the image's diagonal; by default the
            diagonal of the box around both.
        step_mm: largest distance between neighbouring samples.

    Returns:
        Values by name, in the order of a report:

        * ``ov``: overlap, the share of both centerlines that is found or right; ``of``: how far one gets from the
          ostium before the first miss, as a share of the path, misses in the first 5 mm forgiven; ``ot``: overlap of
          the path up to its last point with a radius of at least 0.75 mm, 1 for a path that has none. ``of`` and
          ``ot`` are means over the reference's paths from root to leaf;
        * ``ai_mm``: mean distance of what is found and right, the diagonal if nothing is; ``assd_mm`` and
          ``hd95_mm``: mean distance of both centerlines, and the larger of the two directed 95th percentiles;
        * ``length_detected`` (share of the reference's length that is found), ``length_correct`` (share of the
          prediction's length that is right), ``reference_length_mm``, ``prediction_length_mm``;
        * ``branches_detected``: share of the reference's segments between ostia, bifurcations and ends of which at
          least 80 % are found; ``reference_branches``, ``prediction_branches``: the numbers of segments;
        * ``bifurcations_detected`` and ``bifurcations_correct``: shares of the reference's and of the prediction's
          bifurcations that are matched one to one within 3 mm, the largest number of pairs with the smallest sum of
          distances; ``reference_bifurcations``, ``prediction_bifurcations``.

        A share of none (bifurcations of unbranched vessels) is 1 if the other centerline has none either, else 0.

    Raises:
        ValueError: If a centerline is no tree of finite points, the reference has no radii, or ``step_mm`` is not
            positive.

    Source:
        Schaap et al., "Standardized evaluation methodology and reference database for evaluating coronary artery
        centerline extraction algorithms", Medical Image Analysis 2009, https://doi.org/10.1016/j.media.2009.06.003.
        Differs in that a point's partner is the nearest one, not one of a monotonic matching of two single vessels:
        that is what makes whole trees comparable. Branch and length detection: Zhang et al., "Multi-site, multi-domain
        airway tree modeling (ATM'22)", https://arxiv.org/abs/2303.05745.
    """
    _check(prediction, reference, step_mm)
    ours, theirs = _sampled(prediction, step_mm), _sampled(reference, step_mm)
    if diagonal_mm is None:
        diagonal_mm = _diagonal_mm([*prediction, *reference])
    both = {
        "reference_length_mm": float(theirs.weight_mm.sum()),
        "prediction_length_mm": float(ours.weight_mm.sum()),
        "reference_branches": float(_segments(theirs)),
        "prediction_branches": float(_segments(ours)),
    } | _bifurcation_scores(bifurcation_points(prediction), bifurcation_points(reference))
    if not prediction or not reference:
        same = float(not prediction and not reference)
        shares = ("ov", "of", "ot", "length_detected", "length_correct", "branches_detected")
        distances = ("ai_mm", "assd_mm", "hd95_mm")
        values = dict.fromkeys(shares, same) | dict.fromkeys(distances, 0.0 if same else diagonal_mm) | both
    else:
        found = _matched(ours, theirs)
        values = _overlap(found) | _path_scores(found, reference) | _distance_scores(found, diagonal_mm)
        values |= _detection_scores(found) | both
    return {name: values[name] for name in _ORDER}


_ORDER = (
    *("ov", "of", "ot", "ai_mm", "assd_mm", "hd95_mm"),
    *("length_detected", "length_correct", "reference_length_mm", "prediction_length_mm"),
    *("branches_detected", "reference_branches", "prediction_branches"),
    *("bifurcations_detected", "bifurcations_correct", "reference_bifurcations", "prediction_bifurcations"),
)


class _Samples(NamedTuple):
    """Points along all branches, ``(N, 3)``, each the middle of a piece; the other fields are ``(N,)``."""

    points: NDArray[np.float64]
    radius_mm: NDArray[np.float64]
    weight_mm: NDArray[np.float64]  # length of the piece
    branch: NDArray[np.intp]
    arc_mm: NDArray[np.float64]  # from the start of the branch
    segment: NDArray[np.intp]  # pieces between bifurcations, counted through all branches


class _Match(NamedTuple):
    """Two sampled centerlines and the nearest distances between them."""

    ours: _Samples
    theirs: _Samples
    to_reference_mm: NDArray[np.float64]  # from each of our samples
    to_prediction_mm: NDArray[np.float64]  # from each of theirs
    partner: NDArray[np.intp]  # index of the reference sample nearest to each of ours

    @property
    def right(self) -> NDArray[np.bool_]:
        """Our samples within the radius of the reference."""
        return np.asarray(self.to_reference_mm <= self.theirs.radius_mm[self.partner])

    @property
    def found(self) -> NDArray[np.bool_]:
        """The reference's samples that we pass within their radius."""
        return np.asarray(self.to_prediction_mm <= self.theirs.radius_mm)


def _check(prediction: Sequence[Branch], reference: Sequence[Branch], step_mm: float) -> None:
    check_tree(prediction, "prediction")
    check_tree(reference, "reference")
    if reference and not any((branch.radius_mm > 0).any() for branch in reference):
        raise ValueError(
            "the reference has no radii (all are 0), and the overlap measures count within the local radius: read it "
            "from a file with radii, or extract it from a mask"
        )
    if not step_mm > 0:
        raise ValueError(f"step_mm must be positive, got {step_mm}")


def _sampled(branches: Sequence[Branch], step_mm: float) -> _Samples:
    """Cut every segment into equal pieces no longer than a step."""
    parts = []
    segment = 0
    for index, (branch, cuts) in enumerate(zip(branches, segment_cuts(branches), strict=True)):
        along = branch.arc_mm
        for first, last in zip([0, *cuts], [*cuts, len(along) - 1], strict=True):
            length = max(along[last] - along[first], 1e-9)  # repeated points weigh next to nothing, but not nothing
            count = max(int(np.ceil(length / step_mm)), 1)
            arc = along[first] + (np.arange(count) + 0.5) * length / count
            points = np.stack([np.interp(arc, along, column) for column in branch.points.T], axis=1)
            radius = np.interp(arc, along, branch.radius_mm)
            one = np.ones(count, np.intp)
            parts.append(_Samples(points, radius, one * (length / count), one * index, arc, one * segment))
            segment += 1
    if not parts:
        none, no_index = np.empty(0), np.empty(0, np.intp)
        return _Samples(np.empty((0, 3)), none, none, no_index, none, no_index)
    return _Samples(*(np.concatenate(field) for field in zip(*parts, strict=True)))


def _matched(ours: _Samples, theirs: _Samples) -> _Match:
    to_reference, partner = KDTree(theirs.points, leafsize=32).query(ours.points)
    to_prediction, _ = KDTree(ours.points, leafsize=32).query(theirs.points)
    return _Match(ours, theirs, to_reference, to_prediction, np.asarray(partner))


def _overlap(match: _Match) -> dict[str, float]:
    return {"ov": _pooled_share(match, np.ones(len(match.theirs.arc_mm), bool))}


def _pooled_share(match: _Match, chosen: NDArray[np.bool_]) -> float:
    """The share found or right, among chosen samples of the reference and those of ours that are nearest to them."""
    near = chosen[match.partner]
    hit = match.theirs.weight_mm[chosen & match.found].sum() + match.ours.weight_mm[near & match.right].sum()
    return float(hit / (match.theirs.weight_mm[chosen].sum() + match.ours.weight_mm[near].sum()))


def _path_scores(match: _Match, reference: Sequence[Branch]) -> dict[str, float]:
    """OF and OT, means over the paths from root to leaf."""
    arcs = [branch.arc_mm for branch in reference]
    starts = np.searchsorted(match.theirs.branch, np.arange(len(reference) + 1))
    until_first_miss, relevant = [], []
    for leaf in leaves(reference):
        pieces = []
        for branch, last in path_to(reference, leaf):
            inside = np.arange(starts[branch], starts[branch + 1])
            pieces.append(inside[match.theirs.arc_mm[inside] <= arcs[branch][last]])
        path = np.concatenate(pieces)
        until_first_miss.append(_first_miss(match, path))
        relevant.append(_relevant_overlap(match, path))
    return {"of": float(np.mean(until_first_miss)), "ot": float(np.mean(relevant))}


def _first_miss(match: _Match, path: NDArray[np.intp]) -> float:
    """OF of one path, given by its samples in order; forgiven misses are left out of the fraction."""
    weight, found = match.theirs.weight_mm[path], match.found[path]
    walked = np.cumsum(weight)
    missed = np.flatnonzero(~found & (walked > SKIPPED_MM))
    first = int(missed[0]) if len(missed) else len(path)
    before = weight[:first][found[:first]].sum()
    return float(before / max(before + weight[first:].sum(), 1e-12))


def _relevant_overlap(match: _Match, path: NDArray[np.intp]) -> float:
    """OT of one path, given by its samples in order."""
    wide = np.flatnonzero(match.theirs.radius_mm[path] >= RELEVANT_RADIUS_MM)
    if len(wide) == 0:
        return 1.0
    chosen = np.zeros(len(match.theirs.arc_mm), bool)
    chosen[path[: wide[-1] + 1]] = True
    return _pooled_share(match, chosen)


def _distance_scores(match: _Match, diagonal_mm: float) -> dict[str, float]:
    distance = np.concatenate([match.to_reference_mm, match.to_prediction_mm])
    weight = np.concatenate([match.ours.weight_mm, match.theirs.weight_mm])
    inside = np.concatenate([match.right, match.found])
    hd95 = max(np.percentile(match.to_reference_mm, 95), np.percentile(match.to_prediction_mm, 95))
    return {
        "ai_mm": float(np.average(distance[inside], weights=weight[inside])) if inside.any() else diagonal_mm,
        "assd_mm": float(np.average(distance, weights=weight)),
        "hd95_mm": float(hd95),
    }


def _detection_scores(match: _Match) -> dict[str, float]:
    weight = match.theirs.weight_mm
    total = np.bincount(match.theirs.segment, weight)
    detected = np.bincount(match.theirs.segment, weight * match.found) / total
    return {
        "length_detected": float(np.average(match.found, weights=weight)),
        "length_correct": float(np.average(match.right, weights=match.ours.weight_mm)),
        "branches_detected": float((detected >= DETECTED_SHARE - 1e-9).mean()),
    }


def _bifurcation_scores(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> dict[str, float]:
    """Match bifurcations one to one."""
    distance = cdist(ours, theirs)
    # a pair that is too far apart costs more than all good ones, so that as many good pairs as possible are made
    cost = np.where(distance <= BIFURCATION_MM, distance, BIFURCATION_MM * (1 + min(distance.shape)))
    rows, columns = linear_sum_assignment(cost)
    matched = int((distance[rows, columns] <= BIFURCATION_MM).sum())
    return {
        "bifurcations_detected": matched / len(theirs) if len(theirs) else float(len(ours) == 0),
        "bifurcations_correct": matched / len(ours) if len(ours) else float(len(theirs) == 0),
        "reference_bifurcations": float(len(theirs)),
        "prediction_bifurcations": float(len(ours)),
    }


def _segments(samples: _Samples) -> int:
    return int(samples.segment[-1]) + 1 if len(samples.segment) else 0


def _diagonal_mm(branches: Sequence[Branch]) -> float:
    """Diagonal of the box around all points; 0 if there is none."""
    if not branches:
        return 0.0
    return float(np.linalg.norm(np.ptp(np.concatenate([branch.points for branch in branches]), axis=0)))
