"""Cross-validation: every case is scored once, by a network that has not seen its fold."""

import csv
import json
import subprocess
from types import SimpleNamespace

import monai.bundle
import pytest
from casrnet import cross_validation

from ..conftest import XCA
from .conftest import SHORT, for_bundles, write_list

casrnet = for_bundles([path for path in XCA if path.name == "casrnet_bundle"])


def entries(phantoms, folds):
    """An entry for each phantom, with its fold."""
    return [
        {"image": case["image"], "label": case["label"], "case": f"case{number}", "fold": fold}
        for number, (case, fold) in enumerate(zip(phantoms, folds, strict=True))
    ]


def cross_validate(copy, data, **options):
    """Do in this process what ``python -m monai.bundle run cross_validate`` does."""
    files = copy.files("cross_validate.yaml")
    options = {"bundle_root": str(copy.root), "dataset_dir": str(data), **options}
    monai.bundle.run("cross_validate", config_file=files, logging_file=False, **options)


@pytest.mark.slow
@casrnet
def test_every_case_is_scored_once_and_a_second_call_keeps_what_is_there(copy, phantoms, tmp_path):
    data = write_list(tmp_path / "data", training=entries(phantoms, [0, 0, 1, 1])).parent
    options = {
        "output_dir": str(tmp_path / "out"),
        "training_options": copy.small | SHORT,
        "evaluation_options": copy.small,
    }
    cross_validate(copy, data, **options)
    with (tmp_path / "out" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    scored = sorted((row["case"], int(row["frame"])) for row in rows)
    assert scored == [(f"case{number}", frame) for number in range(4) for frame in range(3)]
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["folds"]["n"] == 2
    models = {path: path.stat().st_mtime for path in (tmp_path / "out").rglob("model.pt")}
    assert len(models) == 2
    cross_validate(copy, data, **options)
    assert {path: path.stat().st_mtime for path in models} == models


CONFIGS = (["train.yaml"], "evaluate.yaml")


def nothing(folder):
    """A data list of four cases without images, in two folds."""
    cases = [{"image": f"{number}.png", "label": f"{number}_mask.png"} for number in range(4)]
    return write_list(folder, training=entries(cases, [0, 0, 1, 1])).parent


def test_a_training_that_is_complete_is_not_done_again_after_its_evaluation_failed(tmp_path, monkeypatch):
    calls, out = [], tmp_path / "out"

    def run(command, **_):
        fold = command[command.index("--fold") + 1]
        calls.append((command[4], fold, "--resume" in command))
        folder = out / f"fold_{fold}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ("last.pt" if command[4] == "training" else "summary.json")).touch()
        return SimpleNamespace(returncode=int(len(calls) in failing))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(cross_validation, "pool_folds", lambda folders, _: {"n": len(folders)})
    arguments = (tmp_path, nothing(tmp_path / "data"), out, *CONFIGS)
    failing = {1, 3}  # the first training is interrupted, the first evaluation fails
    with pytest.raises(RuntimeError, match="the training of fold 0 failed"):
        cross_validation.cross_validate(*arguments)
    with pytest.raises(RuntimeError, match="the evaluating of fold 0 failed"):
        cross_validation.cross_validate(*arguments)
    (out / "fold_0" / "summary.json").unlink()  # the real one is written last
    assert cross_validation.cross_validate(*arguments) == {"n": 2}
    assert calls == [
        ("training", "0", False),
        ("training", "0", True),
        ("evaluating", "0", False),
        ("evaluating", "0", False),
        ("training", "1", False),
        ("evaluating", "1", False),
    ]


@pytest.mark.parametrize("folds", [[2], [], 0], ids=str)
def test_folds_that_the_data_list_does_not_have_are_named(tmp_path, folds):
    with pytest.raises(ValueError, match=r"\[0, 1\], got"):
        cross_validation.cross_validate(tmp_path, nothing(tmp_path / "data"), tmp_path / "out", *CONFIGS, folds=folds)
