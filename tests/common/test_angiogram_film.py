"""Films show every frame beside the same frame with its mask, at the speed of the sequence."""

import shutil
import stat

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from PIL import Image

from common.angiograms.film import SaveFilmd, save_film
from common.angiograms.loading import LoadAngiogramd

T, H, W = 4, 30, 41
FRAMES = np.random.default_rng(0).integers(50, 200, (T, H, W)).astype(np.float32)
MASKS = np.zeros((T, H, W), bool)
MASKS[:, 10:14, 5:30] = True


def frames_of(path):
    with Image.open(path) as film:
        shown = []
        for number in range(film.n_frames):
            film.seek(number)
            shown.append(np.asarray(film.convert("RGB")).astype(int))
        return np.stack(shown), film.info.get("duration")


@pytest.mark.parametrize(("frame_ms", "duration"), [(80, 80), (66.7, 70), (0, 70), (5, 20)])
def test_a_gif_has_all_frames_at_the_speed_of_the_sequence(tmp_path, frame_ms, duration):
    save_film(FRAMES, MASKS, tmp_path / "a.gif", frame_ms)
    shown, shown_ms = frames_of(tmp_path / "a.gif")
    assert shown.shape == (T, H, 2 * W, 3)
    assert shown_ms == duration


def test_only_the_mask_is_tinted_and_only_in_the_right_panel(tmp_path):
    save_film(FRAMES, MASKS, tmp_path / "a.gif")
    shown, _ = frames_of(tmp_path / "a.gif")
    coloured = np.ptp(shown, axis=3) > 0
    assert not coloured[:, :, :W].any()
    np.testing.assert_array_equal(coloured[:, :, W:], MASKS)
    left, low, high = shown[:, :, :W, 0], *np.percentile(FRAMES, (0.5, 99.5))
    np.testing.assert_allclose(left, np.clip((FRAMES - low) / (high - low), 0, 1) * 255, atol=2)  # 127 greys


def test_the_truth_is_outlined_around_its_pixels(tmp_path):
    truth = np.zeros_like(MASKS)
    truth[:, 20:22, 10:12] = True
    save_film(FRAMES, np.zeros_like(MASKS), tmp_path / "a.gif", truth=truth)
    shown, _ = frames_of(tmp_path / "a.gif")
    outline = np.zeros_like(truth)
    outline[:, 19:23, 9:13] = True
    np.testing.assert_array_equal(np.ptp(shown, axis=3)[:, :, W:] > 0, outline & ~truth)


def test_large_frames_are_shown_smaller_without_losing_thin_masks(tmp_path):
    frames, masks = np.zeros((1, 1024, 600), np.float32), np.zeros((1, 1024, 600), bool)
    frames[:, :, 300:], masks[:, 500] = 100, True
    save_film(frames, masks, tmp_path / "a.gif")
    shown, _ = frames_of(tmp_path / "a.gif")
    assert shown.shape == (1, 512, 600, 3)
    assert (np.ptp(shown, axis=3) > 0).sum() == 300


def test_constant_frames_make_a_film(tmp_path):
    save_film(np.full((2, 8, 8), 3.0), MASKS[:2, :8, :8], tmp_path / "a.gif")
    assert (tmp_path / "a.gif").is_file()


def test_the_film_of_a_case_shows_the_file_s_frames_not_the_network_s(tmp_path):
    path = tmp_path / "run.nii.gz"
    nibabel.save(nibabel.Nifti1Image(FRAMES.transpose(2, 1, 0).astype(np.uint8), np.eye(4)), path)
    data = LoadAngiogramd("image")({"image": path})
    data["image"] = data["image"] * 0
    data["pred"] = MetaTensor(torch.from_numpy(MASKS).float())
    SaveFilmd("pred", "image", tmp_path / "out")(data)
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["run_film.gif"]
    assert frames_of(tmp_path / "out" / "run_film.gif")[0][:, :, :W].std() > 20


def test_mp4_without_ffmpeg_is_refused_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(ValueError, match="need the program ffmpeg, which is not on the PATH: install it"):
        SaveFilmd("pred", "image", tmp_path, suffix="mp4")


def fake_ffmpeg(folder, monkeypatch, script):
    program = folder / "ffmpeg"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IEXEC)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_ffmpeg_gets_the_size_the_speed_and_every_pixel(tmp_path, monkeypatch):
    fake_ffmpeg(tmp_path, monkeypatch, 'for last; do :; done; echo "$@" > "$last"; wc -c >> "$last"')
    save_film(FRAMES[:, :29], MASKS[:, :29], tmp_path / "a.mp4", frame_ms=80)
    said, received = (tmp_path / "a.mp4").read_text().splitlines()
    assert "-s 82x28 -r 12.5 " in said  # even sides
    assert int(received) == T * 28 * 82 * 3


def test_the_message_of_a_failing_ffmpeg_is_passed_on(tmp_path, monkeypatch):
    fake_ffmpeg(tmp_path, monkeypatch, "cat > /dev/null; echo no encoder >&2; exit 1")
    with pytest.raises(OSError, match="ffmpeg failed: no encoder"):
        save_film(FRAMES, MASKS, tmp_path / "a.mp4")
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize(
    ("frames", "masks", "name", "message"),
    [
        (FRAMES, MASKS[:2], "a.gif", "shapes must be equal"),
        (FRAMES[0], MASKS[0], "a.gif", r"frames must be \(T, H, W\)"),
        (FRAMES, MASKS, "a.avi", r"a film ends in \.gif or \.mp4"),
    ],
    ids=["shapes", "axes", "suffix"],
)
def test_what_is_no_film_is_refused(tmp_path, frames, masks, name, message):
    with pytest.raises(ValueError, match=message):
        save_film(frames, masks, tmp_path / name)
