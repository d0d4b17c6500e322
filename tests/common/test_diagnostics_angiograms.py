"""The report of an angiogram measures masks of known size and names the frames that are doubtful."""

import math

import numpy as np
import pytest
import torch

from common.diagnostics.angiograms import (
    describe_frames,
    describe_source,
    explain_empty,
    judge_angiogram,
    judge_frames,
)

SOURCE = {"frames": 8, "bits": 8}
VALUES = {"percentile_1": 20.0, "percentile_99": 200.0}


def lines(*lengths):
    """Frames of 40 x 50 pixels, each with a line of that many pixels."""
    masks = np.zeros((len(lengths), 40, 50), bool)
    for frame, length in zip(masks, lengths, strict=True):
        frame[20, 5 : 5 + length] = True
    return masks


def measured(*lengths, **changes):
    return [frame | changes for frame in describe_frames(lines(*lengths), range(len(lengths)), 0.0)]


def test_a_line_has_its_area_share_and_length():
    empty, line = describe_frames(lines(0, 31), [4, 5], 0.2)
    assert empty == {"frame": 4, "area_px": 0, "share": 0, "components": 0, "length_px": 0, "length_mm": 0}
    assert line == pytest.approx(
        {"frame": 5, "area_px": 31, "share": 31 / 2000, "components": 1, "length_px": 30, "length_mm": 6}
    )


def test_without_a_pixel_size_there_is_no_length_in_mm():
    assert measured(31)[0]["length_mm"] is None


def test_a_mask_too_large_for_vessels_is_not_thinned():
    (frame,) = describe_frames(np.ones((1, 40, 50), bool), [0], 0.2)
    assert frame["share"] == 1
    assert frame["length_px"] is None


def test_what_a_file_does_not_say_is_null():
    meta = {"format": "image", "source_frames": 1, "bits": 0, "pixel_mm": torch.tensor(0.0), "frame_ms": 0.0}
    source = describe_source(meta | {"angles_deg": (30.0, math.nan)}, (1, 40, 50))
    assert (source["bits"], source["pixel_mm"], source["frame_ms"]) == (None, None, None)
    assert (source["frames"], source["height"], source["width"]) == (1, 40, 50)


def test_a_usual_angiogram_has_no_warnings():
    assert judge_angiogram(SOURCE, {"values": VALUES}, needs_motion=True) == []
    assert judge_frames(measured(20, 30, 20)) == ([], [])


@pytest.mark.parametrize(
    ("source", "values", "message"),
    [
        (SOURCE, {"percentile_1": 100.0, "percentile_99": 110.0}, "hardly any contrast: 98 % of the pixels"),
        (SOURCE | {"frames": 1}, VALUES, "a single frame: this network is made for sequences"),
    ],
    ids=["grey", "single"],
)
def test_a_doubtful_angiogram_has_one_warning(source, values, message):
    (warning,) = judge_angiogram(source, {"values": values}, needs_motion=True)
    assert message in warning


def test_frames_before_and_after_the_contrast_are_a_remark_and_no_warning():
    warnings, remarks = judge_frames(measured(0, 0, 0, 20, 30, 0))
    assert warnings == []
    assert remarks == [
        "frames 0-2 are empty: they come before the contrast",
        "frame 5 is empty: the contrast is washed out",
    ]


def test_empty_frames_between_others_are_a_warning():
    warnings, remarks = judge_frames(measured(20, 0, 20, 0, 0, 20))
    assert warnings == ["frames 1, 3-4 are empty between frames with vessels"]
    assert remarks == []


@pytest.mark.parametrize(
    ("change", "message"),
    [({"share": 0.3}, "frames 0-1 are so"), ({"components": 11}, "frames 0-1 are in more than 10 pieces")],
    ids=["area", "pieces"],
)
def test_implausible_masks_are_a_warning(change, message):
    (warning,), _ = judge_frames(measured(20, 20, **change))
    assert warning.endswith(message)


@pytest.mark.parametrize(
    ("notes", "reason"),
    [
        (
            {"highest_probability": 0.2, "above_threshold": 0},
            "the highest probability is 0.2, below the threshold of 0.5",
        ),
        ({"highest_probability": 0.8, "above_threshold": 7}, "7 pixels are above the threshold, but in components"),
        ({}, "is there contrast in the arteries"),
    ],
    ids=["threshold", "small", "contrast"],
)
def test_no_vessel_in_any_frame_is_explained(notes, reason):
    assert explain_empty(notes, {"threshold": 0.5}, 8).startswith(f"no vessel in any frame: {reason}")
    assert explain_empty(notes, {"threshold": 0.5}, 1).startswith("no vessel in the image: ")
