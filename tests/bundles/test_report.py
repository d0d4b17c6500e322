"""Inference of every bundle writes a report beside each mask, and fails with --strict where a report has warnings."""

import hashlib
import json

import nibabel
import pytest

from common.grids import read_grid

from ..conftest import CT, XCA
from .conftest import NETWORKS, for_bundles

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


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_report_names_the_model_the_weights_and_the_geometry_of_the_input(copy, toy_set):
    image = toy_set / "images" / "3.nii.gz"
    (report,) = segment(copy, image).values()
    metadata = json.loads((copy.root / "configs" / "metadata.json").read_text())
    assert (report["case"], report["image"]) == ("3", "3.nii.gz")
    assert (report["model"]["name"], report["model"]["version"]) == (metadata["name"], metadata["version"])
    weights = [path for path in (copy.root / "models" / name for name in NETWORKS.values()) if path.is_file()]
    assert report["model"]["weights"] == [
        {"file": path.name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()} for path in weights
    ]
    shape = nibabel.load(image).shape
    if copy.xca:
        source = report["angiogram"]
        assert (source["width"], source["height"], source["frames"]) == shape
        assert len(report["mask"]["frames"]) == shape[2]
    else:
        assert report["geometry"]["shape"] == list(shape)
        assert report["geometry"]["affine"] == pytest.approx(read_grid(image).affine)


@for_bundles([CT[0], *XCA])
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


@for_bundles(XCA)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_no_vessel_in_any_frame_is_explained(copy, toy_set):
    (report,) = segment(copy, toy_set / "images" / "3.nii.gz", threshold=1.0).values()
    assert report["warnings"][0].startswith("no vessel in any frame: the highest probability is 0.")
    assert report["mask"]["frames_with_vessels"] == 0


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_strict_run_reports_all_cases_and_fails_at_its_end(copy, toy_set):
    with pytest.raises(RuntimeError) as caught:
        segment(copy, toy_set / "images", strict=True, report=False, threshold=1.0)  # strict needs the report
    error, cases = caught.value, reports(copy.eval)
    while error.__cause__:
        error = error.__cause__
    assert isinstance(error, ValueError)
    assert sorted(cases) == ["0", "1", "2", "3"]
    for case, report in cases.items():
        for message in report["warnings"]:
            assert f"\n{case}: {message}" in str(error)


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
