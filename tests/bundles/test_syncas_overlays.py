"""Training SynCAS: learning rates, views and padding as the configs say, fine-tuning, the published data handling."""

import numpy as np
import pytest
import torch
from monai.data import decollate_batch

from ..conftest import ROOT
from .conftest import SHORT, BundleCopy, write_case, write_list


@pytest.fixture
def syncas(tmp_path):
    return BundleCopy(ROOT / "bundles" / "syncas_bundle", tmp_path)


@pytest.fixture
def training(syncas, toy_set):
    """A function that prepares a training on noise, and returns what looks up its parts."""

    def prepare(*overlays, **options):
        options = {**SHORT, "dataset_dir": str(toy_set), **options}
        workflow = syncas.workflow("train.yaml", *overlays, **options)
        workflow.initialize()
        return workflow.parser.get_parsed_content

    return prepare


@pytest.fixture
def paired_set(tmp_path):
    """Two training cases with two views each, constant but for one voxel of air, and a case for validation."""
    entries = []
    for case in range(3):
        views = []
        for view in range(2):
            voxels = np.full((40, 40, 40), 100.0 * view)
            voxels[0, 0, 0] = -1000
            views.append(str(write_case(tmp_path / "paired", f"{case}_v{view}", voxels)))
        label = views[0].replace("images", "labels")
        entries.append({"image": views[0], "views": views, "label": label, "case": str(case)})
    return write_list(tmp_path / "paired", training=entries[:2], validation=entries[2:]).parent


PLAIN = {"train::random_transforms::7::transforms": [], "batch_size": 2}  # views as they are


def test_a_batch_holds_two_views_of_each_case(training, paired_set):
    part = training(dataset_dir=str(paired_set), **PLAIN)
    batch = next(iter(part("train::dataloader")))
    assert batch["image"].shape == (2, 2, 32, 32, 32)
    inside = batch["label"] >= 0
    for item in decollate_batch(batch):
        values = {round(view.median().item(), 2) for view in item["image"]}
        assert values == {-0.25, 0.25}  # 0 and 100 HU in the window
    assert inside.any()


def test_validation_sees_the_first_view_alone(training, paired_set):
    batch = next(iter(training(dataset_dir=str(paired_set))("validate::dataloader")))
    assert batch["image"].shape[1] == 1
    assert batch["image"].median().item() == pytest.approx(-0.25, abs=0.01)


def test_what_lies_outside_a_small_scan_is_padding_in_the_label(training):
    labels = next(iter(training()("train::dataloader")))["label"]  # 20 x 24 x 28 voxels in patches of 32
    assert set(labels.unique().tolist()) <= {-1, 0, 1}
    assert (labels == -1).any()


def test_a_vessel_at_the_rim_of_a_scan_comes_into_patches(training, tmp_path):
    label = np.zeros((64, 64, 64))
    label[1, 30:34, 30:34] = 1
    noise = np.random.default_rng(0).normal(0, 300, label.shape)
    case = write_case(tmp_path / "rim", "0", noise, label)
    other = write_case(tmp_path / "rim", "1", noise, label)
    folder = write_list(tmp_path / "rim", training=[case], validation=[other]).parent
    part = training(dataset_dir=str(folder), vessel_fraction=1.0, whole_volume=True)
    dataset = part("train::dataset")
    dataset.transform.set_random_state(0)
    assert sum(bool((dataset[0][0]["label"] > 0).any()) for _ in range(10)) >= 8


def test_the_learning_rates_are_the_published_ones(training):
    part = training(epochs=100)
    optimizer, schedule = part("optimizer"), part("lr_scheduler")
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert [rates[epoch] for epoch in (0, 1, 50, 99)] == pytest.approx(
        [1e-3, 9.90995e-4, 5.35887e-4, 1.5849e-5], rel=1e-4
    )
    assert (optimizer.defaults["momentum"], optimizer.defaults["nesterov"]) == (0.99, True)


def test_network_and_heads_are_optimized_together(training):
    part = training()
    optimized = {id(p) for group in part("optimizer").param_groups for p in group["params"]}
    assert optimized == {id(p) for module in ("network", "heads") for p in part(module).parameters()}


def test_fine_tuning_starts_from_the_weights_of_network_and_heads(syncas, training):
    heads = syncas.workflow("train.yaml").parser.get_parsed_content("heads_def")
    torch.save(heads.state_dict(), syncas.weights.with_name("model_heads.pt"))
    part = training("finetune.yaml")
    for module, expected in (("network", syncas.network), ("heads", heads)):
        state = part(module).state_dict()
        assert all(torch.equal(state[name], tensor) for name, tensor in expected.state_dict().items())
    assert part("optimizer").param_groups[0]["lr"] == 1e-4
    assert part("trained").frozen_norm


def test_fine_tuning_again_starts_from_what_came_with_the_bundle(syncas, training):
    released = {name: tensor + 1 for name, tensor in syncas.network.state_dict().items()}
    torch.save(released, syncas.weights.with_name("model_released.pt"))
    state = training("finetune.yaml")("network").state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in released.items())


def test_fine_tuning_does_without_heads(syncas, training):
    assert not syncas.weights.with_name("model_heads.pt").exists()
    assert training("finetune.yaml")("pretrained_heads") is None


def test_without_weight_the_contrast_is_not_computed(training):
    part = training(contrast_weight=0.0)
    assert not part("trained").enabled


@pytest.mark.slow
@pytest.mark.parametrize("overlay", ["finetune.yaml", "reference.yaml", "small.yaml"])
def test_a_training_with_the_overlay_runs(syncas, data, overlay):
    workflow = syncas.workflow("train.yaml", overlay, dataset_dir=str(data), overlap=0.0, **SHORT)
    workflow.initialize()
    before = {name: value.clone() for name, value in workflow.network_def.state_dict().items()}
    workflow.run()
    trainer = workflow.parser.get_parsed_content("train::trainer")
    assert trainer.state.epoch == 1
    assert {"dice", "cross_entropy", "skipped_0", "skipped_3"} <= set(trainer.state.metrics)
    assert np.isfinite(float(trainer.state.output["loss"]))
    assert any(not torch.equal(value, before[name]) for name, value in workflow.network_def.state_dict().items())
    assert syncas.weights.with_name("model_heads.pt").is_file()
