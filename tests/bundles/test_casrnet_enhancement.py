"""CLAHE and average subtraction against their stated values, and the channels made of them."""

import numpy as np
import pytest
import torch
from casrnet.enhancement import EnhanceChannelsd, ben_graham, clahe, subtract_average
from monai.data import MetaTensor
from monai.transforms import Compose, Invertd, Resized


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def dark(rows, columns, depth=10):
    image = np.full((65, 65), 100.0)
    image[rows, columns] -= depth
    return image


@pytest.mark.parametrize(("side", "value"), [(64, 84), (512, 80)])
def test_clahe_lifts_a_constant_image_by_what_clipping_spreads(side, value):
    """All counts lie in one bin: clipped to twice the mean, it leaves the rest to the bins below it."""
    assert (clahe(np.full((side, side), 77, np.uint8)) == value).all()


def test_clahe_of_a_ramp_has_the_stated_values():
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (64, 1))
    assert clahe(ramp)[0, :8].tolist() == [8, 16, 24, 32, 40, 45, 49, 52]


def test_clahe_of_one_tile_without_clipping_is_histogram_equalization():
    image = noise(32, 32)
    counts = np.bincount(image.ravel(), minlength=256)
    expected = np.rint(counts.cumsum() * 255 / image.size)[image]
    assert (clahe(image, clip_limit=256, tiles=(1, 1)) == expected).all()


def test_clahe_blends_the_tables_of_four_tiles():
    image = noise(40, 48)
    alone = [[clahe(image[r : r + 20, c : c + 24], 256, (1, 1)) for c in (0, 24)] for r in (0, 20)]
    blended = clahe(image, 256, (2, 2))
    for rows, columns, r, c in ((slice(10), slice(12), 0, 0), (slice(30, 40), slice(36, 48), 1, 1)):
        inside = alone[r][c][rows if r == 0 else slice(10, 20), columns if c == 0 else slice(12, 24)]
        assert (blended[rows, columns] == inside).all()  # beyond the outermost centers a tile stands alone


@pytest.mark.parametrize("shape", [(123, 77), (200, 300), (64, 100), (9, 9)], ids=str)
def test_clahe_takes_any_size(shape):
    enhanced = clahe(noise(*shape))
    assert enhanced.shape == shape
    assert enhanced.dtype == np.uint8


def test_clahe_extends_both_sides_where_one_is_not_divisible():
    image = noise(64, 60)
    extended = np.pad(image, [(0, 8), (0, 4)], mode="reflect")
    assert (clahe(image) == clahe(extended)[:64, :60]).all()


def test_clahe_raises_the_contrast_of_a_faint_vessel():
    image = np.full((256, 256), 120, np.uint8) + noise(256, 256) // 32
    image[:, 100:104] -= 6
    before, after = (np.ptp(enhanced[:, 90:115].mean(0)) for enhanced in (image, clahe(image)))
    assert after > 2 * before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((8, 8)),), "must be .* of uint8, got .*float64"),
        ((noise(2, 8, 8),), r"must be \(H, W\)"),
        ((noise(8, 8), 0), "clip_limit and both numbers of tiles must be positive"),
        ((noise(8, 8), 2, (8, 0)), "clip_limit and both numbers of tiles must be positive"),
    ],
    ids=["type", "axes", "clip limit", "tiles"],
)
def test_clahe_refuses_what_it_cannot_do(arguments, message):
    with pytest.raises(ValueError, match=message):
        clahe(*arguments)


def test_a_constant_image_becomes_the_offset():
    assert (ben_graham(np.full((32, 48), 200, np.uint8)) == 128).all()


def test_a_dark_line_and_a_dark_pixel_have_the_stated_values():
    assert subtract_average(dark(slice(None), 32), sigma=2)[32, 32] == pytest.approx(95.979, abs=5e-4)
    spot = subtract_average(dark(32, 32), sigma=2)
    assert spot[32, 32] == pytest.approx(89.592, abs=5e-4)
    assert spot[32, 33] == pytest.approx(129.405, abs=5e-4)


def test_the_line_keeps_what_the_gaussian_does_not_take():
    weights = np.exp(-0.5 * (np.arange(-8, 9) / 2) ** 2)
    kept = 1 - 1 / weights.sum()
    assert subtract_average(dark(slice(None), 32), sigma=2)[32, 32] == pytest.approx(128 - 4 * 10 * kept)


def test_brightness_does_not_change_the_result():
    image = noise(64, 64) / 4
    assert np.allclose(subtract_average(image + 100), subtract_average(image))


def test_the_response_follows_the_resolution():
    coarse, fine = np.full((256, 256), 100.0), np.full((512, 512), 100.0)
    coarse[:, 128:131] = 90
    fine[:, 256:262] = 90
    responses = [subtract_average(image)[len(image) // 2].min() for image in (coarse, fine)]
    assert responses[0] == pytest.approx(responses[1], abs=0.2)


def test_values_beyond_the_range_are_saturated():
    image = np.zeros((64, 64), np.uint8)
    image[30:34] = 255
    assert set(np.unique(ben_graham(image, sigma=4))) >= {0, 255}


def test_a_width_that_is_not_positive_is_refused():
    with pytest.raises(ValueError, match="sigma must be above 0"):
        ben_graham(noise(8, 8), sigma=0)


def enhance(image, **options):
    return EnhanceChannelsd("image", **options)({"image": image})["image"]


def test_every_frame_gets_its_channels_one_frame_after_the_other():
    frames = noise(2, 64, 48)
    enhanced = enhance(torch.from_numpy(frames).float())
    assert enhanced.shape == (6, 64, 48)
    assert enhanced.dtype == torch.float32
    for t, frame in enumerate(frames):
        for c, expected in enumerate((frame, clahe(frame), ben_graham(frame))):
            assert np.allclose(enhanced[3 * t + c], (expected / 255 - 0.5) / 0.5, atol=1e-6)


def test_a_frame_does_not_depend_on_the_others():
    frames = torch.from_numpy(noise(3, 64, 64)).float()
    assert torch.equal(enhance(frames)[3:6], enhance(frames[1:2]))


def test_channels_can_be_chosen_and_repeated():
    frame = noise(1, 64, 64)
    enhanced = enhance(
        torch.from_numpy(frame), channels=("clahe", "graham", "graham", "graham_of_clahe"), mean=0, std=1
    )
    expected = [clahe(frame[0]), ben_graham(frame[0]), ben_graham(frame[0]), ben_graham(clahe(frame[0]))]
    assert np.allclose(enhanced * 255, expected, atol=1e-4)


def test_each_channel_is_normalized_by_its_own_mean_and_deviation():
    enhanced = enhance(torch.zeros(1, 32, 32), channels=("gray", "gray"), mean=(0.5, 0.2), std=(0.5, 0.1))
    assert torch.allclose(enhanced[:, 0, 0], torch.tensor([-1.0, -2.0]))


def test_the_settings_reach_the_enhancement():
    frame = noise(1, 64, 64)
    options = {"clip_limit": 4.0, "tiles": (4, 2), "gain": 2.0, "channels": ("clahe", "graham"), "mean": 0, "std": 1}
    expected = [clahe(frame[0], 4.0, (4, 2)), ben_graham(frame[0], gain=2.0)]
    assert np.allclose(enhance(torch.from_numpy(frame), **options) * 255, expected, atol=1e-4)


def test_resizing_before_the_enhancement_can_be_undone_on_the_prediction():
    image = MetaTensor(torch.from_numpy(noise(2, 50, 70)).float(), meta={"pixel_mm": 0.3})
    transforms = Compose([Resized("image", (64, 64)), EnhanceChannelsd("image")])
    data = transforms({"image": image})
    assert isinstance(data["image"], MetaTensor)
    assert data["image"].meta["pixel_mm"] == 0.3
    data["pred"] = MetaTensor(torch.ones(2, 64, 64), meta=data["image"].meta)
    back = Invertd("pred", transforms, "image", nearest_interp=True)(data)
    assert back["pred"].shape == (2, 50, 70)


def test_the_given_image_is_left_as_it_was():
    image = torch.from_numpy(noise(1, 64, 64)).float()
    before = image.clone()
    enhance(image)
    assert torch.equal(image, before)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.full((1, 8, 8), 4095.0), r"0\.\.255, got 4095 to 4095: scale it first"),
        (torch.full((1, 8, 8), -3.0), r"0\.\.255, got -3"),
        (torch.full((1, 8, 8), torch.nan), r"0\.\.255, got nan"),
        (torch.zeros(8, 8), r"must be frames \(T, H, W\)"),
    ],
    ids=["12 bits", "negative", "not a number", "no frames"],
)
def test_values_that_are_no_gray_levels_are_refused(image, message):
    with pytest.raises(ValueError, match=message):
        enhance(image)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channels": ("gray", "sharp")}, "channels must be names out of"),
        ({"channels": ()}, "channels must be names out of"),
        ({"mean": (0.5, 0.5)}, "mean must be one number or one for each"),
        ({"std": 0.0}, "std must be above 0"),
    ],
    ids=["unknown channel", "no channel", "mean", "deviation"],
)
def test_settings_that_do_not_fit_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EnhanceChannelsd("image", **options)
