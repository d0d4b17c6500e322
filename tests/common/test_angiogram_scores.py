"""Scores of frames: worked examples, empty masks, pooling, sequences, folds, and the evaluator that writes them."""

import csv
import json
import os

import numpy as np
import pytest
import torch
import torch.multiprocessing as processes
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.transforms import AsDiscreted, Compose
from PIL import Image

from common.angiograms.scores import FrameScores, pool_folds, score_frame, summarize_frames
from common.evaluation import evaluate

OVERLAP = ("dice", "iou", "recall", "precision", "cldice", "topology_precision", "topology_sensitivity")


def bar(rows=15, gap=slice(0, 0)):
    """A horizontal vessel of 3 x 11 pixels, ``(9, 15)``, with a gap."""
    mask = np.zeros((9, rows), bool)
    mask[3:6, 2:13] = True
    mask[:, gap] = False
    return mask


def counts(both, false, missed):
    """A frame with so many true positives, false positives and false negatives."""
    pred, label = np.zeros((2, 8, 8), bool)
    pred.flat[: both + false] = True
    label.flat[:both] = True
    label.flat[both + false : both + false + missed] = True
    return pred, label


def test_a_vessel_with_a_gap_is_scored_as_the_worked_example():
    found = score_frame(bar(gap=slice(6, 9)), bar())
    expected = {"dice": 0.842105, "iou": 0.727273, "topology_precision": 1, "topology_sensitivity": 0.7}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert found["cldice"] == pytest.approx(0.823529, abs=1e-6)
    assert (found["components"], found["label_components"], found["betti0_error"]) == (2, 1, 1)


def test_detection_rate_precision_and_f_follow_from_the_counts():
    found = score_frame(*counts(6, 2, 3))
    assert (found["recall"], found["precision"], found["dice"]) == pytest.approx((2 / 3, 0.75, 0.705882), abs=1e-6)
    assert found["fnr"] == pytest.approx(1 / 3)
    assert found["iou"] == pytest.approx(6 / 11)
    assert [found[name] for name in ("true_positives", "false_positives", "false_negatives")] == [6, 2, 3]


@pytest.mark.parametrize(
    ("pred", "label", "score"),
    [(False, False, 1), (True, False, 0), (False, True, 0)],
    ids=["both empty", "empty label", "empty prediction"],
)
def test_empty_masks_score_one_together_and_zero_alone(pred, label, score):
    found = score_frame(bar() & pred, bar() & label)
    assert [found[name] for name in OVERLAP] == [score] * len(OVERLAP)
    assert found["fnr"] == 1 - score


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(ValueError, match="shapes must be equal"):
        score_frame(bar(), bar(16))


def frames(*pairs):
    rows = {}
    for n, (case, *numbers) in enumerate(pairs):
        rows[case, n] = score_frame(*counts(*numbers))
    return rows


def test_pooled_values_are_those_of_all_pixels_together():
    summary = summarize_frames(frames(("a", 30, 0, 0), ("b", 2, 6, 2)))
    pooled = {"dice": 64 / 72, "iou": 32 / 40, "recall": 32 / 34, "precision": 32 / 38, "fnr": 2 / 34}
    assert summary["pooled"] == pytest.approx(pooled)
    assert summary["pooled"]["iou"] == pytest.approx(pooled["dice"] / (2 - pooled["dice"]))
    assert summary["metrics"]["dice"]["mean"] == pytest.approx((1 + 4 / 12) / 2)
    assert summary["frames"] == 2


def test_sequences_weigh_the_same_whatever_their_length():
    summary = summarize_frames(frames(("long", 4, 0, 4), ("long", 4, 0, 4), ("long", 4, 0, 4), ("still", 4, 0, 0)))
    dice = 8 / 12
    assert summary["metrics"]["dice"]["mean"] == pytest.approx((3 * dice + 1) / 4)
    assert summary["sequences"]["n"] == 2
    assert summary["sequences"]["metrics"]["dice"]["mean"] == pytest.approx((dice + 1) / 2)
    assert summary["sequences"]["cases"]["long"]["frames"] == 3
    assert summary["sequences"]["cases"]["long"]["dice"] == pytest.approx(dice)


def test_empty_frames_are_counted_and_named():
    summary = summarize_frames(frames(("a", 0, 0, 5), ("a", 0, 5, 0), ("b", 0, 0, 0), ("b", 5, 0, 0)))
    assert summary["failures"] == {
        "empty_prediction": {"n": 2, "frames": ["frame 0 of a", "frame 2 of b"]},
        "empty_label": {"n": 2, "frames": ["frame 1 of a", "frame 2 of b"]},
    }
    alone = summarize_frames(frames(("a", 0, 0, 0)))
    assert set(alone["pooled"].values()) == {1, 0}  # fnr 0


class PredictsItsInput(torch.nn.Module):
    def forward(self, image):
        return image


def evaluator(items, output_dir, raw=None, **options):
    """An evaluator whose prediction is the "image" of each item, and whose mask before refinement is ``raw``."""
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=len(items)),
        network=PredictsItsInput(),
        postprocessing=Compose([AsDiscreted("pred", threshold=0.5), *([raw] if raw else [])]),
        val_handlers=[FrameScores(output_dir, quiet=True, **options)],
    )


def item(case, preds, labels, **more):
    image = MetaTensor(torch.from_numpy(np.stack(preds)).float() * 0.8)
    label = MetaTensor(torch.from_numpy(np.stack(labels)).float())
    return {"image": image, "label": label, "case": case} | more


def rows_of(folder):
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_an_evaluator_writes_a_row_for_each_frame(tmp_path):
    half = bar(gap=slice(7, 13))
    engine = evaluator([item("b", [bar(), half], [bar()] * 2), item("a", [half] * 2, [bar()] * 2)], tmp_path)
    engine.run()
    rows = rows_of(tmp_path)
    assert [(row["case"], row["frame"]) for row in rows] == [("a", "0"), ("a", "1"), ("b", "0"), ("b", "1")]
    assert float(rows[0]["recall"]) == pytest.approx(15 / 33, rel=1e-5)
    assert engine.state.metrics["recall"] == pytest.approx((1 + 3 * 15 / 33) / 4)
    assert engine.state.metrics["pooled_recall"] == pytest.approx((33 + 3 * 15) / (4 * 33))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["sequences"]["cases"]["b"]["recall"] == pytest.approx((1 + 15 / 33) / 2)
    assert "unrefined" not in summary


def test_the_consistency_of_a_sequence_is_that_of_its_masks(tmp_path):
    half = bar(gap=slice(7, 13))
    evaluator([item("a", [bar(), half, half], [bar()] * 3)], tmp_path).run()
    assert [row["consistency"] for row in rows_of(tmp_path)] == ["", "0.625", "1"]
    case = json.loads((tmp_path / "summary.json").read_text())["sequences"]["cases"]["a"]
    assert (case["consistency"], case["label_consistency"]) == (pytest.approx((0.625 + 1) / 2), 1)


def test_stills_have_no_consistency(tmp_path):
    evaluator([item("a", [bar()], [bar()])], tmp_path).run()
    assert "consistency" not in json.loads((tmp_path / "summary.json").read_text())["metrics"]


class Unrefined:
    """Keep a mask before refinement: half of the vessel."""

    def __init__(self, key):
        self.key = key

    def __call__(self, data):
        return data | {self.key: data["pred"] * torch.from_numpy(bar(gap=slice(7, 13)))}


@pytest.mark.parametrize("key", ["unrefined", "raw"])
def test_the_mask_before_refinement_is_scored_beside_the_other(tmp_path, key):
    engine = evaluator([item("a", [bar()], [bar()])], tmp_path, Unrefined(key), raw_key=key)
    engine.run()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["pooled"]["recall"] == 1
    assert summary["unrefined"]["pooled"]["recall"] == pytest.approx(15 / 33)
    assert summary["unrefined"]["metrics"]["components"]["mean"] == 1
    assert "unrefined_recall" not in summary["metrics"]
    assert float(rows_of(tmp_path)[0]["unrefined_recall"]) == pytest.approx(15 / 33, rel=1e-5)


def test_frames_that_are_cases_of_their_own_count_to_their_sequence(tmp_path):
    items = [item(f"a_t{t:02}", [bar()], [bar()], frame=t, sequence="a") for t in (0, 5)]
    evaluator(items, tmp_path).run()
    assert [(row["case"], row["frame"]) for row in rows_of(tmp_path)] == [("a", "0"), ("a", "5")]
    assert json.loads((tmp_path / "summary.json").read_text())["sequences"]["n"] == 1


def test_frames_keep_the_numbers_that_their_file_gives_them(tmp_path):
    entry = item("a", [bar()] * 2, [bar()] * 2)
    entry["label"].meta["frames"] = [4, 7]
    evaluator([entry], tmp_path).run()
    assert [row["frame"] for row in rows_of(tmp_path)] == ["4", "7"]


@pytest.mark.parametrize(
    ("items", "message"),
    [
        pytest.param(
            [item("a", [bar()], [bar(16)])], r"case 'a': .*\(1, 9, 15\), those of the label \(1, 9, 16\)", id="size"
        ),
        pytest.param([item("a", [bar()], [3 * bar()])], r"label of case 'a': .*\[3.0\]", id="label of 3"),
        pytest.param([item("a", bar(), bar())], r"'pred' of case 'a' must be masks \(T, H, W\)", id="axes"),
        pytest.param(
            [item("a", [bar()], [bar()]), item("a", [~bar()], [bar()])], r"two cases are named \('a', 0\)", id="twice"
        ),
    ],
)
def test_an_output_that_cannot_be_scored_is_refused(tmp_path, items, message):
    with pytest.raises(ValueError, match=message):
        evaluator(items, tmp_path).run()


def test_a_fold_run_twice_or_not_at_all_is_refused(tmp_path):
    for fold in "01":
        evaluator([item("a", [bar()], [bar()])], tmp_path / fold).run()
    with pytest.raises(ValueError, match=r"frame 0 of a in .*1 is in another fold too"):
        pool_folds([tmp_path / "0", tmp_path / "1"], tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"there is no .*metrics\.csv; evaluate this fold first"):
        pool_folds([tmp_path / "gone"], tmp_path / "out")
    with pytest.raises(ValueError, match="folders must name"):
        pool_folds([], tmp_path / "out")
    (tmp_path / "0" / "metrics.csv").write_text("case,dice\na,1\n")
    with pytest.raises(ValueError, match="not what FrameScores writes"):
        pool_folds([tmp_path / "0"], tmp_path / "out")


def test_folds_are_pooled_over_images_pixels_and_folds(tmp_path, capsys):
    half = bar(gap=slice(7, 13))
    folds = {"0": [item("a", [bar()], [bar()]), item("b", [half], [bar()])], "1": [item("c", [half], [bar()])]}
    for fold, items in folds.items():
        evaluator(items, tmp_path / fold, Unrefined("unrefined")).run()
    summary = pool_folds([tmp_path / "0", tmp_path / "1"], tmp_path / "out")
    share = 15 / 33
    assert summary["frames"] == 3
    assert summary["metrics"]["recall"]["mean"] == pytest.approx((1 + 2 * share) / 3)
    assert summary["pooled"]["recall"] == pytest.approx((33 + 30) / 99)
    means = (1 + share) / 2, share
    expected = {"mean": np.mean(means), "sd": np.std(means, ddof=1)}
    assert summary["folds"]["metrics"]["recall"] == pytest.approx(expected, rel=1e-5)
    assert summary["folds"]["pooled"]["recall"] == pytest.approx(expected, rel=1e-5)  # frames of one size: the same
    assert summary["folds"]["unrefined"]["pooled"]["recall"] == pytest.approx({"mean": share, "sd": 0})
    assert [values["recall"] for values in summary["folds"]["each"].values()] == pytest.approx(means)
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["folds"]["n"] == 2
    assert len(rows_of(tmp_path / "out")) == 3
    assert "pooled over pixels: dice" in capsys.readouterr().out


def test_folders_of_pictures_are_scored_as_frames(tmp_path):
    for side, mask in (("pred", bar(gap=slice(6, 9))), ("ref", bar())):
        (tmp_path / side).mkdir()
        name = "1_seg.png" if side == "pred" else "1.pgm"
        Image.fromarray(mask.astype(np.uint8) * 255).save(tmp_path / side / name)
    evaluate(str(tmp_path / "pred"), str(tmp_path / "ref"), str(tmp_path / "out"))
    (row,) = rows_of(tmp_path / "out")
    assert (row["case"], row["cldice"], row["true_positives"]) == ("1", "0.823529", "24")
    Image.fromarray(np.zeros((9, 16), np.uint8)).save(tmp_path / "ref" / "1.pgm")
    with pytest.raises(ValueError, match=r"1_seg\.png has .*\(1, 9, 15\), but .*1\.pgm \(1, 9, 16\)"):
        evaluate(str(tmp_path / "pred"), str(tmp_path / "ref"), str(tmp_path / "out"))
    (tmp_path / "ref" / "1.nii.gz").touch()
    with pytest.raises(ValueError, match="one folder has volumes, the other pictures"):
        evaluate(str(tmp_path / "pred"), str(tmp_path / "ref"), str(tmp_path / "out"))


def work(rank, folder, store):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(store)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    scores = FrameScores(folder, quiet=True)
    scores.start()
    for case in ("ab", "bc")[rank]:  # the sampler has padded the last round with "b"
        pred, label = (torch.from_numpy(mask)[None].float() for mask in (bar(gap=slice(6, 7)), bar()))
        scores.score_item(case, {"pred": pred, "label": label})
    means = scores.finish()
    assert means["recall"] == pytest.approx(30 / 33)
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_several_processes_write_one_table(tmp_path):
    processes.spawn(work, (tmp_path, 29541), nprocs=2)
    assert [row["case"] for row in rows_of(tmp_path)] == ["a", "b", "c"]
