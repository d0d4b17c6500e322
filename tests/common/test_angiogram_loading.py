"""Angiograms and their masks become tensors (T, H, W) that can be batched; what shows nothing is refused."""

import warnings

import nibabel
import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, DivisiblePadd, Invertd
from PIL import Image

from common.angiograms.darkest import darkest_frame
from common.angiograms.loading import CheckAngiogramd, LoadAngiogramd, LoadFrameLabeld, ScaleAngiogramd


def sequence(count=4, side=64):
    """Frames of noise in which a dark line is longest in the third."""
    frames = np.random.default_rng(0).integers(150, 170, (count, side, side), dtype=np.uint8)
    for frame, length in zip(frames, (0, 20, 50, 30), strict=False):
        frame[:length, 30:33] = 60
    return frames


def nifti(path, frames):
    nibabel.save(nibabel.Nifti1Image(frames.transpose(2, 1, 0), np.diag([-0.3, -0.3, 1, 1])), path)
    return str(path)


def picture(path, pixels):
    Image.fromarray(pixels).save(path)
    return str(path)


@pytest.fixture
def image(tmp_path):
    return nifti(tmp_path / "image.nii.gz", sequence())


def test_a_sequence_has_its_frames_first_and_says_where_it_comes_from(image):
    loaded = LoadAngiogramd("image")({"image": image})["image"]
    assert loaded.dtype == torch.float32
    np.testing.assert_array_equal(loaded, sequence())
    assert loaded.meta["filename_or_obj"] == image
    assert {key: loaded.meta[key] for key in ("format", "bits", "frame_ms", "frames", "source_frames")} == {
        "format": "nifti",
        "bits": 8,
        "frame_ms": 0.0,
        "frames": [0, 1, 2, 3],
        "source_frames": 4,
    }
    assert loaded.meta["pixel_mm"] == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("frames", "entry", "number"),
    [(1, {}, 1), ("darkest", {}, 2), (None, {"frame": 3}, 3), ("darkest", {"frame": 0}, 0), (1, {"frame": None}, 1)],
    ids=["number", "darkest", "of the entry", "the entry goes before", "entry without a number"],
)
def test_one_frame_can_be_picked(image, frames, entry, number):
    loaded = LoadAngiogramd("image", frames)({"image": image, **entry})["image"]
    assert loaded.meta["frames"] == [number]
    assert loaded.meta["source_frames"] == 4
    np.testing.assert_array_equal(loaded, sequence()[number : number + 1])


@pytest.mark.parametrize("frames", ["brightest", -1, 0.5])
def test_an_unknown_choice_of_frames_is_refused(frames):
    with pytest.raises(ValueError, match="frames must be None, a number from 0"):
        LoadAngiogramd("image", frames)


def test_noise_does_not_make_a_frame_the_darkest():
    frames = np.full((2, 300, 300), 150, np.float32)
    frames[0, 50:250, 100:108] = 110
    frames[1] += np.random.default_rng(0).normal(0, 5, frames[1].shape)
    assert darkest_frame(frames) == 0


def test_the_vessels_fill_up_in_a_real_sequence(real_data):
    loaded = LoadAngiogramd("image", "darkest")({"image": real_data / "xca_sequence" / "image_dir"})["image"]
    assert loaded.meta["frames"] == [5]


def test_loaded_angiograms_can_be_batched_and_brought_back_to_their_pixels(image, tmp_path):
    odd = nifti(tmp_path / "odd.nii.gz", sequence(side=50)[:, :40])
    preprocessing = Compose([LoadAngiogramd("image"), DivisiblePadd("image", 64)])
    dataset = Dataset([{"image": image}, {"image": odd}], preprocessing)
    (batch,) = DataLoader(dataset, batch_size=2)
    assert batch["image"].shape == (2, 4, 64, 64)
    batch["pred"] = batch["image"] * 2
    inverted = [Invertd("pred", preprocessing, "image")(item)["pred"] for item in decollate_batch(batch)]
    assert [item.shape for item in inverted] == [(4, 64, 64), (4, 40, 50)]
    assert [item.meta["frames"] for item in inverted] == [[0, 1, 2, 3]] * 2
    assert [item.meta["format"] for item in inverted] == ["nifti"] * 2
    assert [item.meta["filename_or_obj"] for item in inverted] == [image, odd]


@pytest.mark.parametrize(
    ("values", "expected"),
    [((0, 255), (0, 1)), ((0, 1), (0, 1)), ((127, 128), (0, 1)), ((0, 0), (0, 0)), ((1, 1), (1, 1))],
    ids=["0 and 255", "0 and 1", "blurred edge", "empty", "full"],
)
def test_a_label_becomes_0_and_1(tmp_path, values, expected):
    mask = np.full((40, 40), values[0], np.uint8)
    mask[10:20] = values[1]
    data = {"image": picture(tmp_path / "i.png", sequence(1, 40)[0]), "label": picture(tmp_path / "l.png", mask)}
    label = LoadFrameLabeld("label", "image")(LoadAngiogramd("image")(data))["label"]
    assert label.dtype == torch.float32
    assert label.shape == (1, 40, 40)
    assert (label[0, 0, 0], label[0, 15, 0]) == expected


@pytest.mark.parametrize("frames", [1, 4], ids=["label of the frame", "label of all frames"])
def test_the_label_of_a_picked_frame_may_have_one_frame_or_all(image, tmp_path, frames):
    masks = (sequence() < 100).astype(np.uint8)
    path = nifti(tmp_path / "label.nii.gz", masks if frames == 4 else masks[2:3])
    data = LoadAngiogramd("image")({"image": image, "label": path, "frame": 2})
    np.testing.assert_array_equal(LoadFrameLabeld("label", "image")(data)["label"], masks[2:3])


def test_a_label_that_is_no_mask_is_refused_by_name(image, tmp_path):
    data = LoadAngiogramd("image")({"image": image, "label": nifti(tmp_path / "l.nii", np.full((4, 64, 64), 9.0))})
    with pytest.raises(ValueError, match=r"l\.nii: a label is 0 and 1, or grey"):
        LoadFrameLabeld("label", "image")(data)


@pytest.mark.parametrize("shape", [(4, 64, 63), (3, 64, 64), (1, 64, 64)], ids=["width", "frames", "one frame"])
def test_a_label_of_another_size_is_refused_by_name(image, tmp_path, shape):
    data = LoadAngiogramd("image")({"image": image, "label": nifti(tmp_path / "l.nii", np.zeros(shape, np.uint8))})
    with pytest.raises(ValueError, match=r"l\.nii: the label has \(T, H, W\) = .*image\.nii\.gz has \(4, 64, 64\)"):
        LoadFrameLabeld("label", "image")(data)


def test_real_pairs_are_loaded(real_data):
    folder = real_data / "xca_cimat80"
    data = LoadAngiogramd("image")({"image": folder / "images/test02.png", "label": folder / "masks/test02.png"})
    label = LoadFrameLabeld("label", "image")(data)["label"]
    assert label.shape == (1, 300, 300)
    assert 0.02 < label.mean() < 0.2
    assert data["image"][label > 0].mean() < data["image"][label == 0].mean() - 20  # vessels are dark


def test_a_usual_angiogram_passes(image):
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        CheckAngiogramd("image")(LoadAngiogramd("image")({"image": image}))


def changed(**pixels):
    frames = torch.from_numpy(sequence().astype(np.float32))
    frames[pixels.get("frame", slice(None))] = pixels["value"]
    return MetaTensor(frames, meta={"filename_or_obj": "run7"})


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (changed(value=0), "run7: all pixels of each frame are 0"),
        (changed(value=0)[:1], "run7: all pixels of the image are 0"),
        (changed(value=float("nan"), frame=1), "run7: 4096 pixels are NaN or infinite"),
        (changed(value=float("inf"), frame=1), "run7: 4096 pixels are NaN or infinite"),
        (changed(value=1)[:, :, :8], r"\(H, W\) = \(64, 8\), but each side needs 32"),
        (changed(value=1)[None], r"an angiogram is \(T, H, W\) with a frame or more, got \(1, 4, 64, 64\)"),
    ],
    ids=["all black", "black still", "NaN", "infinity", "tiny", "axes"],
)
def test_an_angiogram_that_shows_nothing_is_refused(image, message):
    with pytest.raises(ValueError, match=message):
        CheckAngiogramd("image")({"image": image})


def test_a_blank_frame_in_a_sequence_is_warned_of():
    with pytest.warns(UserWarning, match="run7: all pixels of frame 1 .* have one value"):
        CheckAngiogramd("image")({"image": changed(value=9, frame=1)})


FRAMES = torch.tensor([[[0.0, 50.0], [100.0, 25.0]], [[0.0, 0.0], [200.0, 100.0]]])


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("frame_max", FRAMES / torch.tensor([100.0, 200.0])[:, None, None]),
        ("sequence_max", FRAMES / 200),
        ("bits", FRAMES / 255),
        ("none", FRAMES),
    ],
)
def test_values_are_scaled(mode, expected):
    image = MetaTensor(FRAMES, meta={"bits": 8})
    torch.testing.assert_close(ScaleAngiogramd("image", mode)({"image": image})["image"].as_tensor(), expected)


def test_percentiles_of_the_whole_sequence_are_0_and_1():
    image = torch.arange(2000.0).reshape(2, 20, 50)  # 0.5 % of 1999 steps are 9.995
    scaled = ScaleAngiogramd("image")({"image": image})["image"]
    torch.testing.assert_close(scaled, ((image - 9.995) / (1989.005 - 9.995)).clamp(0, 1))


@pytest.mark.parametrize("mode", ["percentile", "frame_max", "sequence_max"])
def test_constant_images_become_0(mode):
    for value in (0.0, 7.0, -7.0):
        image = torch.full((2, 8, 8), value)
        assert torch.equal(ScaleAngiogramd("image", mode)({"image": image})["image"], torch.zeros(2, 8, 8))


def test_a_constant_frame_becomes_0_beside_others():
    image = torch.stack([torch.full((8, 8), 5.0), torch.arange(64.0).reshape(8, 8)])
    scaled = ScaleAngiogramd("image", "frame_max")({"image": image})["image"]
    assert scaled[0].max() == 0
    assert scaled[1].max() == 1


def test_the_few_pixels_that_differ_decide_where_all_others_are_the_same():
    image = torch.full((1, 100, 100), 5.0)
    image[0, 3, 3] = 4
    assert ScaleAngiogramd("image")({"image": image})["image"].unique().tolist() == [0, 1]


@pytest.mark.parametrize("mode", ["percentile", "frame_max"])
def test_8_bit_images_stay_as_they_are_and_others_become_8_bit(mode):
    scale = ScaleAngiogramd("image", mode, upper=255.0, round_values=True, keep_8bit=True)
    frames = torch.from_numpy(sequence().astype(np.float32))
    assert torch.equal(scale({"image": MetaTensor(frames, meta={"bits": 8})})["image"].as_tensor(), frames)
    deep = scale({"image": MetaTensor(frames * 16, meta={"bits": 12})})["image"]
    assert (float(deep.max()), float((deep % 1).abs().max())) == (255, 0)


def test_what_cannot_be_scaled_is_refused():
    with pytest.raises(ValueError, match="does not tell how many bits"):
        ScaleAngiogramd("image", "bits")({"image": MetaTensor(FRAMES, meta={"bits": 0})})
    with pytest.raises(ValueError, match="mode must be one of percentile, frame_percentile, bits"):
        ScaleAngiogramd("image", "max")
    with pytest.raises(ValueError, match="upper must be above 0, got 0"):
        ScaleAngiogramd("image", upper=0)


def test_frames_scaled_for_themselves_do_not_depend_on_the_others():
    frames = torch.stack([torch.arange(64.0).reshape(8, 8), torch.arange(64.0).reshape(8, 8) * 40])
    together = ScaleAngiogramd("image", mode="frame_percentile")({"image": frames})["image"]
    alone = ScaleAngiogramd("image", mode="percentile")({"image": frames[:1]})["image"]
    torch.testing.assert_close(together[:1], alone)
    torch.testing.assert_close(together[1], together[0])
