"""The other ways to use the centerline U-Net: stage 1, tiles, the 2-D network, the published recipe, all arms."""

import csv
import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from centerline_unet.network import CenterlineUNet
from monai.bundle import ConfigParser

from common.centerline.extract import extract_centerline
from common.centerline.writers import write_centerline
from common.weights import check_weights

from ..conftest import ROOT
from .conftest import SHORT, BundleCopy, write_case, write_list


@pytest.fixture
def unet(tmp_path):
    return BundleCopy(ROOT / "bundles" / "centerline_unet_bundle", tmp_path)


@pytest.fixture
def training(unet, toy_set):
    """A function that prepares a training with overlays, on noise, and returns what looks up its parts."""

    def prepare(*overlays, **options):
        options = {**SHORT, "dataset_dir": str(toy_set), **options}
        workflow = unet.workflow("train.yaml", *overlays, **options)
        workflow.initialize()
        return workflow.parser.get_parsed_content

    return prepare


def batch_of(part):
    return next(iter(part("train::dataloader")))


def state_of(path):
    return torch.load(path, weights_only=True)


# --- what a training sees --------------------------------------------------------------------------------------------


def test_a_patch_holds_the_image_and_the_line_inside_its_vessel(training):
    part = training(centerline_dropout=0.0, num_patches=4, background_fraction=0.0)
    batch = batch_of(part)
    assert batch["image"].shape == (4, 2, 32, 32, 16)
    line = batch["image"][:, 1].as_tensor()
    assert set(line.unique().tolist()) == {0, 1}
    near = torch.nn.functional.max_pool3d(batch["label"].float(), 9, 1, 4)[:, 0]  # jitter and shift are a few voxels
    assert (line * near.as_tensor()).sum() > 0.7 * line.sum()  # some of it is a false branch


def test_without_dropout_the_channel_is_never_empty_and_with_it_always(training):
    filled = {
        chance: batch_of(training(centerline_dropout=chance, background_fraction=0.0))["image"][:, 1].amax((1, 2, 3))
        for chance in (0.0, 1.0)
    }
    assert filled[0.0].all()
    assert not filled[1.0].any()


def test_tiles_of_the_grid_lie_side_by_side_and_hold_vessel(training):
    part = training(strategy="grid", patch_size=[16, 16, 16], num_patches=2, spacing=[1.0, 1.0, 1.0])
    batch = batch_of(part)
    assert batch["image"].shape == (2, 2, 16, 16, 16)
    assert batch["label"].flatten(1).any(1).all()


def test_the_first_stage_sees_the_image_alone_and_a_wider_vessel(training):
    plain = training(centerline_dropout=0.0)("train::dataset")[0]
    part = training("coarse.yaml", dilation_mm=3.0)
    batch = batch_of(part)
    assert batch["image"].shape == (2, 1, 16, 16, 16)
    assert part("network").head.weight.shape[0] == 2
    volume = part("validate::dataset")[0]
    np.testing.assert_allclose(volume["image"].affine.diagonal()[:3].abs(), 3.0)
    share = float((volume["label"] > 0).float().mean())
    assert share > 2 * max(float((item["label"] > 0).float().mean()) for item in plain)


def test_the_overlay_trains_the_network_that_inference_asks_for(unet):
    trained, asked = ConfigParser(), ConfigParser()
    trained.read_config(unet.files("train.yaml", "coarse.yaml"))
    asked.read_config(unet.files("inference.yaml"))
    assert trained["network_def"] == asked["coarse_network_def"]


def test_the_two_dimensional_network_is_trained_on_slices(training):
    batch = batch_of(training("planar.yaml", patch_size=[32, 32, 1]))
    assert batch["image"].shape == (4, 2, 32, 32)
    assert batch["label"].shape == (4, 1, 32, 32)


def test_the_published_recipe_has_its_loss_rate_and_unchanged_line(training):
    part = training("reference.yaml", patch_size=[16, 16, 9])  # 9: the published slabs need room around the vessel
    assert (part("loss").literal, part("loss").gamma) == (True, 1.0)
    optimizer, schedule = part("optimizer"), part("lr_scheduler")
    decays = {group["weight_decay"] for group in optimizer.param_groups}
    assert decays == {0.05, 0.0}
    optimizer.step()
    schedule.step()
    assert [group["lr"] for group in optimizer.param_groups] == [4e-4, 4e-4]
    first, second = (batch_of(part)["image"][:, 1] for _ in range(2))
    assert first.flatten(1).any(1).all()
    assert second.flatten(1).any(1).all()


@pytest.mark.parametrize("overlays", [[], ["coarse.yaml"]], ids=["stage 2", "stage 1"])
def test_a_case_needs_no_more_than_image_and_label(training, toy_set, overlays):
    """MONAI Label hands over nothing else."""
    entries = json.loads((toy_set / "dataset.json").read_text())["training"]
    files = [{"image": str(entry["image"]), "label": str(entry["label"])} for entry in entries]
    part = training(*overlays, **{"train::dataset::data": files, "validate::dataset::data": files})
    assert set(batch_of(part)) == set(part("validate::dataset")[0]) == {"image", "label"}


def train(workflow):
    workflow.initialize()
    workflow.run()


def test_an_unknown_strategy_is_refused(unet, toy_set):
    workflow = unet.workflow("train.yaml", dataset_dir=str(toy_set), strategy="tiles", **SHORT)
    with pytest.raises(RuntimeError) as error:
        train(workflow)
    assert "strategy must be one of crop, grid, got 'tiles'" in str(error.getrepr(style="short"))


def test_the_rate_falls_over_the_epochs_that_the_trainer_runs(training):
    assert training(**{"train::trainer::max_epochs": 7})("lr_scheduler").T_max == 7


def test_norms_do_not_decay(training):
    part = training()
    decaying, others = part("optimizer").param_groups
    network = part("network_def")
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    assert all("norm" not in names[id(parameter)] for parameter in decaying["params"])
    assert all("norm" in names[id(parameter)] for parameter in others["params"])
    assert len(decaying["params"]) + len(others["params"]) == len(names)


def test_a_training_without_the_first_stage_says_what_to_do(unet, toy_set):
    (unet.root / "models" / "model_coarse.pt").unlink()
    workflow = unet.workflow("train.yaml", dataset_dir=str(toy_set), **SHORT)
    with pytest.raises(RuntimeError) as error:
        train(workflow)
    assert "no weights of stage 1" in str(error.getrepr(style="short"))


# --- end to end ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_both_stages_are_trained_one_after_the_other(unet, data):
    released = state_of(unet.weights)
    unet.run("training", "train.yaml", "coarse.yaml", dataset_dir=str(data), **SHORT)
    coarse = unet.root / "models" / "model_coarse.pt"
    check_weights(coarse, unet.small_network("coarse_network_def"))
    assert (unet.root / "models" / "model_coarse_released.pt").is_file()
    assert all(torch.equal(value, released[name]) for name, value in state_of(unet.weights).items())
    unet.run("training", "train.yaml", dataset_dir=str(data), **SHORT)
    assert any(not torch.equal(value, released[name]) for name, value in state_of(unet.weights).items())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_two_dimensional_network_trains_and_segments(unet, data, phantoms):
    size = [32, 32, 1]
    unet.run("training", "train.yaml", "planar.yaml", dataset_dir=str(data), **SHORT | {"patch_size": size})
    assert (unet.root / "models_2d" / "model.pt").is_file()
    unet.run("run", "inference.yaml", "planar.yaml", image=phantoms[0]["image"], patch_size=size)
    assert len(list(unet.eval.glob("*_seg.nii.gz"))) == 1


@pytest.fixture
def true_line(phantoms, tmp_path):
    """A data set whose entries have reference centerlines, as files, and a folder of them."""
    case = phantoms[3]
    folder = tmp_path / "lines"
    folder.mkdir()
    label = nibabel.load(case["label"])
    path = folder / f"{Path(case['image']).name.removesuffix('.nii.gz')}.json"
    write_centerline(path, extract_centerline(np.asarray(label.dataobj) > 0, label.affine))
    return write_list(tmp_path / "lined", test=[{**case, "centerline": str(path)}]).parent, folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("source", ["mask", "file"])
def test_all_arms_are_scored_side_by_side_where_the_truth_is_allowed(unet, true_line, source):
    dataset_dir, _ = true_line
    unet.run(
        "evaluating",
        "evaluate.yaml",
        dataset_dir=str(dataset_dir),
        allow_oracle=True,
        oracle_source=source,
        overlap=0.0,
    )
    with (unet.eval / "arms.csv").open() as file:
        rows = {row["arm"]: row for row in csv.DictReader(file)}
    assert list(rows) == ["auto", "grid", "oracle_volume", "oracle_crop"]
    assert (rows["grid"]["source"], rows["oracle_volume"]["source"]) == ("none", source)
    assert float(rows["oracle_volume"]["coverage"]) > 0.9
    assert int(rows["oracle_volume"]["crops"]) > 0
    assert float(rows["oracle_crop"]["precision"]) >= float(rows["oracle_volume"]["precision"])
    summary = json.loads((unet.eval / "arms.json").read_text())
    assert summary["oracle_volume"]["sources"] == {source: 1}
    assert (unet.eval / "oracle_crop" / "metrics.csv").is_file()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_truth_is_not_looked_at_unless_allowed(unet, true_line, capsys):
    dataset_dir, _ = true_line
    unet.run("evaluating", "evaluate.yaml", dataset_dir=str(dataset_dir), overlap=0.0)
    assert list(json.loads((unet.eval / "arms.json").read_text())) == ["auto", "grid"]
    assert "not scored, because they read the reference" in capsys.readouterr().out
    with pytest.raises(RuntimeError) as error:
        unet.run("evaluating", "evaluate.yaml", dataset_dir=str(dataset_dir), centerline="mask", overlap=0.0)
    assert "--allow_oracle True" in str(error.getrepr(style="short"))


class Bright(CenterlineUNet):
    """A first stage that calls vessel what is bright."""

    def forward(self, x):
        return torch.cat([torch.zeros_like(x[:, :1]), 40 * (x[:, :1] - 0.5)], dim=1)


@pytest.fixture
def bright_vessel(tmp_path, monkeypatch):
    """A data set of one case whose vessel a first stage finds, with its label and its centerline."""
    monkeypatch.setattr("centerline_unet.network.CenterlineUNet.forward", Bright.forward)
    voxels = np.full((40, 40, 40), -100.0)
    label = np.zeros(voxels.shape)
    label[18:23, 18:23, 4:36] = 1
    voxels[label > 0] = 900
    case = {"image": str(write_case(tmp_path / "set", "1", voxels, label))}
    case["label"] = str(tmp_path / "set" / "labels" / "1.nii.gz")
    case["centerline"] = str(tmp_path / "set" / "lines" / "1.json")
    write_centerline(case["centerline"], extract_centerline(label > 0, np.diag([1.5, 1.5, 1.5, 1])))
    return write_list(tmp_path / "set", test=[case]).parent


@pytest.mark.slow
def test_masks_are_the_same_to_the_bit_when_labels_and_centerlines_are_gone(unet, bright_vessel, tmp_path):
    """The whole chain through the configs: stage 1, centerline, crops, assembly."""
    options = {"require_contrast": False, "whole_volume": True, "spacing": [1.5, 1.5, 1.5]}
    scored = tmp_path / "eval"
    unet.run("evaluating", "evaluate.yaml", dataset_dir=str(bright_vessel), output_dir=str(scored), **options)
    masks, records = [], []
    for folder in ("with", "without"):
        output = tmp_path / folder
        unet.run("run", "inference.yaml", dataset_dir=str(bright_vessel / "images"), output_dir=str(output), **options)
        masks.append((output / "1_seg.nii.gz").read_bytes())
        records.append(json.loads((output / "1_guidance.json").read_text()))
        for name in ("labels", "lines"):
            shutil.rmtree(bright_vessel / name, ignore_errors=True)
        (bright_vessel / "dataset.json").unlink(missing_ok=True)
    assert masks[0] == masks[1]
    assert records[0] == records[1]
    assert records[0]["source"] == "predicted"
    assert len(records[0]["crop_starts"]) > 1

    mask = np.asarray(nibabel.load(tmp_path / "with" / "1_seg.nii.gz").dataobj)
    assert mask[18:23, 18:23, 6:34].all()
    assert mask.mean() < 0.1
    row = next(csv.DictReader((scored / "arms.csv").open()))
    assert (row["arm"], row["source"]) == ("auto", "predicted")
    assert float(row["prediction_volume_mm3"]) == pytest.approx(mask.sum() * 1.5**3, rel=1e-6)  # the same mask
    assert json.loads((scored / "summary.json").read_text())["centerline"]["sources"] == {"predicted": 1}


@pytest.mark.slow
def test_a_folder_with_the_references_of_the_data_list_is_refused(unet, bright_vessel):
    options = {"dataset_dir": str(bright_vessel), "centerline_dir": str(bright_vessel / "lines")}
    options |= {"require_contrast": False, "whole_volume": True, "centerline": "file"}
    with pytest.raises(RuntimeError) as error:
        unet.run("evaluating", "evaluate.yaml", **options)
    assert "where the data list has its centerlines, knows the reference" in str(error.getrepr(style="short"))
    unet.run("evaluating", "evaluate.yaml", allow_oracle=True, **options)
    summary = json.loads((unet.eval / "arms.json").read_text())
    assert summary["auto"]["meaning"] == "a centerline that knows the reference: not a result"


@pytest.mark.slow
def test_a_file_of_ones_own_guides_the_segmentation(unet, phantoms, true_line):
    _, folder = true_line
    unet.run("run", "inference.yaml", image=phantoms[3]["image"], centerline="file", centerline_dir=str(folder))
    record = json.loads(next(unet.eval.glob("*_guidance.json")).read_text())
    assert record["source"] == "file"
    assert len(record["crop_starts"]) > 0
    assert record["branches"]


def test_evaluation_and_inference_know_the_same_sources(unet):
    configs = []
    for name in ("evaluate.yaml", "inference.yaml"):
        config = ConfigParser()
        config.read_config(unet.files(name))
        configs.append(config)
    for name in ("stage1", "centerline", "is_reference", "allow_oracle", "coarse_threshold", "uncovered"):
        assert configs[0][name] == configs[1][name]
    assert configs[0]["provider"] == configs[1]["provider"] | {"cases": "@validate::dataset::data"}
    assert configs[1]["allow_oracle"] is False
