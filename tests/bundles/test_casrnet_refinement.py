"""Refinement against its worked examples, its guarantees on random masks, and its behaviour frame by frame."""

import json
from itertools import pairwise

import numpy as np
import pytest
import torch
from casrnet.patch_lines import draw_patch_lines
from casrnet.refinement import RefineContoursd, refine
from casrnet.refinement_rule import RefinementRule
from monai.data import MetaTensor
from scipy import ndimage

from common.components import label_components


def mask(*boxes, shape=(64, 64)):
    """Mask of boxes ``(first row, last row, first column, last column)``."""
    drawn = np.zeros(shape, bool)
    for top, bottom, left, right in boxes:
        drawn[top : bottom + 1, left : right + 1] = True
    return drawn


def rule(**limits):
    return RefinementRule(**{"speck_area": 10, "min_area": 50, "max_gap": 8, **limits})


def refined(given, probability=None, **limits):
    return refine(given, probability, rule(**limits), scaled=False)


def components(given):
    return label_components(given)[1]


BAR_A, BAR_B, SPECK, BLOB = (30, 32, 5, 25), (30, 32, 31, 45), (5, 6, 5, 6), (50, 53, 50, 53)
BROKEN = mask(BAR_A, BAR_B, SPECK, BLOB)


def test_a_broken_bar_is_mended_and_specks_and_blobs_go():
    assert (BROKEN.sum(), components(BROKEN)) == (128, 4)
    result = refined(BROKEN)
    assert np.array_equal(result.mask, mask((30, 32, 5, 45)))
    assert result.mask.sum() == 123
    assert np.array_equal(result.patches, mask((30, 32, 26, 30)))
    (line,) = result.lines
    assert (line.gap, line.width, line.start_angle_deg) == (5, 3.0, pytest.approx(0))
    assert [(removed.area, removed.reason) for removed in result.removed] == [(4, "speck"), (16, "small")]
    assert result.removed[1].centroid == (51.5, 51.5)


def test_a_mended_mask_is_not_changed_again():
    mended = refined(BROKEN).mask
    assert np.array_equal(refined(mended).mask, mended)


def test_a_gap_that_is_too_long_stays_and_the_short_piece_goes():
    result = refined(BROKEN, max_gap=4)
    assert np.array_equal(result.mask, mask(BAR_A))
    assert result.mask.sum() == 63
    assert not result.patches.any()


def test_parallel_vessels_are_not_joined():
    parallel = mask((20, 22, 20, 40), (27, 29, 20, 40))
    assert np.array_equal(refined(parallel, max_gap=12).mask, parallel)


def test_a_vessel_that_lies_aside_of_the_direction_is_not_joined():
    aside = mask((10, 12, 5, 25), (18, 47, 30, 32))
    assert np.array_equal(refined(aside).mask, aside)


def test_a_vessel_is_joined_to_the_side_of_another():
    result = refined(mask((30, 32, 5, 25), (10, 54, 30, 32)))
    assert components(result.mask) == 1
    assert result.lines[0].end_angle_deg is None


@pytest.mark.parametrize("turn", [0, 1, 2, 3])
@pytest.mark.parametrize("mirror", [False, True], ids=["", "mirrored"])
def test_the_orientation_of_the_image_does_not_matter_to_a_broken_bar(turn, mirror):
    def moved(array):
        return np.rot90(array[:, ::-1] if mirror else array, turn)

    assert np.array_equal(refined(moved(BROKEN)).mask, moved(mask((30, 32, 5, 45))))


def test_a_chain_of_pieces_is_joined_piece_by_piece():
    result = refined(mask(*((30, 32, 10 * k, 10 * k + 6) for k in range(6))), min_area=100)
    assert components(result.mask) == 1
    assert sorted(line.gap for line in result.lines) == [3] * 5


def test_a_line_does_not_cross_a_third_vessel():
    crossing = mask((30, 32, 5, 20), (10, 54, 25, 25), (30, 32, 30, 45))
    result = refined(crossing, max_gap=12, min_area=40)
    assert all(line.gap == 4 for line in result.lines)
    assert components(result.mask) == 1


def test_an_end_that_is_too_short_for_a_direction_may_go_anywhere():
    dot = mask((30, 30, 20, 20))
    result = refined(dot | mask((36, 36, 5, 45)), speck_area=0, min_area=0)
    (line,) = result.lines
    assert (line.start, line.end, line.gap, line.start_angle_deg, line.width) == ((30, 20), (36, 20), 5, None, 1.0)


def test_an_angle_of_exactly_the_limit_is_allowed():
    bend = mask((30, 30, 5, 20), *((row, row, 50 - row, 50 - row) for row in range(5, 25)))  # then up at 45 degrees
    limits = {"min_area": 0, "max_gap": 5}  # only end to end
    assert components(refined(bend, max_angle_deg=45, **limits).mask) == 1
    assert components(refined(bend, max_angle_deg=44.9, **limits).mask) == 2


def test_a_gap_must_look_like_vessel_where_that_is_asked_for():
    probability = np.where(BROKEN, 0.9, 0.2)
    assert not refined(BROKEN, probability, min_gap_prob=0.3).patches.any()
    assert refined(BROKEN, probability, min_gap_prob=0.2).patches.any()


def test_a_line_is_as_wide_as_the_vessels_but_no_wider_than_allowed():
    thick = mask((26, 36, 5, 25), (26, 36, 31, 45))
    assert refined(thick, max_width=5).lines[0].width == 5
    assert refined(thick).lines[0].width == pytest.approx(11, abs=1)


def test_what_a_wide_line_touches_counts_as_joined():
    """A stub between two thick pieces lies beside the thin line: a line of its own would close a circle."""
    result = refined(mask((26, 36, 5, 25), (26, 36, 34, 54), (23, 27, 29, 29)), speck_area=0, angle_weight=100)
    assert components(result.mask) == 1
    assert len(result.lines) == 1


def test_vessels_at_the_border_are_as_wide_there_as_elsewhere():
    result = refined(mask((0, 2, 5, 25), (0, 2, 31, 45)))
    assert np.array_equal(result.mask, mask((0, 2, 5, 45)))


def test_an_empty_mask_stays_empty():
    result = refine(np.zeros((64, 64), bool))
    assert not result.mask.any()
    assert result.log() == {"removed": [], "lines": []}


def test_a_mask_without_pixels_stays_without():
    assert refine(np.zeros((0, 64), bool)).mask.shape == (0, 64)


def test_nothing_but_specks_leaves_nothing():
    assert not refined(mask(SPECK)).mask.any()


def test_of_components_that_are_all_too_small_the_largest_stays():
    assert np.array_equal(refined(mask((5, 8, 5, 8), (40, 43, 40, 44))).mask, mask((40, 43, 40, 44)))


def test_components_far_smaller_than_the_largest_go_where_that_is_asked_for():
    both = mask((10, 19, 5, 60), (40, 44, 5, 20))
    assert np.array_equal(refined(both).mask, both)
    assert np.array_equal(refined(both, min_rel=0.2).mask, mask((10, 19, 5, 60)))


def scattered(seed):
    """Random strokes and specks of many sizes."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(96, 80)), 1.5)
    return noise > 0.32


@pytest.mark.parametrize("seed", range(6))
def test_the_guarantees_hold_on_random_masks(seed):
    given = scattered(seed)
    result = refine(given, rule=rule(min_area=60, max_gap=10), scaled=False)
    assert components(given) > 10
    assert components(result.mask) <= components(given)
    assert not (result.patches & ~result.mask).any()
    labels, _ = label_components(given)
    kept = given & result.mask & ~result.patches  # a patch line may cross where a speck was
    assert not (np.isin(labels, labels[kept]) & (labels > 0) & ~kept).any()  # components go as a whole
    assert np.array_equal(result.mask, kept | result.patches)
    for pixel in np.argwhere(result.patches):
        assert any(distance(pixel, line) <= line.width / 2 + 1e-6 for line in result.lines)
    again = refine(given, rule=rule(min_area=60, max_gap=10), scaled=False)
    assert again.log() == result.log()


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "options", [{"rule": rule(max_gap=0)}, {"rule": rule(), "patch_lines": False}], ids=["gap", "switch"]
)
def test_without_patch_lines_pixels_are_only_removed(seed, options):
    given = scattered(seed)
    result = refine(given, scaled=False, **options)
    assert not (result.mask & ~given).any()
    assert not result.patches.any()


def test_one_large_component_is_left_as_it_is():
    assert np.array_equal(refined(mask(BAR_A)).mask, mask(BAR_A))


def test_patch_lines_never_close_a_circle():
    given = scattered(0)
    patches, lines = draw_patch_lines(given, rule(max_gap=10))
    assert components(given | patches) <= components(given) - len(lines)


def test_lines_are_drawn_at_rising_cost():
    _, lines = draw_patch_lines(scattered(1), rule(angle_weight=0, max_gap=10))
    assert all(first.gap <= second.gap for first, second in pairwise(lines))


def distance(pixel, line):
    start, end = np.array(line.start), np.array(line.end)
    along = np.clip((pixel - start) @ (end - start) / ((end - start) @ (end - start)), 0, 1)
    return np.linalg.norm(pixel - start - along * (end - start))


def test_lengths_and_areas_follow_the_size_of_the_image():
    half = RefinementRule().scaled_to((256, 400))
    assert (half.max_gap, half.angle_weight, half.trace, half.max_width) == (12.5, 5, 5, 7.5)
    assert (half.speck_area, half.min_area) == (5, 25)
    assert (half.max_angle_deg, half.min_rel) == (45, 0)


def test_a_direction_needs_three_pixels_in_the_smallest_image_too():
    assert RefinementRule().scaled_to((64, 64)).trace == 3


def test_a_mask_of_twice_the_size_is_refined_alike():
    limits = RefinementRule(min_area=500)
    small = mask((128, 133, 40, 120), (128, 133, 127, 160), shape=(256, 256))
    large = small.repeat(2, 0).repeat(2, 1)
    results = [refine(given, rule=limits) for given in (small, large)]
    assert [len(result.lines) for result in results] == [1, 1]
    assert [components(result.mask) for result in results] == [1, 1]


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"max_gap": -1}, "max_gap must be at least 0, got -1"),
        ({"min_area": float("nan")}, "min_area must be at least 0"),
        ({"max_angle_deg": 200}, r"max_angle_deg must be in 0\.\.180"),
        ({"min_gap_prob": 2}, r"min_gap_prob must be in 0\.\.1"),
        ({"trace": 2}, "trace must be at least 3"),
        ({"max_width": 0}, "max_width at least 1"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_limits_out_of_range_are_refused(limits, message):
    with pytest.raises(ValueError, match=message):
        rule(**limits)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((1, 8, 8), bool),), r"mask must be \(H, W\), got \(1, 8, 8\)"),
        ((BROKEN, np.zeros((8, 8))), "probability must have the mask's shape"),
        ((BROKEN, None, rule(min_gap_prob=0.5)), "min_gap_prob needs the probability"),
    ],
    ids=["axes", "shape", "no probability"],
)
def test_a_mask_or_probability_that_does_not_fit_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        refine(*arguments)


def test_the_transform_refines_every_frame_and_keeps_what_was_there():
    pred = MetaTensor(torch.from_numpy(np.stack([BROKEN, np.zeros_like(BROKEN)])).float(), meta={"pixel_mm": 0.3})
    data = RefineContoursd("pred", rule=rule(), scaled=False)({"pred": pred})
    assert np.array_equal(data["pred"][0].numpy(), mask((30, 32, 5, 45)))
    assert np.array_equal(data["patches"][0].numpy(), mask((30, 32, 26, 30)))
    assert torch.equal(data["unrefined"], pred)
    assert not data["pred"][1].any()
    assert data["pred"].dtype == data["patches"].dtype == torch.float32
    assert data["pred"].meta["pixel_mm"] == data["patches"].meta["pixel_mm"] == 0.3
    assert [len(frame["lines"]) for frame in json.loads(json.dumps(data["refinement"]))] == [1, 0]


@pytest.mark.parametrize("options", [{"refine": False}, {"patch_lines": False}], ids=["all", "patch lines"])
def test_the_transform_can_be_switched_off(options):
    data = RefineContoursd("pred", rule=rule(), scaled=False, **options)({"pred": torch.from_numpy(BROKEN)[None]})
    expected = BROKEN if "refine" in options else mask(BAR_A)
    assert np.array_equal(data["pred"][0].numpy(), expected)
    assert not data["patches"].any()


def test_the_transform_reads_the_probability_where_the_rule_needs_it():
    data = {"pred": torch.from_numpy(BROKEN)[None], "prob": torch.full((1, 64, 64), 0.1)}
    strict = RefineContoursd("pred", probability_key="prob", rule=rule(min_gap_prob=0.3), scaled=False)
    assert not strict(data)["patches"].any()
    with pytest.raises(ValueError, match="name it with probability_key"):
        RefineContoursd("pred", rule=rule(min_gap_prob=0.3))


def test_the_transform_refuses_other_axes_and_shared_keys():
    with pytest.raises(ValueError, match=r"'pred' must be masks \(T, H, W\)"):
        RefineContoursd()({"pred": torch.zeros(8, 8)})
    with pytest.raises(ValueError, match="patch_key must name one item for each"):
        RefineContoursd(["pred", "other"])
