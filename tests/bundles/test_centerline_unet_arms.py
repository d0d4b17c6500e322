"""The arms of an evaluation, scored on shapes whose coverage and scores can be worked out by hand."""

import csv
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from centerline_unet.arms import ArmScores
from centerline_unet.inferers import Crops
from centerline_unet.provider import Guidance
from ignite.engine import Engine
from monai.data import MetaTensor

AFFINE = np.diag([0.5, 0.5, 0.5, 1.0])  # of the preprocessed image
NATIVE = np.diag([1.0, 1.0, 1.0, 1.0])  # of the label: a voxel is two of the image's
NATIVE[:3, 3] = 0.25


def mask(*bars):
    """A mask (1, 20, 8, 8) with bars of 2 x 2 voxels along its first axis, from and to."""
    voxels = torch.zeros(1, 20, 8, 8)
    for first, last in bars:
        voxels[0, first:last, 3:5, 3:5] = 1
    return MetaTensor(voxels, affine=NATIVE)


def crops(*starts):
    return Crops(Guidance("mask" if starts else "none", [], AFFINE), np.array(starts).reshape(-1, 3), (20, 16, 16))


@pytest.fixture
def score(tmp_path):
    """A function that scores one case; returns the rows of arms.csv by arm and what arms.json says."""

    def run(preds, label, last, knows_reference=False):
        providers = {"auto": SimpleNamespace(knows_reference=knows_reference)}
        inferer = SimpleNamespace(arms=tuple(last), last=last, providers=providers)

        def output(engine, _):
            engine.state.batch = [{"case": "1"}]
            return [{"pred": MetaTensor(torch.cat(preds), affine=NATIVE), "label": label}]

        engine = Engine(output)
        ArmScores(inferer, tmp_path).attach(engine)
        engine.run([0])
        with (tmp_path / "arms.csv").open() as file:
            rows = {row["arm"]: row for row in csv.DictReader(file)}
        return rows, json.loads((tmp_path / "arms.json").read_text())

    return run


def test_coverage_is_the_share_of_the_lumen_inside_the_crops(score):
    last = {"auto": crops([0, 0, 0]), "grid": crops()}  # the first 10 mm of a vessel of 20
    rows, summary = score([mask((0, 20)), mask((0, 20))], mask((0, 20)), last)
    assert float(rows["auto"]["coverage"]) == 0.5
    assert rows["grid"]["coverage"] == ""  # windows cover everything: that is no merit of guidance
    assert (summary["auto"]["coverage"], summary["grid"]["coverage"]) == (0.5, None)
    assert summary["grid"]["sources"] == {"none": 1}


def test_inside_the_crops_alone_nothing_outside_is_scored(score):
    last = {"auto": crops([0, 0, 0]), "oracle_volume": crops([0, 0, 0])}
    false_and_missed = mask((0, 10), (15, 20))
    rows, _ = score([mask((0, 20)), false_and_missed], mask((0, 15)), last)
    assert float(rows["oracle_volume"]["dice"]) == pytest.approx(2 * 10 / (15 + 15))
    assert float(rows["oracle_crop"]["dice"]) == 1
    assert float(rows["auto"]["precision"]) == pytest.approx(15 / 20)


def test_a_source_that_knows_the_reference_is_never_called_the_headline(score):
    last = {"auto": crops([0, 0, 0])}
    _, honest = score([mask((0, 20))], mask((0, 20)), last)
    _, knowing = score([mask((0, 20))], mask((0, 20)), last, knows_reference=True)
    assert honest["auto"]["meaning"] == "no reference at inference: the headline"
    assert knowing["auto"]["meaning"] == "a centerline that knows the reference: not a result"


def test_the_scores_of_every_arm_are_written_with_the_source_of_its_centerline(score, tmp_path):
    last = {"auto": crops([0, 0, 0]), "grid": crops()}
    score([mask((0, 20)), mask((0, 10))], mask((0, 20)), last)
    for folder, source, dice in ((tmp_path, "mask", 1.0), (tmp_path / "grid", "none", 2 / 3)):
        summary = json.loads((folder / "summary.json").read_text())
        assert summary["centerline"]["sources"] == {source: 1}
        assert summary["metrics"]["dice"]["mean"] == pytest.approx(dice)
