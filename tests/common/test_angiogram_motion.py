"""Steadiness of masks: from frame to frame, and after the motion of the vessels."""

import numpy as np
import pytest

from common.angiograms.motion import consecutive_dice, estimate_motion, frame_consistency, move_mask


def vessel(shift=0.0, size=128):
    """A dark curved vessel 5 pixels wide, moved down by ``shift``, over shades that stand still; and its mask."""
    rows, columns = np.mgrid[:size, :size].astype(float)
    distance = rows - shift - (size / 2 + 14 * np.sin(columns / 18))
    still = 150 + 30 * np.cos(rows / 40) - 25 * (np.abs(columns - size / 4) < 12)
    noise = np.random.default_rng(int(shift * 10)).normal(0, 3, (size, size))
    return still - 60 * np.exp(-((distance / 3) ** 2)) + noise, np.abs(distance) <= 2.5


def sequence(*shifts):
    frames, masks = zip(*map(vessel, shifts), strict=True)
    return np.stack(frames), np.stack(masks)


def test_masks_that_stand_still_do_not_flicker():
    _, masks = sequence(0, 0, 0)
    assert frame_consistency(masks) == {"consistency": 1, "flicker": 0}


def test_consistency_is_the_mean_dice_of_neighbours():
    masks = np.zeros((3, 4, 6), bool)
    masks[0, 0, :4] = masks[1, 0, 2:6] = True  # half of each in common, then nothing
    assert consecutive_dice(masks).tolist() == [0.5, 0]
    assert frame_consistency(masks) == {"consistency": 0.25, "flicker": 0.75}


def test_two_empty_masks_agree():
    assert consecutive_dice(np.zeros((3, 4, 6), bool)).tolist() == [1, 1]


@pytest.mark.parametrize("step", [4, 8])
def test_a_vessel_that_moves_flickers_only_until_its_motion_is_taken_out(step):
    frames, masks = sequence(0, step)
    found = frame_consistency(masks, frames)
    assert found["consistency"] < 0.5
    assert found["consistency_after_motion"] > 0.9
    assert found["flicker_after_motion"] == pytest.approx(1 - found["consistency_after_motion"])


def test_a_mask_that_jumps_while_the_vessel_stands_still_flickers_after_motion_too():
    frames, masks = sequence(0, 0)
    masks[1, :, 64:] = False  # half of the vessel is lost
    found = frame_consistency(masks, frames)
    assert found["flicker"] == pytest.approx(1 / 3, abs=0.03)
    assert found["flicker_after_motion"] == pytest.approx(found["flicker"], abs=0.05)


def test_the_motion_leads_from_the_later_frame_to_the_earlier():
    frames, masks = sequence(0, 4)
    motion = estimate_motion(*frames)
    assert np.median(motion[0][masks[1]]) == pytest.approx(-4, abs=0.5)
    assert np.median(motion[1][masks[1]]) == pytest.approx(0, abs=0.5)


def test_a_mask_follows_its_motion():
    mask = np.zeros((8, 9), bool)
    mask[2:4, 3:5] = True
    motion = np.zeros((2, 8, 9))
    motion[0], motion[1] = -2, 1  # pixels have come from 2 rows above and a column to the right
    assert np.array_equal(move_mask(mask, motion), np.roll(mask, (2, -1), (0, 1)))


def test_a_motion_is_in_pixels_of_frames_of_any_size():
    frames = np.stack([vessel(shift, 384)[0] for shift in (0, 6)])
    _, mask = vessel(6, 384)
    motion = estimate_motion(*frames[:, :320])
    assert motion.shape == (2, 320, 384)
    assert np.median(motion[0][mask[:320]]) == pytest.approx(-6, abs=0.7)


def test_blank_frames_do_not_move():
    assert not estimate_motion(np.zeros((40, 40)), np.zeros((40, 40))).any()


def test_a_still_has_no_consistency():
    frames, masks = sequence(0)
    assert np.isnan(list(frame_consistency(masks, frames).values())).all()


def test_wrong_shapes_are_refused():
    frames, masks = sequence(0, 0)
    with pytest.raises(ValueError, match=r"masks must be \(T, H, W\), got the shape \(128, 128\)"):
        frame_consistency(masks[0])
    with pytest.raises(ValueError, match=r"shapes must be equal, got masks .*, frames"):
        frame_consistency(masks, frames[:1])
