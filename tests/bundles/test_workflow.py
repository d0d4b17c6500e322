"""Every bundle end to end, as its README tells a user to run it: train, resume, evaluate, segment."""

import json
from pathlib import Path

import monai.bundle
import pytest
import torch
from ignite.engine import Events
from monai.engines import SupervisedTrainer

from common.evaluation import evaluate
from common.weights import check_weights

from ..conftest import CT
from .conftest import SHORT, for_bundles, write_list


def state_of(path):
    return torch.load(path, weights_only=True)


def equal(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def scores(folder):
    header, *rows = [line.split(",") for line in (folder / "metrics.csv").read_text().splitlines()]
    return {row[0]: dict(zip(header[1:], row[1:], strict=True)) for row in rows}


@pytest.mark.slow
def test_the_three_commands_work_from_the_bundles_folder(copy, data, phantoms):
    released = state_of(copy.weights)

    options = {"dataset_dir": data, "overlap": 0.0}
    code, output = copy.command("training", "--config_file", "configs/train.yaml", **options, **SHORT)
    assert code == 0, output
    assert "Epoch[1] Metrics -- val_dice" in output
    check_weights(copy.weights, copy.network)
    assert not equal(state_of(copy.weights), released)
    assert equal(state_of(copy.weights.with_name("model_released.pt")), released)
    assert state_of(copy.eval / "last.pt")["trainer"]["epoch_length"] == 2  # batches of two cases
    assert list(copy.eval.glob("events.out.tfevents.*"))

    code, output = copy.command("evaluating", "--config_file", "configs/evaluate.yaml", **options, threshold=0.9)
    assert code == 0, output
    assert len(scores(copy.eval)) == 1

    code, output = copy.command("--config_file", "configs/inference.yaml", image=phantoms[0]["image"], overlap=0.0)
    assert code == 0, output
    assert len(list(copy.eval.glob("*_seg.nii.gz"))) == 1


@pytest.mark.slow
def test_a_bundle_runs_from_any_folder_if_told_where_it_lies(copy, phantoms, tmp_path):
    code, output = copy.command(
        "--config_file",
        copy.files("inference.yaml")[0],
        cwd="/",
        bundle_root=copy.root,
        image=phantoms[0]["image"],
        output_dir=tmp_path / "masks",
        overlap=0.0,
    )
    assert code == 0, output
    assert len(list((tmp_path / "masks").glob("*_seg.nii.gz"))) == 1


def test_an_empty_run_id_trains_once(copy, toy_set, monkeypatch):
    calls = []
    monkeypatch.setattr(SupervisedTrainer, "run", lambda *_: calls.append("run"))
    copy.run("", "train.yaml", dataset_dir=str(toy_set), **SHORT)
    assert calls == ["run"]


@pytest.mark.parametrize(
    ("names", "options"),
    [
        pytest.param(["train.yaml"], SHORT, id="train"),
        pytest.param(["train.yaml", "small.yaml"], SHORT, id="train+small"),
        pytest.param(["evaluate.yaml"], {}, id="evaluate"),
        pytest.param(["inference.yaml"], {}, id="inference"),
    ],
)
def test_monai_finds_every_property_where_it_looks_for_it(copy, toy_set, names, options):
    folder = toy_set / "images" if names == ["inference.yaml"] else toy_set
    workflow = copy.workflow(*names, make=monai.bundle.create_workflow, dataset_dir=str(folder), **options)
    assert workflow.check_properties() == []


def test_training_can_start_from_given_weights(copy, toy_set):
    torch.manual_seed(1)
    workflow = copy.workflow("train.yaml", dataset_dir=str(toy_set), pretrained=str(copy.weights), **SHORT)
    workflow.initialize()
    assert equal(workflow.network_def.state_dict(), state_of(copy.weights))


def train(copy, data, name, cut_after=None, **options):
    """Train for two epochs of two iterations, into a folder of its own; return the state of the last epoch."""
    folder = copy.eval / name
    options = {"output_dir": str(folder), "checkpoint": str(folder / "model.pt"), **options}
    workflow = copy.workflow("train.yaml", dataset_dir=str(data), epochs=2, val_interval=1, overlap=0.0, **options)
    workflow.initialize()
    if cut_after:
        trainer = workflow.parser.get_parsed_content("train::trainer")

        @trainer.on(Events.ITERATION_COMPLETED(once=cut_after))
        def _cut():
            raise KeyboardInterrupt

    workflow.run()
    return state_of(folder / "last.pt")


@pytest.mark.slow
@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_interrupted_training_ends_as_if_it_had_not_been(copy, data, num_workers):
    options = {"num_workers": num_workers, "cache_dir": str(copy.root / "cache")}
    whole = train(copy, data, "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        train(copy, data, "parts", cut_after=3, **options)
    parts = train(copy, data, "parts", resume=True, **options)
    assert parts["trainer"] == whole["trainer"]
    assert parts["best_score"] == whole["best_score"]
    assert equal(parts["network"], whole["network"])
    assert equal(state_of(copy.eval / "parts" / "model.pt"), state_of(copy.eval / "whole" / "model.pt"))


@for_bundles(CT)
@pytest.mark.slow
def test_at_least_half_of_the_patches_of_a_training_hold_vessel(copy, data):
    workflow = copy.workflow("train.yaml", dataset_dir=str(data), **SHORT)
    workflow.initialize()
    batches = [batch["label"] for batch in workflow.parser.get_parsed_content("train::dataloader")]
    filled = torch.cat(batches).flatten(1).any(1)
    assert len(filled) == 2 * workflow.parser["num_patches"]  # of each of two cases
    assert filled.float().mean() >= 0.5


@for_bundles(CT)
@pytest.mark.slow
def test_evaluation_scores_the_masks_that_inference_writes(copy, phantoms, tmp_path):
    cases = write_list(tmp_path / "pair", test=phantoms[2:]).parent
    options = {"threshold": copy.sparse_threshold(phantoms[3]["image"]), "overlap": 0.25, "keep_largest_k": 3}
    masks = tmp_path / "masks"
    for case in phantoms[2:]:
        copy.run("run", "inference.yaml", image=case["image"], output_dir=str(masks), **options)
    evaluate(str(masks), str(Path(phantoms[2]["label"]).parent), str(tmp_path / "command"))

    copy.run("evaluating", "evaluate.yaml", dataset_dir=str(cases), output_dir=str(tmp_path / "engine"), **options)

    assert len(scores(tmp_path / "engine")) == 2
    assert scores(tmp_path / "engine") == scores(tmp_path / "command")
    metrics = json.loads((tmp_path / "engine" / "summary.json").read_text())["metrics"]
    assert metrics["dice"]["mean"] < 1
    assert metrics["prediction_volume_mm3"]["mean"] > 0
