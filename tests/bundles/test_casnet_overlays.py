"""The other ways to train CAS-Net: each overlay changes what its header says, and trains."""

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from ..conftest import ROOT
from .conftest import SHORT, BundleCopy

OVERLAYS = ["reference.yaml", "cldice.yaml", "skeleton_recall.yaml"]


@pytest.fixture
def casnet(tmp_path):
    return BundleCopy(ROOT / "bundles" / "casnet_bundle", tmp_path)


@pytest.fixture
def training(casnet, toy_set):
    """A function that prepares a training with an overlay, on noise, and returns what looks up its parts."""

    def prepare(overlay, **options):
        options = {**SHORT, "dataset_dir": str(toy_set), **options}
        workflow = casnet.workflow("train.yaml", overlay, **options)
        workflow.initialize()
        return workflow.parser.get_parsed_content

    return prepare


def tubes():
    """Logits that are right, and their label: two vessels of 6 x 6 voxels."""
    label = torch.zeros(2, 1, 32, 32, 32)
    label[:, :, 4:10, 4:10] = 1
    return torch.cat([-20 * label + 10, 20 * label - 10], 1), label


@pytest.mark.parametrize(
    ("overlay", "loss"), [("cldice.yaml", "SoftClDiceLoss"), ("skeleton_recall.yaml", "SkeletonRecallLoss")]
)
def test_a_topology_term_is_added_to_the_loss_of_the_base(casnet, training, overlay, loss):
    combined = training(overlay, topology_weight=0.5)("loss")
    base = casnet.workflow("train.yaml").parser.get_parsed_content("loss")
    logits, label = tubes()
    flawed = logits.roll(3, dims=2)
    assert type(combined.topology).__name__ == loss
    torch.testing.assert_close(combined(flawed, label), base(flawed, label) + 0.5 * combined.topology(flawed, label))
    assert combined(logits, label) < 0.01 < 0.3 < combined(flawed, label)


def test_soft_skeletons_reach_the_thickest_coronary_arteries(casnet):
    config = ConfigParser()
    config.read_config(casnet.files("train.yaml", "cldice.yaml"))
    assert config["topology_iterations"] * min(config["spacing"]) >= 3  # mm; a left main has a radius of up to 2.8


def test_the_loader_adds_the_tube_around_the_skeleton_as_a_second_channel(training):
    part = training("skeleton_recall.yaml", tube_radius_mm=1.5, spacing=[1.5, 1.5, 1.5])
    batch = next(iter(part("train::dataloader")))
    assert batch["label"].shape[1:] == (2, 32, 32, 32)
    label, tube = batch["label"].as_tensor()[..., 10:20].unbind(1)  # away from the ends of the vessel
    # a bar of 3 x 3 voxels, whose middle line is widened by one voxel to a plus of 5
    assert torch.equal(label.sum((1, 2)), torch.full((len(label), 10), 9))
    assert torch.equal(tube.sum((1, 2)), torch.full((len(label), 10), 5))
    assert torch.isfinite(part("loss")(torch.zeros(len(label), 2, 32, 32, 32), batch["label"]))


def test_the_authors_learning_rates_are_those_of_their_schedule(training):
    part = training("reference.yaml")
    optimizer, schedule = part("optimizer"), part("lr_scheduler")
    rates = []
    for _ in range(600):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert part("learning_rate") == 1e-3
    assert rates[0] == pytest.approx(9.7577e-4, rel=1e-4)
    assert rates[8] == pytest.approx(3.42e-5, rel=1e-2)
    assert [epoch for epoch in range(1, 600) if rates[epoch] > rates[epoch - 1]] == [9, 29, 69, 149, 309]
    assert [rates[epoch] for epoch in (9, 29, 69, 149, 309)] == pytest.approx([1e-3] * 5)
    assert rates[599] == pytest.approx(3.13e-5, rel=1e-2)


def test_the_authors_batch_is_one_patch_of_each_of_two_cases(training):
    part = training("reference.yaml")
    batch = next(iter(part("train::dataloader")))
    assert batch["image"].shape == (2, 1, 32, 32, 32)
    assert len(set(batch["case"])) == 2
    assert type(part("loss")).__name__ == "CASNetCompositeLoss"
    assert not part("loss").sigmoid_first


def test_the_authors_blur_half_of_the_patches(training):
    blur = training("reference.yaml")("train::random_transforms")[1].set_random_state(seed=0)
    image = torch.randn(1, 8, 8, 8)
    blurred = [not torch.equal(blur({"image": image})["image"], image) for _ in range(200)]
    assert np.mean(blurred) == pytest.approx(0.5, abs=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_training_with_the_overlay_runs(casnet, data, overlay):
    workflow = casnet.workflow("train.yaml", overlay, dataset_dir=str(data), overlap=0.0, **SHORT)
    workflow.initialize()
    before = {name: value.clone() for name, value in workflow.network_def.state_dict().items()}
    workflow.run()
    trainer = workflow.parser.get_parsed_content("train::trainer")
    assert trainer.state.epoch == 1
    assert np.isfinite(trainer.state.output[0]["loss"])
    assert any(not torch.equal(value, before[name]) for name, value in workflow.network_def.state_dict().items())
    assert casnet.weights.is_file()
