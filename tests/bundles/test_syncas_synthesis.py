"""From folders of contrast CTs to a data set of synthetic scans: layouts, geometry, resuming, wrong files."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import nibabel.processing
import numpy as np
import pytest
import syncas.synthesis
from PIL import Image
from scipy.ndimage import binary_erosion
from syncas.common.datasets import load_data_list
from syncas.engine import EngineSettings
from syncas.sources import find_cases
from syncas.synthesis import synthesize

BUNDLE = Path(syncas.synthesis.__file__).parents[1]
SHAPE = (40, 36, 12)
AFFINE = np.diag([-0.4, 0.4, 0.5, 1.0])
AFFINE[:3, 3] = 12.3, -45.6, 78.9
FAST = EngineSettings(mode="fast")


def volumes(shape=SHAPE):
    """A CCTA of fat with air at its edge, a ventricle and a vessel; its label; its map of structures."""
    image, structures = np.full(shape, -90, np.int16), np.zeros(shape, np.uint8)
    image[:3] = -1000
    structures[16:34, 8:28] = 120
    structures[2:6, 2:6] = 62
    label = np.zeros(shape, np.uint8)
    label[8:13, 14:19] = 1
    image[(structures > 0) | (label > 0)] = 400
    return image, label, structures


def save(path, volume, affine=AFFINE, codes=(1, 2)):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(volume, affine)
    image.set_qform(affine, codes[0])
    image.set_sform(affine, codes[1])
    nibabel.save(image, path)


def write_set(folder, cases=("a", "b"), **extra):
    image, label, structures = volumes()
    for case in cases:
        save(folder / f"images/{case}.nii.gz", image)
        save(folder / f"labels/{case}.nii.gz", label)
        save(folder / f"structures/{case}.nii.gz", structures)
    entries = [{"image": f"images/{case}.nii.gz", "label": f"labels/{case}.nii.gz"} | extra for case in cases]
    (folder / "dataset.json").write_text(json.dumps({"training": entries[:1], "test": entries[1:]}))
    return folder


@pytest.fixture
def ccta(tmp_path):
    return write_set(tmp_path / "ccta")


def read(path):
    return np.asarray(nibabel.load(path).dataobj)


def made(folder):
    """Every file that was written, with its content; images without the time in their gzip header."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    content = {path: read(path).tobytes() if path.name.endswith(".nii.gz") else path.read_bytes() for path in files}
    return {path.relative_to(folder).as_posix(): value for path, value in content.items()}


@pytest.mark.filterwarnings("ignore:.*no label for")
def test_a_data_set_is_written_that_training_can_read(ccta, tmp_path):
    out = tmp_path / "out"
    listed = synthesize(ccta, out, FAST, views=3)
    (case,) = load_data_list(listed, "training")
    assert case["case"] == "a"
    assert case["image"] == case["views"][0]
    assert [Path(view).name for view in case["views"]] == [f"a_v{n}.nii.gz" for n in range(3)]
    assert [entry["case"] for entry in load_data_list(listed, "test")] == ["b"]
    assert {"images", "labels", "plaques", "cases", "report"} == {path.name for path in out.iterdir() if path.is_dir()}
    assert np.array_equal(read(out / "labels/a.nii.gz"), volumes()[1])
    assert not read(out / "plaques/a_v0.nii.gz")[volumes()[1] == 0].any()


@pytest.mark.filterwarnings("ignore:.*no label for")
@pytest.mark.parametrize("codes", [(1, 2), (1, 0), (0, 1)], ids=str)
def test_views_keep_affine_zooms_and_codes_of_the_ccta_in_int16(tmp_path, codes):
    folder = write_set(tmp_path / "ccta", cases=["a"])
    save(folder / "images/a.nii.gz", volumes()[0].astype(np.float32), codes=codes)
    synthesize(folder, tmp_path / "out", FAST, views=1)
    source, image = (nibabel.load(path) for path in (folder / "images/a.nii.gz", tmp_path / "out/images/a_v0.nii.gz"))
    assert np.array_equal(image.affine, source.affine)
    assert image.header.get_zooms() == source.header.get_zooms()
    assert image.get_data_dtype() == np.int16
    assert (image.dataobj.slope, image.dataobj.inter) == (1, 0)
    assert [int(image.header[name]) for name in ("qform_code", "sform_code")] == list(codes)


@pytest.mark.filterwarnings("ignore:.*no label for")
def test_the_scan_does_not_depend_on_how_the_ccta_is_stored(tmp_path):
    """Axial slices along the first stored axis, upside down: the same synthetic scan, stored so."""
    turn = np.array([[0, 0, 0.4, 0], [0, 0.4, 0, 0], [-0.5, 0, 0, 0], [0, 0, 0, 1.0]])
    turn[:3, 3] = AFFINE[0, 3] - 0.4 * (SHAPE[0] - 1), AFFINE[1, 3], AFFINE[2, 3] + 0.5 * (SHAPE[2] - 1)
    results = []
    for name, affine in (("a", AFFINE), ("b", turn)):
        folder = write_set(tmp_path / name, cases=["x"])
        if name == "b":
            for kind, volume in zip(("images", "labels", "structures"), volumes(), strict=True):
                save(folder / kind / "x.nii.gz", volume[::-1, :, ::-1].transpose(2, 1, 0), affine)
        synthesize(folder, tmp_path / f"out_{name}", FAST, views=1)
        results.append(read(tmp_path / f"out_{name}" / "images/x_v0.nii.gz"))
    assert np.array_equal(results[0], results[1].transpose(2, 1, 0)[::-1, :, ::-1])


@pytest.mark.filterwarnings("ignore:.*no label for")
def test_thick_slices_come_with_a_label_on_their_grid(ccta, tmp_path):
    synthesize(ccta, tmp_path / "out", EngineSettings(mode="fast", slice_thickness_mm=3.0), views=1)
    image, label = (nibabel.load(tmp_path / "out" / name) for name in ("images/a_v0.nii.gz", "labels/a.nii.gz"))
    assert image.shape == label.shape == (40, 36, 2)
    assert np.allclose(image.affine, label.affine)
    assert image.header.get_zooms() == pytest.approx((0.4, 0.4, 3.0))
    assert image.affine[2, 3] == pytest.approx(78.9 + 1.25)
    assert json.loads((tmp_path / "out/cases/a.json").read_text())["grid"]["shape"] == [40, 36, 2]


@pytest.mark.filterwarnings("ignore:.*no label for")
def test_the_record_has_every_draw_and_the_report_the_values(ccta, tmp_path):
    synthesize(ccta, tmp_path / "out", EngineSettings(mode="fast", plaque_count=2), seed=5)
    record = json.loads((tmp_path / "out/cases/a.json").read_text())
    assert record["request"]["seed"] == 5
    for view in record["views"]:
        assert {s["name"] for s in view["structures"]} == {"coronary_arteries", "left_ventricle", "superior_vena_cava"}
        assert len(view["photons"]) == SHAPE[2]
        assert [row["calcified"] for row in view["plaques"]]
        ventricle = next(s for s in view["structures"] if s["name"] == "left_ventricle")
        assert view["quality"]["structures"]["left_ventricle"]["inner_mean_hu"] == pytest.approx(ventricle["hu"], abs=2)
    report = json.loads((tmp_path / "out/report/report.json").read_text())
    assert (report["cases"], report["views"], report["plaques_per_view"]) == (2, 4, 2)
    assert report["structures"]["left_ventricle"]["contrast_ct_mean_hu"] == pytest.approx(400)
    assert report["missing_structures"]["pulmonary_veins"] == 2
    assert Image.open(tmp_path / "out/report/a.png").width > 1000


def test_structures_without_a_label_are_named_once(ccta, tmp_path):
    with pytest.warns(UserWarning, match=r"a: no label for aorta, myocardium.* stays bright") as caught:
        synthesize(ccta, tmp_path / "out", FAST, views=1)
    assert len([w for w in caught if "no label" in str(w.message)]) == 1


@pytest.mark.filterwarnings("ignore:.*no label for")
def test_a_finished_case_is_kept_until_its_request_or_its_files_change(ccta, tmp_path):
    out = tmp_path / "out"

    def times():
        return [(out / f"images/{case}_v0.nii.gz").stat().st_mtime_ns for case in "ab"]

    synthesize(ccta, out, FAST, views=1)
    first = times()
    synthesize(ccta, out, FAST, views=1, threads=2)
    assert times() == first
    (out / "plaques/b_v0.nii.gz").unlink()
    synthesize(ccta, out, FAST, views=1)
    second = times()
    assert second[0] == first[0]
    assert second[1] > first[1]
    save(ccta / "labels/a.nii.gz", np.roll(volumes()[1], 1, axis=1) * np.arange(SHAPE[2], dtype=np.uint8))
    synthesize(ccta, out, FAST, views=1)
    assert times()[0] > second[0]
    assert times()[1] == second[1]
    synthesize(ccta, out, FAST, views=1, seed=1)
    assert times()[1] > second[1]


@pytest.mark.filterwarnings("ignore:.*no label for")
def test_an_interrupted_run_goes_on_and_leaves_nothing_half_written(ccta, tmp_path, monkeypatch):
    out, whole = tmp_path / "out", tmp_path / "whole"
    real, written = syncas.synthesis.write_volume, []

    def write(path, *rest):
        if len(written) == 5:  # in the middle of the second case
            path.with_name(f".12345.{path.name}").write_bytes(b"half")  # as a kill would leave it
            raise KeyboardInterrupt
        written.append(path)
        real(path, *rest)

    monkeypatch.setattr(syncas.synthesis, "write_volume", write)
    with pytest.raises(KeyboardInterrupt):
        synthesize(ccta, out, FAST, views=1)
    assert not (out / "dataset.json").exists()
    assert [path.name for path in (out / "cases").iterdir()] == ["a.json"]
    monkeypatch.undo()
    synthesize(ccta, out, FAST, views=1)
    synthesize(ccta, whole, FAST, views=1)
    assert made(out) == made(whole)


@pytest.mark.filterwarnings("ignore:.*no label for")
def test_two_machines_share_the_cases_and_the_last_one_lists_all(ccta, tmp_path):
    out, alone = tmp_path / "out", tmp_path / "alone"
    first = json.loads(synthesize(ccta, out, FAST, views=1, shard=0, shards=2).read_text())
    assert (len(first["training"]), len(first["test"])) == (1, 0)
    synthesize(ccta, out, FAST, views=1, shard=1, shards=2)
    synthesize(ccta, alone, FAST, views=1)
    assert made(out) == made(alone)


@pytest.mark.filterwarnings("ignore:.*no label for")
def test_of_two_machines_that_end_together_either_lists_all(ccta, tmp_path, monkeypatch):
    out, real = tmp_path / "out", syncas.synthesis.write_json_file

    def write(path, content):
        if path.name == "dataset.json":  # the other one ends just before this one, which has looked already, writes
            monkeypatch.undo()
            synthesize(ccta, out, FAST, views=1, shard=1, shards=2)
        return real(path, content)

    monkeypatch.setattr(syncas.synthesis, "write_json_file", write)
    listed = json.loads(synthesize(ccta, out, FAST, views=1, shard=0, shards=2).read_text())
    assert (len(listed["training"]), len(listed["test"])) == (1, 1)


@pytest.mark.filterwarnings("ignore:.*no label for")
def test_a_bad_case_does_not_stop_the_others_and_is_named_at_the_end(ccta, tmp_path):
    save(ccta / "images/a.nii.gz", (volumes()[0] + 1024).astype(np.uint16))
    with pytest.raises(ValueError, match=r"1 of 2 cases could not be rendered.*a: .*cannot be Hounsfield units"):
        synthesize(ccta, tmp_path / "out", FAST, views=1)
    content = json.loads((tmp_path / "out/dataset.json").read_text())
    assert [entry["case"] for entry in content["training"] + content["test"]] == ["b"]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (lambda image: ((image + 1000) // 6).astype(np.uint8), "cannot be Hounsfield units"),
        (lambda image: np.full_like(image, -1000), "every voxel is -1000"),
        (lambda image: np.where(image > 0, np.nan, image.astype(np.float32)), "voxels are NaN"),
    ],
    ids=["8 bits", "all air", "NaN"],
)
def test_a_volume_that_is_no_ct_is_refused(ccta, tmp_path, image, message):
    save(ccta / "images/a.nii.gz", image(volumes()[0]))
    with pytest.raises(ValueError, match=message):
        synthesize(ccta, tmp_path / "out", FAST, views=1, shard=0, shards=2)


@pytest.mark.parametrize(
    ("structures", "affine", "message"),
    [
        (
            lambda ids: ids[:-1],
            AFFINE,
            r"structures/a.nii.gz does not lie on .*images/a.nii.gz: the image has the shape",
        ),
        (lambda ids: ids, AFFINE + np.eye(4, k=3) * 5, "does not lie on .* mm apart"),
        (lambda ids: ids * np.float32(0.3), AFFINE, "whole numbers; was it resampled with interpolation"),
        (lambda ids: ids.astype(np.int16) - 500, AFFINE, "ids of a label map are 0 to 255, got -500"),
        (lambda ids: ids * 0, AFFINE, "structures/a.nii.gz: the label map has none of the structures"),
    ],
    ids=["shape", "shift", "interpolated", "image", "empty"],
)
def test_a_wrong_map_of_structures_is_refused(ccta, tmp_path, structures, affine, message):
    save(ccta / "structures/a.nii.gz", structures(volumes()[2]), affine)
    with pytest.raises(ValueError, match=message):
        synthesize(ccta, tmp_path / "out", FAST, views=1, shard=0, shards=2)


def test_a_case_without_any_map_is_named_with_the_cure(ccta, tmp_path):
    (ccta / "structures/b.nii.gz").unlink()
    with pytest.raises(ValueError, match=r"1 of 2 cases .* \(b\); give it as \"structures\".*TotalSegmentator"):
        synthesize(ccta, tmp_path / "out", FAST)


def test_the_source_is_never_overwritten_and_bad_arguments_are_named(ccta, tmp_path):
    with pytest.raises(ValueError, match="output_dir must not be dataset_dir"):
        synthesize(ccta, ccta)
    for wrong, message in (({"views": 0}, "views, workers and threads"), ({"seed": -1}, "got 2, 1, 1 and -1")):
        with pytest.raises(ValueError, match=message):
            synthesize(ccta, tmp_path / "out", **wrong)
    with pytest.raises(FileNotFoundError, match=r"no CCTA in .*dataset.json.*N.img.nii.gz"):
        synthesize(tmp_path / "nothing", tmp_path / "out")


@pytest.mark.filterwarnings("ignore:.*no label for")
def test_imagecas_is_read_as_it_is_unpacked(tmp_path):
    image, label, structures = volumes()
    for number, folder in ((1, "1-200"), (2, "1-200"), (10, "201-400")):
        save(tmp_path / "cas" / folder / f"{number}.img.nii.gz", image)
        save(tmp_path / "cas" / folder / f"{number}.label.nii.gz", label)
        save(tmp_path / "maps" / f"{number}.nii.gz", structures)
    cases = find_cases(tmp_path / "cas", tmp_path / "maps", validation=0.34)
    assert [(case.case, case.section) for case in cases] == [("1", "training"), ("2", "training"), ("10", "validation")]
    synthesize(tmp_path / "cas", tmp_path / "out", FAST, views=1, structures_dir=tmp_path / "maps", shard=0, shards=3)
    assert (tmp_path / "out/images/1_v0.nii.gz").is_file()


def test_imagecas_without_a_label_or_with_a_number_twice_is_refused(tmp_path):
    image, label, _ = volumes()
    save(tmp_path / "x/1.img.nii.gz", image)
    with pytest.raises(FileNotFoundError, match=r"case '1': there is no .*1.label.nii.gz"):
        find_cases(tmp_path)
    save(tmp_path / "x/1.label.nii.gz", label)
    save(tmp_path / "y/1.img.nii.gz", image)
    with pytest.raises(ValueError, match="has that of another one"):
        find_cases(tmp_path)


@pytest.mark.filterwarnings("ignore:.*no label for")
def test_masks_in_one_file_each_are_merged_and_a_phantom_map_is_found(ccta, tmp_path):
    structures = volumes()[2]
    (ccta / "structures/a.nii.gz").unlink()
    save(ccta / "structures/a/heart_ventricle_left.nii.gz", (structures == 120).astype(np.uint8))
    save(ccta / "structures/a/superior_vena_cava.nii.gz", (structures == 62).astype(np.uint8))
    (ccta / "structures/b.nii.gz").unlink()
    save(ccta / "hearts/b.nii.gz", (structures == 120).astype(np.uint8))
    synthesize(ccta, tmp_path / "out", FAST, views=1)
    for case, names in (
        ("a", {"coronary_arteries", "left_ventricle", "superior_vena_cava"}),
        ("b", {"coronary_arteries", "left_ventricle"}),
    ):
        record = json.loads((tmp_path / f"out/cases/{case}.json").read_text())
        assert {s["name"] for s in record["views"][0]["structures"]} == names


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*no label for")
def test_processes_write_what_one_would(ccta, tmp_path):
    synthesize(ccta, tmp_path / "one", FAST)
    synthesize(ccta, tmp_path / "two", FAST, workers=2, threads=2)
    assert made(tmp_path / "one") == made(tmp_path / "two")


@pytest.mark.slow
@pytest.mark.parametrize("inside", [True, False], ids=["in the bundle", "from elsewhere"])
def test_the_command_works_and_a_killed_run_can_be_resumed(ccta, tmp_path, inside):
    config = "configs/synthesize.yaml" if inside else str(BUNDLE / "configs/synthesize.yaml")
    command = [sys.executable, "-m", "monai.bundle", "run", "synthesize", "--config_file", config]
    command += ["--dataset_dir", str(ccta), "--output_dir", str(tmp_path / "out"), "--views", "12", "--mode", "fast"]
    command += [] if inside else ["--bundle_root", str(BUNDLE)]
    place = {"cwd": BUNDLE if inside else tmp_path, "env": os.environ | {"PYTHONWARNINGS": "ignore"}}
    process = subprocess.Popen(command, **place, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (tmp_path / "out/images/b_v0.nii.gz").exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    subprocess.run(command, **place, check=True, capture_output=True)
    synthesize(ccta, tmp_path / "alone", FAST, views=12)
    assert made(tmp_path / "out") == made(tmp_path / "alone")
    shutil.rmtree(tmp_path / "out")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # structures without a mask keep their contrast, and are named
def test_the_aorta_of_a_real_contrast_ct_becomes_as_dark_as_blood_without_contrast(real_data, tmp_path):
    source = real_data / "cta_heart"
    scan = nibabel.load(source / "aorta_case" / "ct_cropped.nii.gz")
    structures = np.zeros(scan.shape, np.uint8)
    for name, number in (
        ("pulmonary_case/heart", 51),
        ("aorta_case/aorta", 52),
        ("pulmonary_case/pulmonary_artery", 124),
    ):
        mask = nibabel.load(source / f"{name}.nii.gz")
        mask = nibabel.Nifti1Image((np.asanyarray(mask.dataobj) > 0).astype(np.uint8), mask.affine)
        on_scan = nibabel.processing.resample_from_to(mask, scan, order=0, cval=0)
        structures[np.asanyarray(on_scan.dataobj) > 0] = number
    folder = tmp_path / "real"
    save(folder / "images/1.nii.gz", np.asanyarray(scan.dataobj).astype(np.int16), scan.affine)
    save(folder / "labels/1.nii.gz", np.zeros(scan.shape, np.uint8), scan.affine)
    save(folder / "structures/1.nii.gz", structures, scan.affine)
    entry = {"image": "images/1.nii.gz", "label": "labels/1.nii.gz"}
    (folder / "dataset.json").write_text(json.dumps({"training": [entry]}))

    out = synthesize(folder, tmp_path / "out", EngineSettings(shift_probability=0.0), views=1).parent
    made = nibabel.load(out / "images" / "1_v0.nii.gz")
    inner = binary_erosion(structures == 52, iterations=4)
    assert inner.any()
    assert np.median(np.asanyarray(scan.dataobj)[inner]) > 200
    assert np.median(np.asanyarray(made.dataobj)[inner]) == pytest.approx(35, abs=3)
    np.testing.assert_allclose(made.affine, scan.affine, atol=1e-4)
