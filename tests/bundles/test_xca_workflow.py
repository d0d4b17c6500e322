"""Evaluation on X-ray angiograms scores the masks that inference writes: stills as PNG, sequences as NIfTI."""

import csv
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from common.angiograms.scores import score_frame

from ..conftest import XCA
from .conftest import for_bundles, write_list
from .test_xca_options import widen

xca = for_bundles(XCA)


def frames_of(path):
    """Frames ``(T, H, W)`` of a mask file, vessels true."""
    if path.suffix == ".png":
        return np.asarray(Image.open(path))[None] > 0
    return np.asanyarray(nibabel.load(path).dataobj).transpose(2, 1, 0) > 0


def as_stills(angiograms, folder):
    """The middle frames of sequences as PNG files of 60 x 64 pixels, with their masks."""
    entries = []
    for number, case in enumerate(angiograms):
        entry = {kind: folder / f"{kind}s" / f"{number}.png" for kind in ("image", "label")}
        for kind, path in entry.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            frame = np.asanyarray(nibabel.load(case[kind]).dataobj)[:60, :, 1].T
            Image.fromarray((frame if kind == "image" else 255 * (frame > 0)).astype(np.uint8)).save(path)
        entries.append({kind: str(path) for kind, path in entry.items()})
    return entries


def calibrated(copy, images):
    """Options that leave a tenth of the pixels of the first image, and drop some of what is left."""
    widen(copy)
    folder = copy.root / "probability"
    copy.run("run", "inference.yaml", image=images[0], output_dir=str(folder), save_probability=True, film=False)
    path = next(folder.glob("*_prob.*"))
    values = np.asarray(Image.open(path)) / 65535 if path.suffix == ".png" else nibabel.load(path).get_fdata()
    return {"threshold": float(np.quantile(values, 0.9)), "min_area": 8}


@pytest.mark.slow
@xca
@pytest.mark.parametrize("kind", ["stills", "sequences"])
def test_evaluation_scores_exactly_the_masks_that_inference_writes(copy, angiograms, tmp_path, kind):
    entries = as_stills(angiograms[:2], tmp_path) if kind == "stills" else angiograms[:2]
    suffix = ".png" if kind == "stills" else ".nii.gz"
    options = calibrated(copy, [entry["image"] for entry in entries])
    masks = tmp_path / "masks"
    for entry in entries:
        copy.run("run", "inference.yaml", image=entry["image"], output_dir=str(masks), film=False, **options)
    expected, areas = {}, []
    for entry in entries:
        name = entry["image"].rsplit("/", 1)[1].removesuffix(suffix)
        label = frames_of(Path(entry["label"]))
        pred = frames_of(masks / f"{name}_seg{suffix}")
        areas.append(pred.mean())
        pairs = zip(pred, label, strict=True)
        expected |= {(name, t): score_frame(*pair) for t, pair in enumerate(pairs)}
    assert 0 < np.mean(areas) < 0.5

    data = write_list(tmp_path / "scored", test=entries).parent
    copy.run("evaluating", "evaluate.yaml", dataset_dir=str(data), output_dir=str(tmp_path / "scores"), **options)

    with (tmp_path / "scores" / "metrics.csv").open(newline="") as file:
        rows = {(row["case"], int(row["frame"])): row for row in csv.DictReader(file)}
    assert rows.keys() == expected.keys()
    for frame, scores in expected.items():
        found = {name: float(rows[frame][name]) for name in scores}
        assert found == pytest.approx(scores, abs=1e-4), frame
    summary = json.loads((tmp_path / "scores" / "summary.json").read_text())
    mean = np.mean([scores["dice"] for scores in expected.values()])
    assert summary["metrics"]["dice"]["mean"] == pytest.approx(mean, abs=1e-4)
