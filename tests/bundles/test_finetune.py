"""finetune.yaml of every bundle goes on from the weights that came with it, more gently than a training."""

import numpy as np
import pytest
import torch

from ..conftest import ROOT
from .conftest import SHORT, for_bundles

UNET = ROOT / "bundles" / "centerline_unet_bundle"


def prepared(copy, data, *overlays, **options):
    """Prepare a fine-tuning; return what looks up its parts."""
    options = {**SHORT, "dataset_dir": str(data), **options}
    workflow = copy.workflow("train.yaml", *overlays, "finetune.yaml", **options)
    workflow.initialize()
    return workflow.parser.get_parsed_content


def assert_same(state, expected):
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.items())


def test_fine_tuning_starts_from_the_weights_of_the_bundle(copy, toy_set):
    assert_same(prepared(copy, toy_set)("network_def").state_dict(), copy.network.state_dict())


def test_fine_tuning_again_starts_from_what_came_with_the_bundle(copy, toy_set):
    released = {name: tensor + 1 for name, tensor in copy.network.state_dict().items()}
    torch.save(released, copy.weights.with_name("model_released.pt"))
    assert_same(prepared(copy, toy_set)("network_def").state_dict(), released)


def test_fine_tuning_is_shorter_and_gentler_than_a_training(copy):
    train, finetune = copy.workflow("train.yaml").parser, copy.workflow("train.yaml", "finetune.yaml").parser
    assert finetune["epochs"] < train["epochs"]
    assert finetune["learning_rate"] <= train["learning_rate"]
    assert finetune["val_interval"] * 3 <= finetune["epochs"]


@for_bundles([UNET])
def test_stage_1_is_fine_tuned_from_its_own_weights(copy, toy_set):
    coarse = copy.small_network("coarse_network_def").state_dict()
    part = prepared(copy, toy_set, "coarse.yaml", **{"network_def::widths": [2, 2, 2]})
    assert_same(part("network_def").state_dict(), coarse)
    released = {name: tensor + 1 for name, tensor in coarse.items()}
    torch.save(released, copy.weights.with_name("model_coarse_released.pt"))
    part = prepared(copy, toy_set, "coarse.yaml", **{"network_def::widths": [2, 2, 2]})
    assert_same(part("network_def").state_dict(), released)


@pytest.mark.slow
def test_a_fine_tuning_runs_and_changes_the_weights(copy, data):
    workflow = copy.workflow("train.yaml", "finetune.yaml", dataset_dir=str(data), overlap=0.0, **SHORT)
    workflow.initialize()
    before = {name: value.clone() for name, value in workflow.network_def.state_dict().items()}
    workflow.run()
    after = workflow.network_def.state_dict()
    assert all(np.isfinite(value.numpy()).all() for value in after.values())
    assert any(not torch.equal(value, before[name]) for name, value in after.items())
    assert_same(torch.load(copy.weights.with_name("model_released.pt"), weights_only=True), before)
