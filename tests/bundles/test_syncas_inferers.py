"""Windows as published: where they lie, what they weigh, and that blending them changes nothing."""

from itertools import product

import numpy as np
import pytest
import torch
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Activationsd, AsDiscreted, Compose, Invertd, Orientationd, ScaleIntensityRanged
from monai.transforms import ShiftIntensityd as Shift
from syncas.common.heart_box import CropToHeartd
from syncas.common.loading import CheckVolumed
from syncas.inferers import EvenWindowInferer, weight_map, window_starts
from syncas.resampling import ResampleSlicesd
from torch.nn import functional


def as_logits(x):
    """Be a network whose vessel logit is its input."""
    return torch.cat([torch.zeros_like(x), x], dim=1)


def uneven(x):
    """Be a network that sees another thing in a mirror: a difference of neighbours along every axis."""
    return as_logits(sum(x - x.roll(1, axis) for axis in (2, 3, 4)) + x**2)


@pytest.mark.parametrize(
    ("size", "window", "starts"),
    [
        (46, 32, [0, 14]),
        (500, 224, [0, 92, 184, 276]),
        (630, 224, [0, 102, 203, 304, 406]),
        (224, 224, [0]),
        (225, 224, [0, 1]),
    ],
)
def test_windows_are_spread_evenly_from_end_to_end(size, window, starts):
    assert window_starts(size, window) == starts


def test_windows_may_touch_without_overlap():
    assert window_starts(96, 32, step=1.0) == [0, 32, 64]


def test_the_weight_map_is_the_published_one():
    weights = weight_map((224, 224, 32))
    assert weights.shape == (224, 224, 32)
    assert np.unravel_index(int(weights.argmax()), weights.shape) == (112, 112, 16)
    assert weights.max() == 10
    assert weights.min() == pytest.approx(3.78e-10, rel=0.01)
    half = weights.half()
    half[half == 0] = half[half > 0].min()
    assert half.min() == pytest.approx(5.96e-8, rel=0.01)
    assert half.double().sum() == pytest.approx(493_813, rel=1e-5)


@pytest.mark.parametrize("shape", [(40, 33, 50), (20, 48, 7), (16, 16, 16), (1, 2, 3)])
@pytest.mark.parametrize("options", [{}, {"sw_batch_size": 3}, {"step": 1.0}, {"mirror_axes": (0, 1, 2)}], ids=str)
def test_what_the_network_returns_comes_out_unchanged(shape, options):
    volume = 5 * torch.randn(2, 1, *shape, generator=torch.Generator().manual_seed(0))
    logits = EvenWindowInferer((16, 16, 16), **options)(volume, as_logits)
    assert logits.shape == volume.shape
    assert (logits - volume).abs().max() < 1e-4


def test_a_network_with_one_channel_is_blended_as_it_is():
    volume = torch.randn(1, 1, 20, 20, 20)
    assert (EvenWindowInferer((16, 16, 16))(volume, torch.nn.Identity()) - volume).abs().max() < 1e-4


@pytest.mark.parametrize(("difference", "vessel"), [(-1.09, 1), (-1.11, 0)])
def test_a_quarter_is_the_threshold_of_the_probability(difference, vessel):
    logits = EvenWindowInferer((16, 16, 16))(torch.full((1, 1, 16, 16, 16), difference), as_logits)
    mask = AsDiscreted("pred", threshold=0.25)(Activationsd("pred", sigmoid=True)({"pred": logits[0]}))["pred"]
    assert mask.unique().tolist() == [vessel]


@pytest.mark.parametrize("axes", [(0,), (2,), (0, 1, 2)], ids=str)
def test_mirror_averaging_is_the_mean_over_all_flips(axes):
    volume = torch.randn(1, 1, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    plain = EvenWindowInferer((16, 16, 16))
    seen = []
    for chosen in product(*[(False, True)] * len(axes)):
        flip = [axis + 2 for axis, flipped in zip(axes, chosen, strict=True) if flipped]
        seen.append(plain(volume.flip(flip), uneven).flip(flip))
    averaged = EvenWindowInferer((16, 16, 16), mirror_axes=axes)(volume, uneven)
    assert len(seen) == 2 ** len(axes)
    assert (averaged - sum(seen) / len(seen)).abs().max() < 1e-5
    assert (averaged - seen[0]).abs().max() > 0.1


def test_small_volumes_are_padded_with_zero_and_the_odd_voxel_at_the_end():
    seen = []

    def network(x):
        seen.append(x)
        return as_logits(x)

    volume = torch.ones(1, 1, 16, 16, 3)
    EvenWindowInferer((16, 16, 16))(volume, network)
    assert len(seen) == 1
    assert torch.equal(seen[0], functional.pad(volume, (6, 7)))


def test_windows_nearer_to_a_voxel_weigh_more():
    calls = []

    def numbered(x):
        calls.append(len(calls))
        return torch.full_like(x, calls[-1])

    logits = EvenWindowInferer((16, 16, 16))(torch.zeros(1, 1, 24, 16, 16), numbered)[0, 0, :, 8, 8]
    assert len(calls) == 2  # the windows begin at 0 and 8; the middle of the first is 8, of the second 16
    assert (logits[:8] == 0).all()
    assert (logits[16:] == 1).all()
    assert logits[12] == pytest.approx(0.5, abs=1e-6)
    assert (logits[8:16].diff() > 0).all()


def test_metadata_stay_with_the_logits():
    volume = MetaTensor(torch.zeros(1, 1, 16, 16, 16), affine=torch.diag(torch.tensor([0.3, 0.3, 3, 1])))
    logits = EvenWindowInferer((16, 16, 16))(volume, as_logits)
    assert isinstance(logits, MetaTensor)
    assert torch.equal(logits.affine, volume.affine)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0.0}, r"step must be a share of the window in \(0, 1\], got 0.0"),
        ({"step": 1.5}, "step must be"),
        ({"mirror_axes": (3,)}, r"mirror_axes must lie in 0\.\.2, got \[3\]"),
    ],
    ids=["no step", "gaps", "axis"],
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        EvenWindowInferer((16, 16, 16), **options)


def preprocessing():
    """Return what the configs do between loading and the network, on a coarser grid."""
    return Compose(
        [
            CheckVolumed("image", window_hu=(-150, 250), thick_slice_mm=5.0),
            CropToHeartd("image", "image", contrast=False),
            Orientationd("image", axcodes="RAS", labels=None),
            ScaleIntensityRanged("image", a_min=-150, a_max=250, b_min=-1.0, b_max=1.0, clip=True),
            ResampleSlicesd("image", (3.0, 3.0, 6.0)),
        ]
    )


def segmented(volume_hu, affine):
    """Take a volume through pre-processing, windows and post-processing; return its probability."""
    before = preprocessing()
    item = {"image": MetaTensor(torch.from_numpy(volume_hu)[None], affine=torch.as_tensor(affine))}
    batch = next(iter(DataLoader(Dataset([item], before), batch_size=1)))
    batch["pred"] = EvenWindowInferer((16, 16, 16))(batch["image"], lambda x: as_logits(5 * x))
    after = Compose(
        [
            Shift("pred", offset=20.0),
            Invertd("pred", before, "image", nearest_interp=False),
            Shift("pred", offset=-20.0),
            Activationsd("pred", sigmoid=True),
        ]
    )
    return after(decollate_batch(batch)[0])["pred"]


@pytest.mark.parametrize("thickness_mm", [0.5, 3.0])
def test_two_slices_are_enough(thickness_mm):
    volume = np.full((40, 36, 2), -900, np.float32)
    volume[10:30, 10:26] = 40
    affine = np.diag([-1.5, -1.5, thickness_mm, 1])
    probability = segmented(volume, affine)
    assert probability.shape == (1, *volume.shape)
    np.testing.assert_allclose(probability.affine, affine)
    assert (probability[0, 12:28, 12:24] > 0.25).all()  # 40 HU are -0.05, five times that a logit of -0.25
    assert (probability[0, :8] < 0.25).all()


def test_a_single_slice_is_refused():
    with pytest.raises(ValueError, match=r"at least 2 voxels, got \(40, 36, 1\); is it a single slice"):
        CheckVolumed("image")({"image": MetaTensor(torch.zeros(1, 40, 36, 1))})


def test_outside_the_heart_box_there_is_no_vessel():
    volume = np.full((60, 50, 50), -1000, np.float32)  # 360 x 300 x 300 mm
    volume[5:55, 5:45] = 40
    volume[10:50, 10:40] = -850
    volume[22:39, 20:35, 17:35] = 40  # 102 x 90 x 108 mm: the heart
    probability = segmented(volume, np.diag([6.0, 6, 6, 1]))[0]
    assert (probability[25:36, 23:32, 20:32] > 0.25).all()
    assert probability[6:9, 15:30].max() < 1e-6  # the wall of the chest is as bright as the heart
