"""Phantom data sets on disk: complete, consistent, repeatable, resumable; and vessels in a real background."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time

import nibabel
import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from common.phantom.anatomy import draw_anatomy
from common.phantom.background import read_background
from common.phantom.dataset import write_dataset
from common.phantom.framing import draw_grid

from ..conftest import ROOT

SMALL = {"shape": (56, 56, 40), "spacing": (1.6, 1.6, 1.9)}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three small cases."""
    out = tmp_path_factory.mktemp("phantoms")
    write_dataset(out, cases=3, seed=4, validation=0.34, test=0.34, **SMALL)
    return out


def volume(folder, kind, case):
    image = nibabel.load(folder / kind / f"{case}.nii.gz")
    return np.asarray(image.dataobj), image


def test_the_data_list_names_existing_files_of_every_section(folder):
    content = json.loads((folder / "dataset.json").read_text())
    for section in ("training", "validation", "test"):
        (entry,) = content[section]
        assert set(entry) == {"image", "label", "centerline", "case"}
        for key in ("image", "label", "centerline"):
            assert (folder / entry[key]).is_file()
    assert content["labels"] == {"0": "background", "1": "coronary lumen"}


def test_all_volumes_of_a_case_share_geometry_and_agree(folder):
    for case in ("ccta_4_0000", "ccta_4_0001", "ccta_4_0002"):
        image, file = volume(folder, "images", case)
        label, label_file = volume(folder, "labels", case)
        branches, _ = volume(folder, "branches", case)
        heart, heart_file = volume(folder, "hearts", case)
        assert image.shape == label.shape == branches.shape == heart.shape == SMALL["shape"]
        np.testing.assert_array_equal(file.affine, label_file.affine)
        np.testing.assert_array_equal(file.affine, heart_file.affine)
        assert (image.dtype, label.dtype) == (np.int16, np.uint8)
        assert set(np.unique(label)) == {0, 1}
        np.testing.assert_array_equal(label == 1, branches > 0)
        assert branches.max() <= 14
        assert not heart[label == 1].any()


def test_the_record_tells_geometry_morphometry_and_protocol(folder):
    record = json.loads((folder / "cases" / "ccta_4_0000.json").read_text())
    _, file = volume(folder, "images", "ccta_4_0000")
    np.testing.assert_allclose(record["grid"]["affine"], file.affine, atol=1e-4)
    assert record["grid"]["orientation"] == "".join(nibabel.aff2axcodes(file.affine))
    assert record["dominance"] in ("right", "left", "co")
    assert {"LAD", "LCx", "RCA"} <= {branch["name"] for branch in record["branches"]}
    assert 15 <= record["protocol"]["noise_hu"] <= 26
    assert {"ellipsoids", "tubes"} <= set(record["heart"])
    for lesion in record["plaques"]:
        assert 0 < lesion["diameter_stenosis_percent"] <= 70


def test_the_centerline_lies_in_the_label(folder):
    lines = json.loads((folder / "centerlines" / "ccta_4_0000.json").read_text())
    label, file = volume(folder, "labels", "ccta_4_0000")
    points = np.concatenate([branch["points"][6:] for branch in lines["branches"]])
    index = np.rint(nibabel.affines.apply_affine(np.linalg.inv(file.affine), points)).astype(int)
    index = index[((index >= 0) & (index < label.shape)).all(axis=1)]
    assert len(index) > 200
    assert label[tuple(index.T)].mean() > 0.98


def test_a_case_depends_on_seed_and_number_only(folder, tmp_path):
    write_dataset(tmp_path, cases=1, seed=4, **SMALL)
    for kind in ("images", "labels", "branches", "hearts"):
        np.testing.assert_array_equal(volume(tmp_path, kind, "ccta_4_0000")[0], volume(folder, kind, "ccta_4_0000")[0])
    assert not np.array_equal(volume(folder, "labels", "ccta_4_0000")[0], volume(folder, "labels", "ccta_4_0001")[0])


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(folder, tmp_path):
    write_dataset(tmp_path, cases=3, seed=4, workers=2, **SMALL)
    for case in ("ccta_4_0000", "ccta_4_0001", "ccta_4_0002"):
        np.testing.assert_array_equal(volume(tmp_path, "images", case)[0], volume(folder, "images", case)[0])


def test_an_interrupted_run_goes_on_and_other_arguments_start_anew(tmp_path):
    tiny = {"shape": (32, 32, 32), "spacing": 3.0}
    write_dataset(tmp_path, cases=2, seed=1, **tiny)
    first, second = (tmp_path / "images" / f"ccta_1_000{k}.nii.gz" for k in (0, 1))
    before = first.stat().st_mtime_ns
    second.unlink()
    write_dataset(tmp_path, cases=2, seed=1, **tiny)
    assert second.is_file()
    assert first.stat().st_mtime_ns == before
    write_dataset(tmp_path, cases=1, seed=1, difficulty="hard", **tiny)
    assert first.stat().st_mtime_ns > before


TINY = {"seed": 1, "shape": (32, 32, 32), "spacing": 3.0, "validation": 0.5, "test": 0.0}


def made(folder):
    """Every file that was written, with its content; volumes without the time in their gzip header."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    read = {".gz": lambda path: gzip.decompress(path.read_bytes())}
    return {path.relative_to(folder): read.get(path.suffix, type(path).read_bytes)(path) for path in files}


def test_processes_that_share_the_cases_write_what_one_would_and_the_last_writes_the_list(tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    write_dataset(alone, cases=2, **TINY)
    assert write_dataset(shared, cases=2, shard=1, shards=2, **TINY) is None
    assert [path.name for path in (shared / "cases").iterdir()] == ["ccta_1_0001.json"]
    assert not (shared / "dataset.json").exists()
    before = (shared / "images" / "ccta_1_0001.nii.gz").stat().st_mtime_ns
    assert write_dataset(shared, cases=2, shard=0, shards=2, **TINY) == shared / "dataset.json"
    assert (shared / "images" / "ccta_1_0001.nii.gz").stat().st_mtime_ns == before
    assert made(shared) == made(alone)


@pytest.mark.slow
def test_torchrun_shares_the_cases_and_a_killed_run_goes_on(tmp_path):
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    options = [word for key in ("seed", "validation", "test") for word in (f"--{key}", str(TINY[key]))]
    options += ["--shape", "32,32,32", "--spacing", "3.0", "--cases", "6"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    command = [*torchrun, "-m", "common", "phantom", str(shared), *options]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not list(shared.glob("cases/*.json")) and process.poll() is None:
        time.sleep(0.01)
    process.terminate()  # torchrun then ends its processes
    process.wait()
    first = min(shared.glob("cases/*.json"))
    before = first.stat().st_mtime_ns
    again = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=False)
    assert again.returncode == 0, again.stderr
    assert first.stat().st_mtime_ns == before
    write_dataset(alone, cases=6, **TINY)
    leftovers = {path for path in made(shared) if path.name.startswith(".")}
    assert {path: content for path, content in made(shared).items() if path not in leftovers} == made(alone)


def test_the_stored_orientation_does_not_change_the_person(tmp_path):
    volumes = []
    for axes in ("RAS", "PIR"):
        write_dataset(tmp_path / axes, cases=1, seed=2, shape=(48, 48, 48), spacing=2.5, orientation=axes)
        file = nibabel.load(tmp_path / axes / "hearts" / "ccta_2_0000.nii.gz")
        codes = nibabel.aff2axcodes(file.affine)
        assert "".join(codes) == axes
        volumes.append((np.asarray(file.dataobj) == 1, file.affine))
    (first, first_affine), (second, second_affine) = volumes
    index = np.argwhere(second)
    there = nibabel.affines.apply_affine(np.linalg.inv(first_affine) @ second_affine, index)
    hit = map_coordinates(first.astype(float), there.T, order=0)
    assert hit.mean() > 0.9  # the left ventricle lies at the same place in the world


def test_by_default_the_whole_coronary_tree_is_in_view():
    for seed in range(6):
        tree = draw_anatomy(np.random.default_rng([seed, 0])).tree
        points = np.concatenate([b.points for b in tree.branches])
        grid = draw_grid(points, np.random.default_rng(seed))
        index = grid.to_index(points)
        assert (index >= 0).all()
        assert (index <= np.array(grid.shape) - 1).all()
        assert 0.3 <= grid.spacing.min() <= grid.spacing.max() <= 0.501


def test_a_small_volume_is_placed_on_the_arteries():
    tree = draw_anatomy(np.random.default_rng(0)).tree
    points = np.concatenate([b.points for b in tree.branches])
    grid = draw_grid(points, np.random.default_rng(0), (96, 96, 96), (0.5, 0.5, 0.5))
    index = grid.to_index(points)
    inside = ((index >= 0) & (index <= 95)).all(axis=1).mean()
    share = 48**3 / np.prod(np.ptp(points, axis=0))  # what a box placed blindly would hold
    assert inside > 2 * share


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"cases": 0}, "cases must be at least 1"),
        ({"seed": -1}, "seed at least 0"),
        ({"modality": "mri"}, "modality must be one of ccta, ncct, xca, got 'mri'"),
        ({"difficulty": "extreme"}, "difficulty must be one of easy, default, hard, got 'extreme'"),
        ({"shape": (64, 64)}, "shape must be three whole numbers"),
        ({"shape": (64, 64, 4)}, "at least 16 voxels"),
        ({"shape": 64}, "such as 160,160,128, got 64"),
        ({"shape": "64x64x64"}, "such as 160,160,128, got '64x64x64'"),
        ({"spacing": (0.5, 0.5, -1)}, "spacing must be one or three numbers"),
        ({"orientation": "RAR"}, "three different axes.*'RAR'"),
        ({"validation": 0.7, "test": 0.5}, "shares of the cases, at most 1"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"shard": 1}, "given together, .* got 1 and None"),
        ({"background": "ct.nii.gz"}, "background and heart_mask go together"),
        ({"background": "a.nii", "heart_mask": "b.nii", "shape": (64, 64, 64)}, "shape and orientation follow"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_arguments_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        write_dataset(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def chest(tmp_path):
    """A CT of 3 mm: a heart of muscle and blood in lung; its mask on another grid."""
    axis = np.arange(-90, 90, 3.0)
    x, y, z = np.meshgrid(axis, axis, axis, indexing="ij")
    heart = (x / 65) ** 2 + (y / 50) ** 2 + (z / 55) ** 2 < 1
    blood = (x / 45) ** 2 + (y / 32) ** 2 + (z / 36) ** 2 < 1
    image = np.where(blood, 350, np.where(heart, 100, -850)).astype(np.int16)
    affine = np.diag([-3.0, -3.0, 3.0, 1.0])
    affine[:3, 3] = [90, 90, -90]
    nibabel.save(nibabel.Nifti1Image(image, affine), tmp_path / "ct.nii.gz")
    finer = np.repeat(heart[::-1], 2, axis=0).astype(np.uint8)
    mask_affine = affine @ np.diag([-0.5, 1, 1, 1])
    mask_affine[:3, 3] = (affine @ [59.25, 0, 0, 1])[:3]
    nibabel.save(nibabel.Nifti1Image(finer, mask_affine), tmp_path / "heart.nii.gz")
    return tmp_path


def test_vessels_are_painted_on_the_heart_of_a_real_background(chest):
    out = chest / "out"
    write_dataset(out, cases=1, seed=6, background=chest / "ct.nii.gz", heart_mask=chest / "heart.nii.gz", spacing=1.0)
    image, file = volume(out, "images", "ccta_6_0000")
    label, _ = volume(out, "labels", "ccta_6_0000")
    heart, _ = volume(out, "hearts", "ccta_6_0000")
    assert file.header.get_zooms() == pytest.approx((1, 1, 1))
    assert label.sum() > 800
    assert np.median(image[label == 1]) == pytest.approx(300, abs=80)  # like the blood, falling with distance
    world = nibabel.affines.apply_affine(file.affine, np.argwhere(label))
    radius = np.sqrt(((world / [65, 50, 55]) ** 2).sum(axis=1))
    assert np.median(radius) == pytest.approx(1.05, abs=0.08)  # on the surface of the ellipsoid
    assert (heart == 12).sum() == pytest.approx(4 / 3 * np.pi * 65 * 50 * 55, rel=0.1)
    untouched = image[:3, :3, :3]
    assert (untouched == -850).all()


def test_background_and_mask_of_different_patients_are_refused(chest):
    mask = nibabel.load(chest / "heart.nii.gz")
    affine = mask.affine.copy()
    affine[0, 3] += 500
    nibabel.save(nibabel.Nifti1Image(np.asarray(mask.dataobj), affine), chest / "away.nii.gz")
    with pytest.raises(ValueError, match="of one patient"):
        read_background(chest / "ct.nii.gz", chest / "away.nii.gz")
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), np.uint8), affine), chest / "empty.nii.gz")
    with pytest.raises(ValueError, match="is empty"):
        read_background(chest / "ct.nii.gz", chest / "empty.nii.gz")
    (chest / "text.nii.gz").write_text("no image")
    with pytest.raises(ValueError, match="background must be a NIfTI file"):
        read_background(chest / "text.nii.gz", chest / "heart.nii.gz")


def test_a_tree_fits_a_real_scan(real_data, tmp_path):
    case = real_data / "cta_heart" / "pulmonary_case"
    write_dataset(tmp_path, cases=1, background=case / "ct_cropped.nii.gz", heart_mask=case / "heart.nii.gz")
    image, file = volume(tmp_path, "images", "ccta_0_0000")
    label, _ = volume(tmp_path, "labels", "ccta_0_0000")
    original = nibabel.load(case / "ct_cropped.nii.gz")
    np.testing.assert_allclose(file.affine, original.affine, atol=1e-4)
    assert label.sum() > 300
    changed = np.abs(image - np.clip(np.asarray(original.dataobj), -1024, 3071)) > 2
    assert changed.mean() < 0.05
