"""A budget is kept by smaller batches, blending elsewhere and thinner slabs, or refused with one that suffices."""

import re

import nibabel
import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from common import memory
from common.engines import Engine
from common.inferers import VesselInferer
from common.memory import GB, Plan, make_room, plan_windows, set_budget, slices_at_once
from common.resampling import resample_axes

ROI = (100, 100, 100)  # 1 GB a window at 1000 bytes a voxel
CUDA = torch.device("cuda:0")


@pytest.fixture(autouse=True)
def _no_budget_is_left(monkeypatch):
    monkeypatch.setattr(memory, "_budget", None)


@pytest.fixture
def held(monkeypatch):
    """Say how many bytes are taken."""
    return lambda count: monkeypatch.setattr(memory, "_held", lambda _device: count)


@pytest.fixture
def gpu(monkeypatch, held):
    """A GPU of 80 GB, and the shares of it that torch was told to keep to."""
    shares = []
    properties = type("Properties", (), {"total_memory": 80 * GB})
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _device: properties)
    monkeypatch.setattr("torch.cuda.set_per_process_memory_fraction", lambda share, _device: shares.append(share))
    held(0)
    return shares


def volume(voxels, file_voxels=0):
    meta = {"spatial_shape": torch.tensor([[file_voxels, 1, 1]])} if file_voxels else None
    return MetaTensor(torch.empty(1, 1, voxels, 1, 1), meta=meta)


def refusal_of(call):
    with pytest.raises(ValueError, match=r"too little.*so at least [\d.]+\. Raise it") as caught:
        call()
    return float(re.search(r"at least ([\d.]+)\. ", str(caught.value))[1])


def test_without_a_budget_everything_stays_as_it_was_asked_for():
    set_budget(None)
    assert plan_windows(volume(10), ROI, batch=3) == Plan(3, None)
    assert slices_at_once(1e15, 1e15, most=8) == 8


@pytest.mark.parametrize(("gb", "batch"), [(2, 1), (3, 2), (4, 3), (50, 4)])
def test_on_a_cpu_no_more_windows_run_at_once_than_fit_and_than_were_asked_for(held, gb, batch):
    held(0.5 * GB)
    set_budget(gb, voxel_bytes=1000)
    assert plan_windows(volume(10), ROI, batch=4) == Plan(batch, None)


def test_what_blends_the_windows_counts(held):
    held(0)
    set_budget(2.9, voxel_bytes=1000)
    assert plan_windows(volume(10), ROI, batch=9).batch == 2
    assert plan_windows(volume(10**8), ROI, batch=9).batch == 1  # two volumes of 0.4 GB


@pytest.mark.parametrize("file_voxels", [0, 10**9], ids=["network", "restoring a fine file"])
def test_the_budget_that_a_refusal_names_is_the_least_that_suffices(held, file_voxels):
    held(0.73 * GB)
    set_budget(0.5, voxel_bytes=1000)
    least = refusal_of(lambda: plan_windows(volume(10, file_voxels), ROI))
    set_budget(least, voxel_bytes=1000)
    plan_windows(volume(10, file_voxels), ROI)
    set_budget(least - 0.1, voxel_bytes=1000)
    refusal_of(lambda: plan_windows(volume(10, file_voxels), ROI))


def test_a_file_that_cannot_be_read_within_the_budget_is_named(tmp_path, held):
    held(0.5 * GB)
    path = tmp_path / "large.nii"
    header = nibabel.Nifti1Header()
    header.set_data_shape((512, 512, 275))  # 0.29 GB a float volume
    header.set_data_dtype(np.int16)
    nibabel.Nifti1Image(np.broadcast_to(np.int16(0), (512, 512, 275)), np.eye(4), header).to_filename(path)
    with pytest.raises(ValueError, match=r"reading .*large\.nii needs 1\.2 GB"):
        set_budget(1.5, images=[{"image": str(path)}])
    set_budget(1.8, images=[{"image": str(path)}])


@pytest.mark.parametrize("gb", [-1, 0, float("nan"), float("inf"), True, "4GB"])
def test_a_refused_budget_leaves_none(gb):
    with pytest.raises(ValueError, match="memory_budget_gb must be a positive number of GB, got"):
        set_budget(gb)
    assert plan_windows(volume(10), ROI, batch=3).batch == 3


def test_where_memory_cannot_be_measured_a_budget_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_statm", tmp_path / "none")
    with pytest.raises(ValueError, match="leave it out"):
        set_budget(4)


def test_the_memory_of_this_process_is_what_counts():
    before = memory._held(torch.device("cpu"))
    block = np.ones(2 * 10**8, np.uint8)
    assert memory._held(torch.device("cpu")) - before == pytest.approx(block.nbytes, rel=0.1)


@pytest.mark.parametrize(
    ("gb", "voxels", "plan"),
    [
        (3, 10, Plan(2, CUDA)),
        (40, 10, Plan(8, CUDA)),
        (3, 10**9, Plan(2, torch.device("cpu"))),
        (20, 10**9, Plan(8, CUDA)),
    ],
    ids=["two windows", "no more than pay", "blended on the CPU", "blended on the GPU"],
)
@pytest.mark.usefixtures("gpu")
def test_on_a_gpu_the_batch_fills_the_budget_and_blending_moves_out_where_it_must(gb, voxels, plan):
    set_budget(gb, CUDA, voxel_bytes=1000)
    assert plan_windows(torch.empty(1, 1, voxels, device="meta"), ROI, batch=1) == plan


@pytest.mark.usefixtures("gpu")
def test_what_cannot_move_out_of_a_gpu_is_refused():
    set_budget(3, CUDA, voxel_bytes=1000)
    inputs = torch.empty(1, 1, 10**9, device="meta")
    assert refusal_of(lambda: plan_windows(inputs, ROI, movable=False)) == pytest.approx(9.1)


def test_a_gpu_without_a_number_is_the_present_one(gpu, monkeypatch):
    monkeypatch.setattr("torch.cuda.current_device", lambda: 0)
    set_budget(20, "cuda", voxel_bytes=1000)
    assert plan_windows(torch.empty(1, 1, 10, device="meta"), ROI).blend_on == CUDA
    assert gpu == [0.25]


def test_torch_itself_keeps_to_the_share_of_a_gpu(gpu):
    set_budget(20, CUDA)
    set_budget(None)
    assert gpu == [0.25, 1]


@pytest.mark.usefixtures("gpu")
def test_a_gpu_budget_for_less_than_a_window_is_refused():
    set_budget(0.9, CUDA, voxel_bytes=1000)
    assert refusal_of(lambda: plan_windows(volume(10), ROI)) == pytest.approx(1.1)


def test_engines_are_kept_for_the_next_volume_unless_their_memory_is_needed(held):
    engine = Engine()
    engine._compiled[1, 1, 8] = torch.relu
    held(1 * GB)
    set_budget(2)
    make_room(volume(10, file_voxels=5 * 10**7))  # 0.8 GB to read the next
    assert engine._compiled
    make_room(volume(10, file_voxels=6 * 10**7))
    assert not engine._compiled


def test_windows_in_batches_are_blended_alike(held):
    held(0)
    torch.manual_seed(0)
    network, image = torch.nn.Conv3d(1, 1, 3, padding=1).eval(), torch.rand(1, 1, 20, 20, 20)
    inferer = VesselInferer((8, 8, 8), sw_batch_size=4)
    with torch.no_grad():
        expected = inferer(image, network)
        set_budget(0.9, voxel_bytes=10**6)
        got = inferer(image, network)
    assert inferer.sw_batch_size == 1
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_a_volume_resampled_slice_by_slice_is_the_same(held):
    values = torch.rand(1, 12, 10, 20)
    lines = [np.linspace(0, size - 1, new) for size, new in zip((12, 10, 20), (9, 15, 30), strict=True)]
    expected = resample_axes(values, lines, "bilinear")
    held(0)
    set_budget((memory.SPARE + 4 * expected.numel() + 13000) / GB)  # one of the nine slices takes 12 kB
    assert slices_at_once(12000, 4 * expected.numel(), most=8) == 1
    torch.testing.assert_close(resample_axes(values, lines, "bilinear"), expected, rtol=0, atol=0)
    set_budget((memory.SPARE + 4 * expected.numel()) / GB)
    refusal_of(lambda: resample_axes(values, lines, "bilinear"))
