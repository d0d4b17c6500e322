"""Inference of every bundle writes a report beside each mask, and fails with --strict where a report has warnings."""

import hashlib
import json
import warnings

import nibabel
import numpy as np
import pytest

from common.grids import read_grid

from ..conftest import BUNDLES, CT, XCA
from .conftest import NETWORKS, BundleCopy, for_bundles, write_case

SPEED = {"overlap": 0.0}


def options(copy):
    return {} if copy.xca else SPEED


def reports(folder):
    return {path.stem: json.loads(path.read_text("ascii")) for path in folder.glob("*.json") if "_" not in path.name}


def segment(copy, source, **more):
    """Segment a file or folder; return the reports by case."""
    kind = "dataset_dir" if source.is_dir() else "image"
    copy.run("run", "inference.yaml", **{kind: str(source)}, **options(copy), **more)
    return reports(copy.eval)


class StrictRun:
    """What a strict inference of two images of noise leaves, for a bundle whose network is of chance."""

    def __init__(self, bundle, folder):
        self.copy = BundleCopy(bundle, folder)
        shape = (64, 64, 3) if self.copy.xca else (20, 24, 28)
        rng = np.random.default_rng(0)
        voxels = rng.integers(0, 256, shape) if self.copy.xca else rng.normal(100, 300, shape)
        self.images = [write_case(folder / "noise", case, voxels) for case in ("a", "b")]
        options = {"strict": True, "report": False, "threshold": 1.0}  # strict needs the report, wanted or not
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(RuntimeError) as caught:
                segment(self.copy, self.images[0].parent, **options)
        self.error = caught.value
        while self.error.__cause__:
            self.error = self.error.__cause__
        self.reports = reports(self.copy.eval)


@pytest.fixture(scope="module", params=BUNDLES, ids=lambda path: path.name)
def strict_run(request, tmp_path_factory):
    return StrictRun(request.param, tmp_path_factory.mktemp("strict"))


def test_a_report_names_the_model_the_weights_and_the_geometry_of_the_input(strict_run):
    root, image, report = strict_run.copy.root, strict_run.images[0], strict_run.reports["a"]
    metadata = json.loads((root / "configs" / "metadata.json").read_text())
    assert (report["case"], report["image"]) == ("a", "a.nii.gz")
    assert (report["model"]["name"], report["model"]["version"]) == (metadata["name"], metadata["version"])
    weights = [path for path in (root / "models" / name for name in NETWORKS.values()) if path.is_file()]
    assert report["model"]["weights"] == [
        {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in weights
    ]
    shape = nibabel.load(image).shape
    if strict_run.copy.xca:
        source = report["angiogram"]
        assert (source["width"], source["height"], source["frames"]) == shape
        assert len(report["mask"]["frames"]) == shape[2]
    else:
        assert report["geometry"]["shape"] == list(shape)
        np.testing.assert_allclose(report["geometry"]["affine"], read_grid(image).affine)


def test_a_strict_run_reports_all_cases_and_fails_at_its_end(strict_run):
    assert isinstance(strict_run.error, ValueError)
    assert sorted(strict_run.reports) == ["a", "b"]
    for case, report in strict_run.reports.items():
        assert report["warnings"]
        for message in report["warnings"]:
            assert f"\n{case}: {message}" in str(strict_run.error)


@for_bundles(XCA, "strict_run")
def test_no_vessel_in_any_frame_is_explained(strict_run):
    report = strict_run.reports["a"]
    assert report["warnings"][0].startswith("no vessel in any frame: the highest probability is 0.")
    assert report["mask"]["frames_with_vessels"] == 0


@for_bundles([CT[0], XCA[0]])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_report_is_written_if_none_is_wanted(copy, toy_set):
    assert segment(copy, toy_set / "images" / "3.nii.gz", report=False) == {}


@for_bundles([path for path in CT if path.name != "syncas_bundle"])
def test_an_empty_mask_of_a_scan_without_contrast_is_explained(copy, toy_set):
    with pytest.warns(UserWarning, match=r"3\.nii\.gz: nothing found: there is no contrast in the blood pool"):
        (report,) = segment(copy, toy_set / "images" / "3.nii.gz").values()
    first, *_, last = report["warnings"]
    assert first.startswith("there is no contrast-filled heart in this volume")  # said before the network ran
    assert last.startswith("nothing found: there is no contrast in the blood pool, so the mask was emptied")
    assert report["contrast"]["phase"] == "none"
    assert report["probability"]["highest_probability"] > 0


@pytest.mark.slow
@for_bundles([CT[0], XCA[0]])
def test_a_strict_command_exits_with_an_error(copy, toy_set):
    image = toy_set / "images" / "3.nii.gz"
    files = ("--config_file", "configs/inference.yaml")
    code, output = copy.command(*files, image=image, strict=True, threshold=1.0, **options(copy))
    assert code != 0
    assert "1 case(s) with warnings, which --strict forbids:" in output
    code, output = copy.command(*files, image=image, threshold=1.0, **options(copy))
    assert code == 0, output
