"""SVS-net's windows, loss and learning rates in training (acceptance facts of the method)."""

import monai.transforms as mt
import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, MetaTensor
from monai.losses import DiceLoss
from svsnet.schedules import default_schedule, reference_schedule
from svsnet.windows import RandWindowd, stride_for, take_frames, window_indices

DICE = DiceLoss(sigmoid=False, batch=True, smooth_nr=0, smooth_dr=1e-5)


def sequence(frames=6, size=8, vessels=None):
    """A sequence whose pixels hold their frame's number, and its label: set in the frames with ``vessels``."""
    image = torch.arange(frames, dtype=torch.float32)[:, None, None].expand(frames, size, size).clone()
    label = torch.zeros_like(image)
    label[list(range(frames)) if vessels is None else vessels, 2:4] = 1
    meta = {"filename_or_obj": "a.nii.gz", "frames": list(range(10, 10 + frames))}
    return {"image": MetaTensor(image, meta=meta), "label": MetaTensor(label, meta=meta)}


def frames_of(image):
    return image[:, 0, 0].tolist()


def windows(data, seed=0, **options):
    transform = RandWindowd("image", **options)
    transform.set_random_state(seed)
    return transform(data)


@pytest.mark.parametrize(
    ("t", "expected"),
    list(enumerate([[0, 0, 0, 1], [0, 0, 1, 2], [0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 4]])),
    ids=lambda value: str(value),
)
def test_a_window_holds_two_frames_before_and_one_after(t, expected):
    assert window_indices(5, t) == expected


@pytest.mark.parametrize(
    ("n", "t", "options", "expected"),
    [
        (1, 0, {}, [0, 0, 0, 0]),
        (1, 0, {"edge": "reflect"}, [0, 0, 0, 0]),
        (2, 0, {}, [0, 0, 0, 1]),
        (5, 0, {"edge": "reflect"}, [2, 1, 0, 1]),
        (5, 4, {"edge": "reflect"}, [2, 3, 4, 3]),
        (2, 0, {"edge": "reflect", "frames": 7}, [1, 0, 1, 0, 1, 0, 1]),
        (5, 1, {"edge": "drop"}, []),
        (5, 2, {"edge": "drop"}, [0, 1, 2, 3]),
        (5, 4, {"edge": "drop"}, []),
        (9, 4, {"stride": 2}, [0, 2, 4, 6]),
        (9, 1, {"stride": 2}, [0, 0, 1, 3]),
        (5, 2, {"frames": 5}, [0, 1, 2, 3, 4]),
        (5, 2, {"frames": 1}, [2]),
    ],
    ids=str,
)
def test_frames_beyond_the_ends_are_replaced(n, t, options, expected):
    assert window_indices(n, t, **options) == expected


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 0), "n, frames and stride"), ((5, 0, 4, 0), "n, frames and stride"), ((5, 0, 4, 1, "wrap"), "edge must be")],
    ids=["n", "stride", "edge"],
)
def test_a_window_that_cannot_be_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        window_indices(*arguments)


@pytest.mark.parametrize(
    ("frame_ms", "expected"), [(66.7, 1), (33.3, 2), (133, 1), (22.2, 3), (0, 1)], ids=lambda value: f"{value}"
)
def test_the_stride_brings_a_sequence_to_the_trained_frame_rate(frame_ms, expected):
    assert stride_for(frame_ms, trained_ms=66.7) == expected


def test_impossible_frame_times_are_refused():
    with pytest.raises(ValueError, match="frame_ms must be at least 0"):
        stride_for(-1, 60)


def test_windows_of_one_sequence_are_of_different_frames_with_their_own_labels():
    data = sequence()
    data["label"] += data["image"]  # labels that tell their frame
    cut = windows(data, num_windows=6)
    assert sorted(frames_of(item["label"])[0] for item in cut) == [0, 1, 2, 3, 4, 5]
    for item in cut:
        assert frames_of(item["image"]) == window_indices(6, int(frames_of(item["label"])[0]))
        assert item["label"].shape == (1, 8, 8)


def test_more_windows_than_frames_come_again():
    assert len(windows(sequence(frames=2), num_windows=5)) == 5


def test_frames_with_vessels_are_preferred_as_often_as_asked():
    data = sequence(frames=10, vessels=[7])
    assert all(windows(data, seed, vessel_frames=1.0)[0]["label"].any() for seed in range(20))
    share = np.mean([bool(windows(data, seed, vessel_frames=0.5)[0]["label"].any()) for seed in range(200)])
    assert share == pytest.approx(0.5 + 0.5 / 10, abs=0.1)


def test_a_sequence_without_any_vessel_still_gives_windows():
    assert not windows(sequence(vessels=[]), vessel_frames=1.0)[0]["label"].any()


def test_a_still_window_repeats_the_frame_of_the_label():
    data = sequence()
    data["label"] += data["image"]
    item = windows(data, still=True)[0]
    assert frames_of(item["image"]) == frames_of(item["label"]) * 4


def test_metadata_name_the_frames_of_the_window_and_the_sequence_is_left_alone():
    data = sequence()
    item = windows(data)[0]
    assert [frame + 10 for frame in frames_of(item["image"])] == item["image"].meta["frames"]
    assert len(item["label"].meta["frames"]) == 1
    assert data["image"].shape == (6, 8, 8)
    assert len(data["image"].meta["frames"]) == 6


def test_plain_tensors_can_be_cut_too():
    assert frames_of(take_frames(torch.arange(3.0)[:, None, None].expand(3, 2, 2), [2, 0])) == [2, 0]


def test_image_and_label_of_different_frames_are_refused():
    data = sequence()
    data["label"] = data["label"][:3]
    with pytest.raises(ValueError, match="must be of one shape"):
        windows(data)


def test_a_sequence_without_a_full_window_is_refused_where_edges_are_dropped():
    with pytest.raises(ValueError, match="no full window of 4 frames"):
        windows(sequence(frames=3), edge="drop")


@pytest.mark.parametrize("options", [{"num_windows": 0}, {"vessel_frames": 1.5}], ids=str)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match="num_windows must be at least 1 and vessel_frames a probability"):
        RandWindowd("image", **options)


def augmentations(mode="bilinear", size=(32, 32)):
    """What training does after the window is cut."""
    return [
        mt.RandAffined(
            ["image", "label"],
            prob=1.0,
            spatial_size=size,
            rotate_range=0.1745,
            shear_range=0.035,
            scale_range=0.2,
            translate_range=8,
            mode=[mode, "nearest"],
            padding_mode=["border", "border"] if mode == "nearest" else ["border", "zeros"],
        ),
        mt.RandFlipd(["image", "label"], prob=0.5, spatial_axis=0),
        mt.RandFlipd(["image", "label"], prob=0.5, spatial_axis=1),
    ]


def intensities():
    return [
        mt.RandScaleIntensityFixedMeand("image", prob=1.0, factors=0.2, fixed_mean=True),
        mt.RandShiftIntensityd("image", prob=1.0, offsets=0.2),
        mt.ScaleIntensityRanged("image", 0, 1, 0, 1, clip=True),
    ]


def vessel_windows(seed, *transforms):
    label = torch.zeros(6, 48, 48)
    label[:, 20:26, 4:40] = label[:, 8:44, 30:33] = 1
    data = {"image": MetaTensor(label.clone()), "label": MetaTensor(label)}
    chain = mt.Compose([RandWindowd("image", num_windows=3), *transforms])
    chain.set_random_state(seed)
    return chain(data)


@pytest.mark.parametrize("seed", range(5))
def test_image_and_mask_move_together_and_masks_stay_binary(seed):
    for item in vessel_windows(seed, *augmentations("nearest")):
        assert torch.equal(item["image"], item["label"].expand(4, -1, -1))
        assert item["label"].unique().tolist() == [0, 1]


@pytest.mark.parametrize("seed", range(5))
def test_brightness_and_contrast_are_drawn_once_for_a_window_and_stay_in_range(seed):
    cut = vessel_windows(seed, *augmentations(), *intensities())
    for item in cut:
        assert torch.equal(item["image"], item["image"][:1].expand(4, -1, -1))
        assert 0 <= item["image"].min() < item["image"].max() <= 1
    assert not torch.equal(cut[0]["image"].mean(), cut[1]["image"].mean())


def test_windows_of_sequences_of_different_length_make_a_batch():
    chain = [
        RandWindowd("image", num_windows=2),
        mt.EnsureChannelFirstd("image", channel_dim="no_channel"),
    ]
    dataset = CacheDataset([sequence(4), sequence(7)], chain, progress=False)
    batch = next(iter(DataLoader(dataset, batch_size=2)))
    assert batch["image"].shape == (4, 1, 4, 8, 8)
    assert batch["label"].shape == (4, 1, 8, 8)


def test_the_loss_is_one_minus_the_published_dice():
    prediction, label = torch.tensor([[1.0, 0, 1, 0]])[None], torch.tensor([[1.0, 1, 0, 0]])[None]
    assert DICE(prediction, label).item() - 1 == pytest.approx(-0.49999875, abs=1e-7)


def test_the_loss_counts_the_batch_as_one_image():
    prediction = torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 0]])[:, None]
    label = torch.tensor([[1.0, 0, 0, 0], [1, 0, 0, 0]])[:, None]
    assert 1 - DICE(prediction, label).item() == pytest.approx(0.49999875, abs=1e-6)
    each = DiceLoss(sigmoid=False, smooth_nr=1e-5, smooth_dr=1e-5)
    assert 1 - each(prediction, label).item() == pytest.approx(0.3333389, abs=1e-6)


def learning_rates(make, epochs):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.01)
    scheduler = make(optimizer)
    rates = []
    for _ in range(epochs):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


def test_the_reference_schedule_is_the_one_that_the_authors_code_runs():
    rates = learning_rates(reference_schedule, 601)
    assert [rates[epoch] for epoch in (0, 1, 199, 200, 201, 400, 600)] == pytest.approx(
        [0.001, 0.01, 0.01, 0.001, 0.01, 0.001, 0.001]
    )


def test_the_default_schedule_warms_up_for_an_epoch_and_falls_twice():
    rates = learning_rates(lambda optimizer: default_schedule(optimizer, 20), 20)
    assert rates == pytest.approx([0.001] + [0.01] * 11 + [0.001] * 5 + [0.0001] * 3)


def test_a_training_of_one_epoch_has_no_warm_up():
    assert learning_rates(lambda optimizer: default_schedule(optimizer, 1), 1) == [0.01]


def test_a_training_without_epochs_is_refused():
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        learning_rates(lambda optimizer: default_schedule(optimizer, 0), 1)


def test_a_schedule_continues_from_its_state():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.01)
    scheduler = default_schedule(optimizer, 10)
    for _ in range(7):
        optimizer.step()
        scheduler.step()
    again = default_schedule(torch.optim.SGD([torch.zeros(1, requires_grad=True)], 0.01), 10)
    again.load_state_dict(scheduler.state_dict())
    assert again.get_last_lr() == scheduler.get_last_lr()
