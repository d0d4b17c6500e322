"""One command from an image to its mask: what it says, what it writes, what it refuses before the work."""

import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from common.segmenting import command, running

from ..conftest import BUNDLES, ROOT


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "7"  # fire makes a number of it
    path.mkdir()
    for number in range(2):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 48), np.uint8)
        Image.fromarray(pixels).save(path / f"f{number}.png")
    return path


@pytest.fixture
def ran(monkeypatch):
    """A stand-in for inference that writes a mask and a film; what it was called with."""
    calls = []

    def run(bundle, image, out):
        calls.append((bundle, image))
        (out / f"{image.name}.json").touch()
        (out / f"{image.name}_film.gif").touch()
        (out / f"{image.name}_seg").mkdir()
        return {"film": "gif"}

    monkeypatch.setattr(running, "run_inference", run)
    return calls


def test_it_says_what_it_chose_and_why_and_lists_what_is_new(image, ran, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "older_seg.png").touch()
    result = command.segment(image, out=out)
    assert ran == [(ROOT / "bundles" / "svsnet_bundle", image)]
    assert result.bundle.name == "svsnet_bundle"
    assert result.files == (out / "7_seg", out / "7_film.gif", out / "7.json")
    assert str(result) == f"Results:\n  {out / '7_seg'}\n  {out / '7_film.gif'}\n  {out / '7.json'}"
    assert capsys.readouterr().out.splitlines() == [*result.reasons, "svsnet_bundle runs now."]
    assert "2 numbered pictures" in result.reasons[0]
    assert "X-ray sequence" in result.reasons[-1]


@pytest.mark.parametrize("given", ["casrnet_bundle", ROOT / "bundles" / "casrnet_bundle"], ids=["name", "folder"])
def test_a_bundle_that_is_named_is_taken_without_asking(image, ran, tmp_path, given):
    result = command.segment(image, given, tmp_path / "out")
    assert ran[0][0] == ROOT / "bundles" / "casrnet_bundle"
    assert result.reasons == ()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["nowhere.nii.gz"], "there is no file or folder nowhere.nii.gz"),
        ([".", "--bundle", "unet"], f"there is no bundle 'unet': name one of .*{BUNDLES[0].name}"),
        ([".", "--out", "README.md"], "cannot write to the folder README.md"),
    ],
    ids=["image", "bundle", "out"],
)
def test_a_wrong_path_is_told_before_torch_is_imported(arguments, reason):
    code = (
        "import sys\nfrom common.__main__ import main\ntry:\n    main()\n"
        "finally:\n    assert not {'torch', 'monai'} & set(sys.modules)"
    )
    words = [sys.executable, "-c", code, "segment", *arguments]
    result = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 1
    assert "AssertionError" not in result.stderr
    assert re.search(reason, result.stderr)
