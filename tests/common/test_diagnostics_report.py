"""A report is a file of plain JSON beside the mask, tells the model apart, and never replaces a file of the user."""

import hashlib
import json
import math

import numpy as np
import pytest
import torch
from ignite.engine import Engine
from monai.data import MetaTensor
from monai.transforms import SaveImaged

from common.diagnostics.angiogram_report import SaveAngiogramReportd
from common.diagnostics.model import describe_model
from common.diagnostics.notes import note, note_warning
from common.diagnostics.report import GENERATOR, FailOnWarnings, plain
from common.diagnostics.volume_report import SaveReportd

SETTINGS = {"threshold": 0.5, "min_volume_mm3": 12.5, "require_contrast": True}


@pytest.fixture
def bundle(tmp_path):
    """A bundle with metadata and weights of known checksum."""
    (tmp_path / "bundle" / "configs").mkdir(parents=True)
    (tmp_path / "bundle" / "configs" / "metadata.json").write_text('{"name": "Net", "version": "1.2.3"}')
    (tmp_path / "bundle" / "model.pt").write_bytes(b"weights")
    return tmp_path / "bundle"


def tree(**meta):
    """An image and a mask of 60 voxels in a line, of 0.5 mm."""
    affine = torch.diag(torch.tensor([0.5, 0.5, 0.5, 1.0], dtype=torch.float64))
    meta = {"filename_or_obj": "/somewhere/scan.1.nii.gz"} | meta
    mask = torch.zeros(1, 70, 8, 8)
    mask[0, 5:65, 4, 4] = 1
    image, mask = (MetaTensor(volume, affine=affine, meta=dict(meta)) for volume in (torch.zeros(1, 9, 9, 9), mask))
    note(image, values={"lowest": -1000.0}, contrast={"expected": False, "found": False, "blood_hu": None})
    note_warning(image, "thick slices")
    return {"image": image, "pred": mask}


def writer(bundle, out, **options):
    options = {"bundle_root": bundle, "checkpoints": [bundle / "model.pt"], "settings": SETTINGS} | options
    return SaveReportd("pred", "image", out, **options)


def saved(bundle, out, data, **options):
    with pytest.warns(UserWarning, match="implausible"):
        writer(bundle, out, **options)(data)
    return json.loads((out / f"{data.get('case', 'scan.1')}.json").read_text("ascii"), parse_constant=pytest.fail)


def test_a_report_names_case_model_weights_geometry_and_warnings(bundle, tmp_path):
    report = saved(bundle, tmp_path / "out", tree())
    assert list(report)[:6] == ["generator", "format", "case", "image", "warnings", "remarks"]
    assert (report["case"], report["image"]) == ("scan.1", "scan.1.nii.gz")
    checksum = hashlib.sha256(b"weights").hexdigest()
    assert report["model"] == {
        "name": "Net",
        "version": "1.2.3",
        "weights": [{"file": "model.pt", "sha256": checksum}],
    }
    assert report["geometry"]["shape"] == [70, 8, 8]
    assert report["geometry"]["spacing_mm"] == [0.5, 0.5, 0.5]
    assert report["values_hu"] == {"lowest": -1000}
    assert report["mask"]["voxels"] == 60
    assert report["mask"]["length_mm"] == pytest.approx(29.5)
    assert report["settings"] == SETTINGS
    assert report["warnings"][0] == "thick slices"
    assert report["warnings"][1].startswith("implausible volume: 0.0075 ml")


def test_the_data_list_names_the_case(bundle, tmp_path):
    assert saved(bundle, tmp_path / "out", tree() | {"case": "patient 1"})["case"] == "patient 1"


def test_new_warnings_are_given_at_once_and_noted_ones_not_again(bundle, tmp_path):
    with pytest.warns(UserWarning, match="implausible") as given:
        writer(bundle, tmp_path)(tree())
    texts = [str(item.message) for item in given]
    assert any(text.startswith("/somewhere/scan.1.nii.gz: implausible volume") for text in texts)
    assert not any("thick slices" in text for text in texts)


def test_the_weights_are_read_once(bundle, tmp_path):
    report = writer(bundle, tmp_path)
    with pytest.warns(UserWarning, match="implausible"):
        report(tree())
    (bundle / "model.pt").unlink()
    with pytest.warns(UserWarning, match="implausible"):
        report(tree())


def test_monai_label_can_tell_it_by_its_class(bundle, tmp_path):
    assert isinstance(writer(bundle, tmp_path), SaveImaged)


def test_an_earlier_report_is_replaced(bundle, tmp_path):
    saved(bundle, tmp_path, tree())
    assert saved(bundle, tmp_path, tree(), settings=SETTINGS | {"threshold": 0.3})["settings"]["threshold"] == 0.3


@pytest.mark.parametrize("content", ['{"of": "the user"}', "[1]", "no JSON", '{"generator": "another"}'])
def test_a_file_of_the_user_is_not_replaced(bundle, tmp_path, content):
    (tmp_path / "scan.1.json").write_text(content)
    with (
        pytest.warns(UserWarning, match="implausible"),
        pytest.raises(FileExistsError, match=r"scan\.1\.json is there already and is no report"),
    ):
        writer(bundle, tmp_path)(tree())
    assert (tmp_path / "scan.1.json").read_text() == content


def test_a_mask_of_unknown_origin_is_refused(bundle, tmp_path):
    with pytest.raises(ValueError, match="'pred' does not know its input file"):
        writer(bundle, tmp_path)(tree(filename_or_obj=""))


def test_a_bundle_without_metadata_has_no_name_but_a_checksum(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"")
    model = describe_model(tmp_path, [tmp_path / "model.pt"])
    assert (model["name"], model["version"]) == (None, None)
    assert model["weights"][0]["sha256"] == hashlib.sha256().hexdigest()


def test_what_json_cannot_hold_is_made_plain():
    made = plain({"a": math.nan, "b": (1, -math.inf), "c": np.float32(0.5), "d": torch.ones(2), "e": 1 / 3, "f": True})
    assert made == {"a": None, "b": [1, None], "c": 0.5, "d": [1, 1], "e": 0.333333, "f": True}


def angiogram(frames):
    """A sequence with a line in its last frame."""
    meta = {"filename_or_obj": "run.dcm", "format": "dicom", "bits": 8, "pixel_mm": 0.2, "frame_ms": 66.7}
    meta |= {"angles_deg": (30.0, math.nan), "frames": list(range(frames)), "source_frames": frames}
    masks = torch.zeros(frames, 40, 50)
    masks[-1, 20, 5:36] = 1
    return {"image": MetaTensor(masks.clone(), meta=dict(meta)), "pred": MetaTensor(masks, meta=dict(meta))}


@pytest.mark.filterwarnings("error")
def test_the_report_of_a_sequence_has_an_entry_for_every_frame(bundle, tmp_path):
    SaveAngiogramReportd(
        "pred", "image", tmp_path, bundle, [bundle / "model.pt"], {"threshold": 0.5}, needs_motion=True
    )(angiogram(3))
    report = json.loads((tmp_path / "run.json").read_text("ascii"))
    assert report["generator"] == GENERATOR
    assert report["angiogram"]["frame_ms"] == 66.7
    assert report["angiogram"]["angles_deg"] == [30, None]
    assert [frame["area_px"] for frame in report["mask"]["frames"]] == [0, 0, 31]
    assert report["mask"]["frames"][2]["length_mm"] == pytest.approx(6)
    assert report["mask"]["frames_with_vessels"] == 1
    assert report["warnings"] == []
    assert report["remarks"] == ["frames 0-1 are empty: they come before the contrast"]


def judged(*reports):
    """Run an engine over reports, one in each iteration."""
    seen = []

    def step(_, batch):
        seen.append(batch)
        return batch

    engine = Engine(step)
    FailOnWarnings().attach(engine)
    try:
        engine.run([[{"report": report}] for report in reports])
    finally:
        assert len(seen) == len(reports)


def test_without_warnings_a_strict_run_ends_well():
    judged({"case": "a", "warnings": []}, {"case": "b", "warnings": []})


def test_a_strict_run_fails_at_its_end_and_names_cases_and_warnings():
    with pytest.raises(ValueError, match=r"2 case\(s\) with warnings.*\na: x\na: y\nc: z$"):
        judged({"case": "a", "warnings": ["x", "y"]}, {"case": "b", "warnings": []}, {"case": "c", "warnings": ["z"]})
