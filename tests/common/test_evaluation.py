"""Scoring of folders and of an evaluator's output: matching, files, failures, errors, several processes."""

import csv
import json
import os
import time

import nibabel
import numpy as np
import pytest
import torch
import torch.multiprocessing as processes
from monai.data import DataLoader, Dataset, MetaTensor
from monai.engines import SupervisedEvaluator
from monai.transforms import AsDiscreted, Compose

from common.evaluation import VesselScores, evaluate
from common.score_report import render, summarize

AFFINE = np.diag([-0.5, -0.5, 0.8, 1.0])  # LPS, as most CT files are stored


def vessel(stop=20, y=5):
    mask = np.zeros((24, 16, 12), np.uint8)
    mask[2:stop, y : y + 3, 4:7] = 1
    return mask


def write(path, voxels, affine=AFFINE):
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)


@pytest.fixture
def folders(tmp_path):
    """Two cases: one perfect, of one half is found."""
    write(tmp_path / "ref" / "1.img.nii.gz", vessel())
    write(tmp_path / "pred" / "1.img_seg.nii.gz", vessel())
    write(tmp_path / "ref" / "b_label.nii.gz", vessel())
    write(tmp_path / "pred" / "b.nii.gz", vessel(11))
    return tmp_path


def run(folder, **options):
    evaluate(str(folder / "pred"), str(folder / "ref"), str(folder / "out"), **options)
    with (folder / "out" / "metrics.csv").open(newline="") as file:
        rows = {row["case"]: row for row in csv.DictReader(file)}
    return rows, json.loads((folder / "out" / "summary.json").read_text())


@pytest.mark.parametrize("workers", [1, 2])
def test_each_case_is_a_row_and_the_summary_has_their_statistics(folders, workers):
    rows, summary = run(folders, workers=workers)
    half = 2 * 9 / (9 + 18)
    assert {case: float(row["dice"]) for case, row in rows.items()} == pytest.approx({"1.img": 1, "b": half}, rel=1e-5)
    assert summary["cases"] == 2
    assert summary["metrics"]["dice"] == pytest.approx(
        {"mean": (1 + half) / 2, "sd": (1 - half) / np.sqrt(2), "median": (1 + half) / 2, "n": 2}
    )


def test_the_spacing_comes_from_the_file(folders):
    write(folders / "pred" / "b.nii.gz", np.roll(vessel(), 2, axis=2))
    rows, _ = run(folders)
    assert float(rows["b"]["hd95_mm"]) == pytest.approx(2 * 0.8)


def test_the_table_is_printed(folders, capsys):
    run(folders)
    printed = capsys.readouterr().out
    assert "dice                          0.8333     0.2357     0.8333     2" in printed
    assert "missed vessel: 0 of 2 cases" in printed


def test_failures_stay_in_the_mean_and_are_counted(folders):
    write(folders / "pred" / "b.nii.gz", 0 * vessel())
    write(folders / "ref" / "c.nii.gz", 0 * vessel())
    write(folders / "pred" / "c.nii.gz", vessel())
    write(folders / "ref" / "d.nii.gz", vessel() | vessel(y=12))
    write(folders / "pred" / "d.nii.gz", vessel())
    rows, summary = run(folders)
    diagonal_mm = np.linalg.norm(np.multiply((24, 16, 12), (0.5, 0.5, 0.8)))
    assert summary["metrics"]["hd95_mm"]["n"] == 4
    assert [float(rows[case]["hd95_mm"]) for case in "bc"] == pytest.approx([diagonal_mm] * 2, rel=1e-5)
    assert summary["failures"] == {
        "empty_prediction": {"n": 1, "cases": ["b"]},
        "empty_label": {"n": 1, "cases": ["c"]},
        "missed_vessel": {"n": 2, "cases": ["b", "d"]},
    }


def test_a_diameter_that_no_vessel_has_is_left_open(folders):
    rows, summary = run(folders)
    assert rows["b"]["recall_from_3mm"] == ""
    assert summary["metrics"]["recall_from_3mm"] == {"mean": None, "sd": None, "median": None, "n": 0}


def test_files_without_partner_are_listed(folders, capsys):
    write(folders / "pred" / "x_seg.nii.gz", vessel())
    write(folders / "ref" / "y.nii.gz", vessel())
    _, summary = run(folders)
    assert summary["without_partner"] == {"pred": ["x_seg.nii.gz"], "ref": ["y.nii.gz"]}
    printed = capsys.readouterr().out
    assert "pred: x_seg.nii.gz" in printed
    assert "ref: y.nii.gz" in printed


def test_masks_of_other_formats_are_read(folders):
    import itk

    for path in (folders / "ref" / "b_label.nii.gz", folders / "pred" / "b.nii.gz"):
        itk.imwrite(itk.imread(str(path)), str(path).replace(".nii.gz", ".nrrd"))
        path.unlink()
    rows, _ = run(folders)
    assert float(rows["b"]["dice"]) == pytest.approx(2 * 9 / 27, rel=1e-5)


def test_a_volume_with_one_time_point_is_a_volume(folders):
    write(folders / "pred" / "b.nii.gz", vessel()[..., None])
    assert float(run(folders)[0]["b"]["dice"]) == 1


def shifted(folder):
    write(folder / "pred" / "b.nii.gz", vessel(), AFFINE + np.eye(4)[:, :1] @ [[0, 0, 0, 3.0]])


def cut(folder):
    write(folder / "pred" / "b.nii.gz", vessel()[:-1])


def labelled_with_two(folder):
    write(folder / "ref" / "b_label.nii.gz", 2 * vessel())


def not_a_number(folder):
    write(folder / "pred" / "b.nii.gz", np.where(vessel(), np.nan, 0))


def damaged(folder):
    path = folder / "pred" / "b.nii.gz"
    write(path, np.random.default_rng(0).integers(0, 2, (24, 16, 12), np.uint8))
    path.write_bytes(path.read_bytes()[:-300])


def twice(folder):
    write(folder / "pred" / "b_seg.nii.gz", vessel())


def none_in_common(folder):
    for path in (folder / "pred").iterdir():
        path.rename(path.with_name("my" + path.name))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (shifted, r"case 'b': .*different grids.* up to 3 mm apart"),
        (cut, r"case 'b': .*\(23, 16, 12\).*\(24, 16, 12\)"),
        (labelled_with_two, r"b_label.nii.gz: a mask is 0 and 1, but it holds \[2\.?0?\]"),
        (not_a_number, r"pred.b.nii.gz: a mask is 0 and 1, but it holds \[nan\]"),
        (damaged, r"cannot read .*pred.b.nii.gz; is it complete"),
        (twice, r"b.nii.gz and b_seg.nii.gz in .*pred are both of case 'b'"),
        (none_in_common, r"no file in .*pred has the case name of one in .*ref \(my1.img_seg.nii.gz, "),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_cannot_be_scored_is_an_error_that_names_it(folders, spoil, message):
    spoil(folders)
    with pytest.raises(ValueError, match=message):
        run(folders)
    assert not (folders / "out" / "metrics.csv").exists()


def test_after_an_error_the_other_cases_are_not_waited_for(folders, monkeypatch):
    for case in range(12):
        write(folders / "ref" / f"{case}.nii.gz", vessel() * (2 if case == 0 else 1))
        write(folders / "pred" / f"{case}.nii.gz", vessel())
    scored = []
    monkeypatch.setattr("common.evaluation.score_case", lambda *_: (scored.append(1), time.sleep(0.05)))
    with pytest.raises(ValueError, match=r"0.nii.gz: a mask is 0 and 1"):
        run(folders)
    assert len(scored) < 6


def test_a_missing_folder_is_named(folders):
    with pytest.raises(NotADirectoryError, match=r"there is no folder nowhere"):
        evaluate("nowhere", str(folders / "ref"), str(folders / "out"))


def test_an_output_that_cannot_be_written_is_refused_before_the_work(folders, monkeypatch):
    (folders / "out").write_text("a file")
    monkeypatch.setattr("common.evaluation.score_case", lambda *_: pytest.fail("work was done"))
    with pytest.raises(OSError, match=r"cannot write to the folder .*out"):
        run(folders)


def test_at_least_one_worker_is_needed(folders):
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        run(folders, workers=0)


def test_one_case_has_no_standard_deviation():
    summary = summarize({"a": {"dice": 0.5, "prediction_volume_mm3": 1, "label_volume_mm3": 1, "missed_components": 0}})
    assert np.isnan(summary["metrics"]["dice"]["sd"])
    assert "dice                         0.5          -        0.5     1" in render(summary)


class PredictsItsInput(torch.nn.Module):
    def forward(self, image):
        return image


def evaluator(items, output_dir, **options):
    """An evaluator whose prediction is the "image" of each item."""
    scores = VesselScores(output_dir)
    return SupervisedEvaluator(
        device=torch.device("cpu"),
        val_data_loader=DataLoader(Dataset(items), batch_size=len(items)),
        network=PredictsItsInput(),
        postprocessing=Compose([AsDiscreted("pred", threshold=0.5)]),
        val_handlers=[scores],
        **options,
    )


def item(case, prediction, label, affine=AFFINE):
    image = MetaTensor(torch.from_numpy(prediction)[None].float() * 0.8, affine=torch.from_numpy(affine))
    target = MetaTensor(torch.from_numpy(label)[None].float(), affine=torch.from_numpy(AFFINE))
    return {"image": image, "label": target} | ({"case": case} if case else {})


def test_an_evaluator_writes_the_scores_of_its_predictions(tmp_path):
    engine = evaluator([item("a", vessel(), vessel()), item("b", vessel(11), vessel())], tmp_path)
    engine.run()
    assert engine.state.metrics["dice"] == pytest.approx((1 + 2 / 3) / 2)
    assert {"cldice", "hd95_mm", "nsd_0.5mm", "betti1_error"} <= engine.state.metrics.keys()
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["metrics"]["dice"]["n"] == 2
    assert (tmp_path / "metrics.csv").read_text().splitlines()[2].startswith("b,0.666667,1,0.5,")


def test_an_evaluator_and_the_command_write_the_same(folders, tmp_path):
    run(folders)
    evaluator([item("1.img", vessel(), vessel()), item("b", vessel(11), vessel())], tmp_path / "engine").run()
    assert (tmp_path / "engine" / "metrics.csv").read_text() == (folders / "out" / "metrics.csv").read_text()


def test_scores_may_come_with_notes_and_without_a_table(tmp_path, capsys):
    scores = VesselScores(tmp_path, quiet=True)
    scores.notes = {"centerline": {"oracle": 2, "share": float("nan")}}
    case = item("a", vessel(), vessel())
    scores.score("a", case["image"] > 0, case["label"])
    scores.finish()
    assert json.loads((tmp_path / "summary.json").read_text())["centerline"] == {"oracle": 2, "share": None}
    assert capsys.readouterr().out == ""


def test_a_second_run_starts_from_nothing(tmp_path):
    items = [item("a", vessel(), vessel())]
    engine = evaluator(items, tmp_path)
    engine.run()
    items[0] = item("b", vessel(), vessel())
    engine.run()
    assert [line.split(",")[0] for line in (tmp_path / "metrics.csv").read_text().splitlines()] == ["case", "b"]


def test_without_a_case_the_file_of_the_label_gives_the_name(tmp_path):
    entry = item(None, vessel(), vessel())
    entry["label"].meta["filename_or_obj"] = "/data/7.label.nii.gz"
    evaluator([entry], tmp_path).run()
    assert (tmp_path / "metrics.csv").read_text().splitlines()[1].startswith("7.label,")


@pytest.mark.parametrize(
    ("items", "options", "message"),
    [
        pytest.param([item("a", vessel(), vessel(), np.eye(4))], {}, r"case 'a': .*different grids", id="grid"),
        pytest.param([item("a", vessel(), 3 * vessel())], {}, r"label of case 'a': .*\[3.0\]", id="label of 3"),
        pytest.param([item(None, vessel(), vessel())], {}, r'add "case" to the data list', id="nameless"),
        pytest.param(
            [item("a", vessel(), vessel()), item("a", vessel(9), vessel())], {}, r"two cases are named 'a'", id="twice"
        ),
        pytest.param([item("a", vessel(), vessel())], {"decollate": False}, r"decollate=True", id="not decollated"),
    ],
)
def test_an_output_that_cannot_be_scored_is_refused(tmp_path, items, options, message):
    with pytest.raises(ValueError, match=message):
        evaluator(items, tmp_path, **options).run()


def _run_process(rank, folder):
    import ignite.distributed as idist

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29731"}
    idist.initialize("gloo")
    mine = [item("a", vessel(), vessel()), item("b", vessel(11), vessel())][: 2 - rank]  # "a" is padded to both
    engine = evaluator(mine, folder / str(rank))
    engine.run()
    (folder / f"dice_{rank}").write_text(str(engine.state.metrics["dice"]))
    idist.finalize()


@pytest.mark.slow
def test_of_two_processes_the_first_writes_every_case_once(tmp_path):
    processes.spawn(_run_process, (tmp_path,), nprocs=2)
    assert not list((tmp_path / "1").iterdir())
    lines = (tmp_path / "0" / "metrics.csv").read_text().splitlines()
    assert [line.split(",")[:2] for line in lines[1:]] == [["a", "1"], ["b", "0.666667"]]
    assert [float((tmp_path / f"dice_{rank}").read_text()) for rank in range(2)] == pytest.approx([5 / 6] * 2)
