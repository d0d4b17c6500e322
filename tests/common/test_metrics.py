"""Every metric on shapes whose score can be worked out by hand, and what happens to empty masks."""

import numpy as np
import pytest
import torch
from monai.metrics import DiceMetric, HausdorffDistanceMetric, SurfaceDiceMetric, SurfaceDistanceMetric

from common import metrics, skeleton
from common.metrics import ClDiceMetric, cldice, score_case

SHAPE = (40, 24, 24)
SPACING = (0.5, 0.5, 0.5)
SHARES = [
    "dice", "precision", "recall", "cldice", "topology_precision", "topology_sensitivity", "nsd_0.5mm", "nsd_1mm",
    "detected_length_share",
]  # fmt: skip
DIAGONAL_MM = np.linalg.norm(np.multiply(SHAPE, SPACING))


def nothing(shape=SHAPE):
    return np.zeros(shape, bool)


def line(start, stop, y=12, z=12):
    """One voxel wide, so that it is its own skeleton, ``stop - start`` voxels long."""
    mask = nothing()
    mask[start:stop, y, z] = True
    return mask


def bar(start, stop, side=4, y=12, z=12):
    mask = nothing()
    mask[start:stop, y : y + side, z : z + side] = True
    return mask


@pytest.fixture(params=["numba", "plain"])
def route(request, monkeypatch):
    """Run a test with the compiled kernels and without."""
    if request.param == "plain":
        monkeypatch.setattr(skeleton, "_accelerated", None)
    elif skeleton._accelerated is None:
        pytest.skip("numba is not installed")


@pytest.mark.usefixtures("route")
def test_a_perfect_prediction_has_the_best_value_of_every_metric():
    label = bar(3, 30) | line(20, 30, y=4)
    scores = score_case(label, label, SPACING)
    assert {name: scores[name] for name in SHARES} == dict.fromkeys(SHARES, 1.0)
    worst = ("hd95_mm", "assd_mm", "betti0_error", "betti1_error", "false_positive_components", "missed_components")
    assert {name: scores[name] for name in worst} == dict.fromkeys(worst, 0.0)
    assert scores["detected_length_mm"] == scores["reference_length_mm"] > 0
    assert {v for name, v in scores.items() if name.startswith("recall_") and not np.isnan(v)} == {1.0}


@pytest.mark.parametrize("shift", [0, 5, 10, 20])
def test_dice_of_shifted_bars_is_the_share_they_have_in_common(shift):
    label, prediction = bar(0, 20), bar(shift, 20 + shift)
    assert score_case(prediction, label, SPACING)["dice"] == pytest.approx(1 - shift / 20)


def test_precision_and_recall_count_what_is_too_much_and_what_is_missing():
    scores = score_case(bar(0, 10), bar(5, 25), SPACING)
    assert (scores["precision"], scores["recall"]) == (pytest.approx(5 / 10), pytest.approx(5 / 20))


def test_cldice_is_the_harmonic_mean_of_what_the_skeletons_share():
    label, prediction = line(0, 40), line(10, 40) | line(0, 20, y=3)
    scores = score_case(prediction, label, SPACING)
    assert scores["topology_precision"] == pytest.approx(30 / 50)
    assert scores["topology_sensitivity"] == pytest.approx(30 / 40)
    assert scores["cldice"] == pytest.approx(2 * 0.6 * 0.75 / 1.35)
    assert cldice(prediction, label) == scores["cldice"]


def test_a_skeleton_need_not_lie_on_the_other_but_in_the_other_mask():
    label, beside = bar(0, 40, side=5), line(0, 40, y=12, z=13)  # at the rim of the bar
    assert score_case(beside, label, SPACING)["topology_precision"] == 1
    assert score_case(label, beside, SPACING)["topology_sensitivity"] == 1


def test_cldice_forgives_thickness_and_dice_does_not():
    label, prediction = bar(5, 35, side=3), bar(4, 36, side=5, y=11, z=11)
    assert cldice(prediction, label) == pytest.approx(1, abs=0.1)
    assert score_case(prediction, label, SPACING)["dice"] == pytest.approx(2 * 30 * 9 / (30 * 9 + 32 * 25))


def test_surface_metrics_are_in_mm_of_the_given_spacing():
    slab, moved = nothing(), nothing()
    slab[10], moved[13] = True, True
    scores = score_case(moved, slab, (0.4, 0.5, 0.5))
    assert (scores["hd95_mm"], scores["assd_mm"]) == (pytest.approx(1.2), pytest.approx(1.2))
    assert (scores["nsd_0.5mm"], scores["nsd_1mm"]) == (0, 0)
    assert score_case(moved, slab, (0.25, 0.5, 0.5))["nsd_1mm"] == 1


def test_betti_errors_count_breaks_and_false_loops():
    ring = nothing()
    ring[5:15, 5:15, 5] = True
    ring[6:14, 6:14, 5] = False
    scores = score_case(line(0, 10) | line(12, 22) | line(24, 40) | ring, line(0, 40), SPACING)
    assert scores["betti0_error"] == 3  # three pieces and the ring instead of one line
    assert scores["betti1_error"] == 1


def test_only_components_that_touch_no_reference_voxel_are_false():
    label = line(0, 40)
    prediction = line(0, 10) | bar(10, 14, y=2, z=2) | bar(20, 22, side=2, y=2, z=18)
    scores = score_case(prediction, label, SPACING)
    assert scores["false_positive_components"] == 2
    assert scores["false_positive_volume_mm3"] == pytest.approx((4 * 4 * 4 + 2 * 2 * 2) * 0.125)


def test_a_vessel_without_a_predicted_voxel_is_missed():
    label = line(0, 40) | line(0, 40, y=3) | line(0, 40, y=20)
    assert score_case(line(8, 10) | line(0, 40, y=3), label, SPACING)["missed_components"] == 1


def test_the_detected_length_is_that_of_the_reference_inside_the_prediction():
    scores = score_case(bar(0, 10), line(0, 40), SPACING)
    assert scores["reference_length_mm"] == pytest.approx(39 * 0.5)
    assert scores["detected_length_mm"] == pytest.approx((9 + 0.5) * 0.5)  # half of the step that leaves
    assert scores["detected_length_share"] == pytest.approx(9.5 / 39)


def test_voxels_without_length_are_detected_one_by_one():
    label = line(3, 4) | line(9, 10) | line(15, 16) | line(30, 31)
    assert score_case(line(9, 10), label, SPACING)["detected_length_share"] == pytest.approx(1 / 4)


def test_recall_is_reported_by_the_diameter_of_the_vessel():
    thin, thick = bar(2, 38, side=2, y=2), bar(2, 38, side=8, y=12)  # 1 mm and 4 mm
    prediction = bar(2, 20, side=2, y=2) | thick
    scores = score_case(prediction, thin | thick, SPACING)
    assert scores["recall_1_to_1.5mm"] == pytest.approx(0.5)
    assert scores["recall_from_3mm"] == 1
    assert all(np.isnan(scores[f"recall_{name}"]) for name in ("below_1mm", "1.5_to_2mm", "2_to_2.5mm"))


def test_the_bins_of_recall_make_up_the_recall():
    random = np.random.default_rng(0)
    label = bar(2, 20) | bar(15, 35, side=7, y=10, z=10) | bar(4, 30, side=2, y=2, z=2)
    prediction = label & (random.random(SHAPE) < 0.7)
    scores = score_case(prediction, label, SPACING)
    bins = [scores[name] for name in scores if name.startswith("recall_") and not np.isnan(scores[name])]
    assert len(bins) >= 2
    assert min(bins) <= scores["recall"] <= max(bins)


def test_volumes_are_in_mm3():
    scores = score_case(bar(0, 10, side=2), bar(0, 20, side=2), (0.5, 0.25, 2.0))
    assert (scores["prediction_volume_mm3"], scores["label_volume_mm3"]) == (pytest.approx(10), pytest.approx(20))


@pytest.mark.parametrize(
    ("prediction", "label", "share", "distance_mm"),
    [
        pytest.param(nothing(), nothing(), 1.0, 0.0, id="both empty"),
        pytest.param(nothing(), bar(5, 30), 0.0, DIAGONAL_MM, id="empty prediction"),
        pytest.param(bar(5, 30), nothing(), 0.0, DIAGONAL_MM, id="empty label"),
    ],
)
def test_empty_masks_have_a_defined_score(prediction, label, share, distance_mm):
    scores = score_case(prediction, label, SPACING)
    assert {name: scores[name] for name in SHARES} == dict.fromkeys(SHARES, share)
    assert (scores["hd95_mm"], scores["assd_mm"]) == (pytest.approx(distance_mm), pytest.approx(distance_mm))
    assert scores["false_positive_components"] == scores["betti0_error"] - scores["missed_components"] * label.any()
    bins = [value for name, value in scores.items() if name.startswith("recall_")]
    assert all(value == 0 or np.isnan(value) for value in bins)
    assert np.isnan(bins).all() == (not label.any())


def test_a_prediction_beside_the_vessel_scores_0_without_being_empty():
    scores = score_case(line(0, 40, y=3), line(0, 40, y=12), SPACING)
    assert (scores["dice"], scores["cldice"], scores["detected_length_mm"]) == (0, 0, 0)
    assert scores["hd95_mm"] == pytest.approx(9 * 0.5)
    assert (scores["missed_components"], scores["false_positive_components"]) == (1, 1)


def test_2d_masks_are_scored_by_the_same_rules():
    label = nothing((30, 40))
    label[10:14, 5:35] = True
    prediction = np.roll(label, 2, axis=0)
    scores = score_case(prediction, label, (0.3, 0.3))
    assert scores["dice"] == pytest.approx(0.5)
    assert scores["hd95_mm"] == pytest.approx(2 * 0.3)
    assert scores["label_volume_mm3"] == pytest.approx(4 * 30 * 0.09)  # mm2
    assert scores["betti1_error"] == 0


def test_where_the_vessels_lie_and_how_the_array_is_stored_does_not_matter():
    label, prediction = bar(5, 20) | line(20, 30), bar(6, 22) | line(22, 26)
    scores = score_case(prediction, label, SPACING)
    moved = score_case(np.asfortranarray(np.roll(prediction, 9, 0)), np.asfortranarray(np.roll(label, 9, 0)), SPACING)
    np.testing.assert_equal(moved, scores)


def test_both_routes_score_alike(monkeypatch):
    random = np.random.default_rng(0)
    pair = [bar(2, 30, side=5) | line(0, 40, y=4) | (random.random(SHAPE) < 0.01) for _ in range(2)]
    scores = score_case(*pair, SPACING)
    monkeypatch.setattr(skeleton, "_accelerated", None)
    np.testing.assert_equal(score_case(*pair, SPACING), scores)


def test_values_are_those_of_monai():
    random = np.random.default_rng(0)
    label = bar(2, 30, side=6) | bar(10, 20, side=3, y=2)
    prediction = np.roll(label, 1, axis=2) ^ (random.random(SHAPE) < 0.01)
    scores = score_case(prediction, label, (0.3, 0.3, 0.4))
    pair = [torch.from_numpy(mask)[None, None] for mask in (prediction, label)]
    space = {"spacing": (0.3, 0.3, 0.4)}
    assert scores["dice"] == pytest.approx(DiceMetric()(*pair).item())
    assert scores["hd95_mm"] == pytest.approx(HausdorffDistanceMetric(percentile=95)(*pair, **space).item())
    assert scores["assd_mm"] == pytest.approx(SurfaceDistanceMetric(symmetric=True)(*pair, **space).item())
    assert scores["nsd_1mm"] == pytest.approx(SurfaceDiceMetric([1.0])(*pair, **space).item())


@pytest.mark.parametrize(
    ("prediction", "label", "spacing", "message"),
    [
        pytest.param((4, 4, 4), (4, 4, 5), SPACING, r"prediction \(4, 4, 4\), label \(4, 4, 5\)", id="shapes"),
        pytest.param((1, 4, 4, 4), (1, 4, 4, 4), SPACING, r"2 or 3 axes.*\(1, 4, 4, 4\)", id="channel"),
        pytest.param((4, 4, 4), (4, 4, 4), (0.5, 0.5), r"spacing must be 3 lengths", id="spacing of a plane"),
        pytest.param((4, 4), (4, 4), (0.5, 0.0), r"spacing must be 2 lengths in mm above 0", id="no spacing"),
    ],
)
def test_what_cannot_be_scored_is_refused(prediction, label, spacing, message):
    with pytest.raises(ValueError, match=message):
        score_case(nothing(prediction), nothing(label), spacing)


def batch(*masks):
    return torch.from_numpy(np.stack(masks))[:, None].float()


def test_the_cldice_metric_averages_cases_and_leaves_none_out():
    metric = ClDiceMetric()
    label = line(0, 40)
    metric(y_pred=batch(label, nothing()), y=batch(label, label))  # 1, 0
    metric(y_pred=batch(line(0, 20), nothing()), y=batch(label, nothing()))  # 2 * 1 * 0.5 / 1.5, 1
    assert metric.aggregate().item() == pytest.approx((1 + 0 + 2 / 3 + 1) / 4)
    metric.reset()
    metric(y_pred=batch(nothing()), y=batch(label))
    assert metric.aggregate().item() == 0


def test_the_cldice_metric_takes_the_lists_that_monai_makes_of_a_batch():
    metric = ClDiceMetric()
    label = batch(line(0, 40))
    assert metric(y_pred=list(label), y=list(label)).tolist() == [[1.0]]


def test_the_cldice_metric_refuses_different_shapes():
    with pytest.raises(ValueError, match=r"y_pred \(1, 1, 40, 24, 24\), y \(1, 1, 24, 40, 24\)"):
        ClDiceMetric()(y_pred=batch(nothing()), y=batch(nothing((24, 40, 24))))


def test_dice_of_monai_keeps_every_case_if_told_so():
    metric = DiceMetric(ignore_empty=False)
    for prediction, label in ((nothing(), nothing()), (bar(0, 9), nothing()), (nothing(), bar(0, 9))):
        value = metric(y_pred=batch(prediction), y=batch(label))
        assert value.item() == score_case(prediction, label, SPACING)["dice"]
    assert metric.aggregate().item() == pytest.approx(1 / 3)


def test_every_diameter_falls_into_one_bin():
    names = [name for name in score_case(nothing(), nothing(), SPACING) if name.startswith("recall_")]
    assert names == [
        "recall_below_1mm", "recall_1_to_1.5mm", "recall_1.5_to_2mm", "recall_2_to_2.5mm", "recall_2.5_to_3mm",
        "recall_from_3mm",
    ]  # fmt: skip
    assert len(names) == len(metrics.DIAMETER_EDGES_MM) + 1
