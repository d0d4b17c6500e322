"""``python -m common segment`` from end to end, with the weights that are shipped."""

import os
import subprocess
import sys
import zipfile

import nibabel
import numpy as np
import pytest
from PIL import Image

from common.grids import describe_difference, read_grid
from common.packing.archive import pack_bundle
from common.phantom.dataset import write_dataset
from common.segmenting.command import segment

from ..conftest import ROOT

pytestmark = pytest.mark.slow


def command(*arguments):
    words = [sys.executable, "-m", "common", "segment", *map(str, arguments)]
    result = subprocess.run(
        words, capture_output=True, encoding="utf-8", cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_contrast_ct_gets_a_mask_on_its_grid_and_a_picture(tmp_path):
    write_dataset(tmp_path, cases=1, seed=5, shape=(72, 72, 64), spacing=1.0, validation=0, test=1)
    image, truth = (next((tmp_path / folder).iterdir()) for folder in ("images", "labels"))
    result = segment(image, out=tmp_path / "out")
    assert result.bundle.name == "centerline_unet_bundle"
    mask, picture, *reports = result.files
    assert describe_difference(read_grid(image), read_grid(mask)) is None
    found, label = (np.asanyarray(nibabel.load(path).dataobj) > 0 for path in (mask, truth))
    assert 2 * (found & label).sum() > 0.4 * (found.sum() + label.sum())  # a Dice of 0.4, where chance has 0.01
    assert picture.suffix == ".png"
    assert {path.suffix for path in reports} == {".json"}


@pytest.fixture
def still(tmp_path):
    write_dataset(tmp_path, cases=1, seed=3, modality="xca", shape=(128, 128), frames=3, validation=0, test=1)
    return sorted(next((tmp_path / "frames").iterdir()).iterdir())[2]


def test_an_x_ray_still_gets_a_mask_of_its_size_and_a_film(still, tmp_path):
    said = command(still, "--out", tmp_path / "out")
    assert "X-ray still" in said
    assert said.splitlines()[-4:] == [
        "Results:",
        *(f"  {tmp_path / 'out' / still.stem}{end}" for end in ("_seg.png", "_film.gif", ".json")),
    ]
    mask = np.asarray(Image.open(tmp_path / "out" / f"{still.stem}_seg.png"))
    assert mask.shape == (128, 128)
    assert set(np.unique(mask)) == {0, 255}


def test_an_unpacked_bundle_makes_the_same_mask(still, tmp_path):
    zipped = pack_bundle(ROOT / "bundles" / "casrnet_bundle", tmp_path / "dist")
    with zipfile.ZipFile(zipped) as archive:
        archive.extractall(tmp_path / "downloaded")
    command(still, "--out", tmp_path / "own")
    command(still, "--out", tmp_path / "other", "--bundle", tmp_path / "downloaded" / "casrnet_bundle")
    one, other = (np.asarray(Image.open(tmp_path / name / f"{still.stem}_seg.png")) for name in ("own", "other"))
    np.testing.assert_array_equal(one, other)
