"""The non-contrast rendering: the person of the CCTA, tissue values, fat, calcium, thick slices, views, files."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
from scipy.ndimage import binary_dilation, binary_erosion
from scipy.ndimage import label as components

from common.centerline.branch import Branch
from common.phantom.anatomy import draw_anatomy
from common.phantom.canvas import ScanGrid
from common.phantom.dataset import write_dataset
from common.phantom.heart import HEART_LABELS
from common.phantom.ncct import PHOTONS, draw_exposure, render_tissue, scan_slices, slab_truth
from common.phantom.slabs import Slabs, slab_labels
from common.phantom.vessels import render_vessels
from common.plaque import Plaque

TINY = {"modality": "ncct", "shape": (40, 40, 16), "spacing": (2.0, 2.0, 5.0)}


def grid_of(shape, spacing, center=(0.0, 0.0, 0.0)):
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = np.array(center) - (np.array(shape) - 1) * spacing / 2
    return ScanGrid(shape, affine)


def straight(radius_mm, direction, half_mm=15.0, center=(0.0, 0.0, 0.0)):
    direction = np.asarray(direction, float) / np.linalg.norm(direction)
    t = np.arange(-half_mm, half_mm + 0.1, 0.5)
    return Branch(center + t[:, None] * direction, np.full(len(t), radius_mm), label=2)


def volume(folder, kind, case):
    image = nibabel.load(folder / kind / f"{case}.nii.gz")
    return np.asarray(image.dataobj), image


def record_of(folder, case):
    return json.loads((folder / "cases" / f"{case}.json").read_text())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two cases in two views."""
    out = tmp_path_factory.mktemp("ncct")
    write_dataset(out, cases=2, seed=4, views=2, validation=0.5, test=0, difficulty="easy", **TINY)
    return out


# --- slabs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_thin_slices_fill_the_space_of_the_thick_ones(axis):
    shape, spacing = [8, 8, 8], [0.5, 0.5, 0.5]
    shape[axis], spacing[axis] = 4, 3.0
    turned = grid_of((*shape,), np.array(spacing))
    affine = turned.affine.copy()
    affine[[2, axis]] = affine[[axis, 2]]  # slices are counted along the stored axis `axis`, from feet to head
    slabs = Slabs.of(ScanGrid(turned.shape, affine))
    assert (slabs.axis, slabs.count, slabs.slices) == (axis, 5, 4)
    thin = slabs.thin
    assert thin.spacing[axis] == pytest.approx(0.6)
    middle = np.full(3, 3.0)
    inner = middle.copy()
    middle[axis], inner[axis] = 1, 1 * 5 + 2
    np.testing.assert_allclose(thin.to_patient(inner[None]), slabs.grid.to_patient(middle[None]))
    numbered = np.moveaxis(np.broadcast_to(np.arange(20.0), (8, 8, 20)), -1, axis)
    np.testing.assert_allclose(np.moveaxis(slabs.mean(numbered), axis, -1)[3, 3], [2, 7, 12, 17])


def label_of(vessel, spacing=(0.4, 0.4, 3.0), shape=(96, 96, 9), center=(0.0, 0.0, 0.0), plaques=()):
    return slab_labels([vessel], plaques, Slabs.of(grid_of(shape, np.array(spacing), center)))


@pytest.mark.parametrize("radius_mm", [0.5, 1.0, 2.0])
def test_a_vessel_across_the_slices_is_labelled_with_its_cross_section(radius_mm):
    label = label_of(straight(radius_mm, (0, 0, 1)))
    areas = (label[:, :, 1:-1] > 0).sum(axis=(0, 1)) * 0.4**2
    assert areas == pytest.approx(np.pi * radius_mm**2, rel=0.25)


@pytest.mark.parametrize("radius_mm", [0.6, 1.0, 1.6])
@pytest.mark.parametrize("offset_mm", [0.0, 0.7, 1.4])
def test_a_vessel_within_the_slices_keeps_most_of_its_width(radius_mm, offset_mm):
    label = label_of(straight(radius_mm, (1, 0, 0), center=(0, 0, offset_mm)))
    width_mm = (label[48, :, 4] > 0).sum() * 0.4  # in the slice of its axis, wherever in the slice that lies
    assert 1.3 * radius_mm < width_mm < 2 * radius_mm + 0.81


@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 1, 0.1), (1, 2, 3), (0.3, -1, 0.2), (0.1, 0.1, 1)])
@pytest.mark.parametrize("radius_mm", [0.3, 0.8])
def test_no_vessel_is_interrupted_in_thick_slices(direction, radius_mm):
    label = label_of(straight(radius_mm, direction), center=(0.13, 0.07, 1.3))
    assert components(label, np.ones((3, 3, 3)))[1] == 1
    assert np.ptp(np.argwhere(label), axis=0) @ [0.4, 0.4, 3] >= 26


# --- calcium ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("direction", [(1, 0, 0), (1, 2, 3), (0, 0, 1)])
@pytest.mark.parametrize(("sector_deg", "depth"), [(360.0, 0.4), (180.0, 0.6), (90.0, 0.5)])
def test_calcium_has_the_volume_of_its_sector(direction, sector_deg, depth):
    thin = Slabs.of(grid_of((64, 64, 8), np.array([0.36, 0.36, 3.0]))).thin
    vessel = straight(1.8, direction, half_mm=8)
    plaques = [
        Plaque(0, 5.0, 4.0, 20.0, sector_deg, depth, 60.0, False, 0.0),
        Plaque(0, 10.0, 4.0, 20.0, sector_deg, depth, 900.0, True, 0.0),
    ]
    part = render_vessels([vessel], plaques, thin, [np.full(len(vessel.points), 40.0)], 40.0, np.random.default_rng(0))
    assert set(part.plaque[part.calcium > 0]) == {1}  # the soft plaque is no calcium
    exact = 4.0 * np.pi * 1.8**2 * sector_deg / 360 * (1 - (1 - depth) ** 2)
    assert part.calcium.sum() * np.prod(thin.spacing) == pytest.approx(exact, rel=0.1)


@pytest.fixture(scope="module")
def proximal():
    """A calcified RCA without noise and blur, the same after its scan, and the truth."""
    anatomy = draw_anatomy(np.random.default_rng([5, 0, 0]))
    index = next(k for k, b in enumerate(anatomy.tree.branches) if b.label == 9)
    plaques = [Plaque(index, 25.0, 6.0, 0.0, 180.0, 0.6, 900.0, True, 0.0)]
    at = anatomy.tree.branches[index].points[np.searchsorted(anatomy.tree.branches[index].arc_mm, 25.0)]
    slabs = Slabs.of(grid_of((96, 96, 9), np.array([0.4, 0.4, 3.0]), at))
    exposure = draw_exposure(slabs.slices, "easy", np.random.default_rng(3))
    tissue, heart, arteries = render_tissue(anatomy, plaques, exposure.tissue_hu, slabs, np.random.default_rng(1))
    truth = slab_truth(anatomy, plaques, heart, arteries, slabs)
    rngs = [np.random.default_rng(k) for k in range(slabs.slices)]
    return tissue, scan_slices(tissue, slabs, exposure.photons, rngs), truth, exposure


def test_vessels_have_the_value_of_blood_in_fat(proximal):
    tissue, _, truth, exposure = proximal
    calm = binary_dilation(truth.calcium, np.ones((9, 9, 3))) == 0
    core = binary_erosion(truth.label == 1, np.ones((5, 5, 1))) & calm
    assert np.median(tissue[core]) == pytest.approx(exposure.tissue_hu["coronary_lumen"], abs=3)
    halo = binary_dilation(truth.label, np.ones((15, 15, 1))) & ~binary_dilation(truth.label, np.ones((9, 9, 3)))
    fat = halo & (truth.heart == HEART_LABELS["epicardial_fat"])
    assert fat.sum() > 500
    assert np.median(tissue[fat]) == pytest.approx(exposure.tissue_hu["fat"], abs=15)


def test_calcium_is_marked_where_it_is_bright_and_blooms_beyond(proximal):
    tissue, image, truth, _ = proximal
    voxel_mm3 = 0.4 * 0.4 * 3
    assert truth.calcium.sum() * voxel_mm3 == pytest.approx(truth.plaque_mm3[0], abs=voxel_mm3)
    assert tissue[truth.calcium == 1].min() > np.sort(tissue[truth.blooming == 0])[-1]  # nothing else is as bright
    assert set(np.unique(truth.blooming)) == {0, 9}
    assert (truth.blooming[truth.calcium == 1] == 9).all()
    bright = image >= 130
    assert bright[truth.blooming == 9].sum() * voxel_mm3 > truth.plaque_mm3[0]
    assert not bright[(truth.blooming == 0) & (truth.label == 1)].any()


# --- data sets -------------------------------------------------------------------------------------------------------


def test_the_person_is_that_of_the_ccta(folder, tmp_path):
    size = {"shape": (32, 32, 32), "spacing": 4.0}
    write_dataset(tmp_path, cases=1, seed=4, difficulty="easy", **size)  # easy: no slab is displaced
    ours, theirs = record_of(folder, "ncct_4_0000"), record_of(tmp_path, "ccta_4_0000")
    lines = [
        json.loads((f / "centerlines" / f"{m}_4_0000.json").read_text())
        for f, m in ((folder, "ncct"), (tmp_path, "ccta"))
    ]
    assert lines[0] == lines[1]
    for key in ("heart", "thorax", "branches", "dominance"):
        assert ours[key] == theirs[key]
    assert [{k: v for k, v in plaque.items() if k != "volume_mm3"} for plaque in ours["plaques"]] == theirs["plaques"]


def test_views_share_the_truth_and_differ_in_tissue_dose_and_noise(folder):
    record = record_of(folder, "ncct_4_0000")
    first, second = (volume(folder, "images", f"ncct_4_0000_v{view}")[0].astype(float) for view in (0, 1))
    assert first.dtype == second.dtype
    assert (first != second).mean() > 0.5
    body = (first > -300) & (second > -300)
    assert np.corrcoef(first[body], second[body])[0, 1] > 0.97  # one anatomy
    ours, theirs = record["protocol"]["views"]
    assert ours["tissue_hu"]["aorta"] != theirs["tissue_hu"]["aorta"]
    assert ours["photons"] != theirs["photons"]
    assert not (folder / "images" / "ncct_4_0000.nii.gz").exists()
    for kind in ("labels", "branches", "hearts", "calcium"):
        assert [file.name for file in sorted((folder / kind).iterdir())] == [f"ncct_4_000{k}.nii.gz" for k in (0, 1)]


def test_all_volumes_of_a_case_share_geometry_and_agree(folder):
    image, file = volume(folder, "images", "ncct_4_0001_v1")
    assert image.dtype == np.int16
    label, _ = volume(folder, "labels", "ncct_4_0001")
    for kind in ("labels", "branches", "hearts", "calcium"):
        other, other_file = volume(folder, kind, "ncct_4_0001")
        assert (other.shape, other.dtype) == (image.shape, np.uint8)
        np.testing.assert_array_equal(other_file.affine, file.affine)
    np.testing.assert_array_equal(label == 1, volume(folder, "branches", "ncct_4_0001")[0] > 0)
    assert not volume(folder, "hearts", "ncct_4_0001")[0][label == 1].any()
    np.testing.assert_allclose(np.abs(file.affine[2]), [0, 0, 5.0, abs(file.affine[2, 3])], atol=1e-6)  # axial slices


def test_the_data_list_names_all_views(folder, tmp_path):
    content = json.loads((folder / "dataset.json").read_text())
    (entry,) = content["validation"]
    assert entry["image"] == "images/ncct_4_0001_v0.nii.gz"
    assert entry["views"] == [f"images/ncct_4_0001_v{view}.nii.gz" for view in (0, 1)]
    assert all((folder / name).is_file() for name in (*entry["views"], entry["label"], entry["centerline"]))
    write_dataset(tmp_path, cases=1, seed=4, difficulty="easy", validation=0, test=0, **TINY)
    (single,) = json.loads((tmp_path / "dataset.json").read_text())["training"]
    assert single["image"] == "images/ncct_4_0000.nii.gz"
    assert "views" not in single
    np.testing.assert_array_equal(  # the first view does not depend on how many there are
        volume(tmp_path, "images", "ncct_4_0000")[0], volume(folder, "images", "ncct_4_0000_v0")[0]
    )


def test_the_record_tells_calcium_by_plaque_vessel_and_score(tmp_path):
    size = {"shape": (80, 80, 16), "spacing": (1.0, 1.0, 5.0)}
    write_dataset(tmp_path, cases=1, seed=2, modality="ncct", difficulty="hard", **size)
    record = record_of(tmp_path, "ncct_2_0000")
    calcium = record["calcium"]
    by_plaque = [plaque["volume_mm3"] for plaque in record["plaques"] if plaque["calcified"]]
    assert sum(by_plaque) > 0
    assert calcium["volume_mm3"] == pytest.approx(sum(by_plaque), abs=0.01) == sum(calcium["vessels_mm3"].values())
    assert all(plaque["volume_mm3"] == 0 for plaque in record["plaques"] if not plaque["calcified"])
    assert set(calcium["noise_free"]["vessels"]) <= set(calcium["vessels_mm3"])


def test_a_missing_view_or_calcium_map_is_made_again(tmp_path):
    size = {"shape": (24, 24, 16), "spacing": (3.0, 3.0, 5.0)}
    options = {"cases": 1, "seed": 1, "views": 2, "modality": "ncct", **size}
    write_dataset(tmp_path, **options)
    files = [tmp_path / "images" / "ncct_1_0000_v1.nii.gz", tmp_path / "calcium" / "ncct_1_0000.nii.gz"]
    stamp = files[0].stat().st_mtime_ns
    write_dataset(tmp_path, **options)
    assert files[0].stat().st_mtime_ns == stamp
    for file in files:
        before = np.asarray(nibabel.load(file).dataobj).copy()
        file.unlink()
        write_dataset(tmp_path, **options)
        np.testing.assert_array_equal(np.asarray(nibabel.load(file).dataobj), before)


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(folder, tmp_path):
    write_dataset(tmp_path, cases=2, seed=4, views=2, difficulty="easy", workers=2, **TINY)
    for name in ("ncct_4_0000_v0", "ncct_4_0000_v1", "ncct_4_0001_v0", "ncct_4_0001_v1"):
        np.testing.assert_array_equal(volume(tmp_path, "images", name)[0], volume(folder, "images", name)[0])


def test_slices_may_be_stored_along_any_axis(folder, tmp_path):
    turned = {"modality": "ncct", "shape": (16, 40, 40), "spacing": (5.0, 2.0, 2.0), "orientation": "SPL"}
    write_dataset(tmp_path, cases=1, seed=4, difficulty="easy", **turned)
    image, file = volume(tmp_path, "images", "ncct_4_0000")
    assert "".join(nibabel.aff2axcodes(file.affine)) == "SPL"
    assert image.shape == (16, 40, 40)
    straightened = nibabel.as_closest_canonical(file)
    ours = nibabel.as_closest_canonical(nibabel.load(folder / "images" / "ncct_4_0000_v0.nii.gz"))
    first, second = (np.asarray(v.dataobj, float) for v in (straightened, ours))
    assert first.shape == second.shape
    assert np.corrcoef(first.ravel(), second.ravel())[0, 1] > 0.98


def test_tissues_keep_their_values_through_the_scan(tmp_path):
    size = {"shape": (112, 96, 16), "spacing": (1.4, 1.4, 5.0)}
    write_dataset(tmp_path, cases=1, seed=3, modality="ncct", difficulty="easy", **size)
    image, _ = volume(tmp_path, "images", "ncct_3_0000")
    heart, _ = volume(tmp_path, "hearts", "ncct_3_0000")
    (view,) = record_of(tmp_path, "ncct_3_0000")["protocol"]["views"]
    names = {"left_ventricle": "left_ventricle", "right_ventricle": "right_heart", "left_atrium": "left_atrium"}
    for label, tissue in {**names, "right_atrium": "right_heart", "aorta": "aorta"}.items():
        inside = binary_erosion(heart == HEART_LABELS[label], np.ones((9, 9, 1)))
        assert inside.sum() > 20, label
        assert image[inside].mean() == pytest.approx(view["tissue_hu"][tissue], abs=3), label
    assert image.min() < -800  # lung


@pytest.mark.parametrize("difficulty", PHOTONS)
def test_noise_grows_with_difficulty_as_documented(difficulty):
    low, high = PHOTONS[difficulty]
    drawn = [draw_exposure(40, difficulty, np.random.default_rng(seed)) for seed in range(40)]
    dose = np.array([np.median(exposure.photons) for exposure in drawn])
    assert (low * 0.9 < dose).all()
    assert (dose < high * 1.1).all()
    blood = np.array([[e.tissue_hu[name] for name in ("aorta", "coronary_lumen", "left_ventricle")] for e in drawn])
    assert (blood >= 35).all()
    assert (blood <= 45).all()
    assert np.ptp(blood, axis=1).max() <= 2  # without contrast medium all blood is alike
    assert np.ptp(blood[:, 0]) > 2  # but persons differ


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"modality": "ncct", "background": "a.nii", "heart_mask": "b.nii"}, "background is for ccta only"),
        ({"modality": "ccta", "views": 2}, "views must be at least 1, and 1 for ccta, got 2"),
        ({"modality": "ncct", "views": 0}, "views must be at least 1"),
        ({"modality": "ncct", "spacing": (0.4, 0.5, 3)}, r"equal within the axial slices, got \(0.4, 0.5, 3.0\)"),
        ({"modality": "ncct", "spacing": (0.4, 0.4, 3), "orientation": "SPL"}, "equal within the axial slices"),
    ],
    ids=["background", "views of a ccta", "no view", "pixels not square", "slices along the first axis"],
)
def test_bad_arguments_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        write_dataset(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
