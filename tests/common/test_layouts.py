"""The folders of sets of CTs: what is recognised, paired, split and left out."""

import json
import sys

import numpy as np
import pytest

from common.centerline.writers import write_vtp
from common.datalist import datalist
from common.datasets import load_data_list
from common.layouts.table import LAYOUTS, choose_layout, modality_of

from . import miniatures
from .miniatures import KINDS, hounsfield, mask, write


def collect(name, root):
    return LAYOUTS[name].collect(root, root.parent / "masks")


def names(found):
    return [case.name for case in found.cases]


@pytest.mark.parametrize("kind", KINDS)
def test_each_layout_is_recognised_by_itself_alone_and_says_why(tmp_path, kind):
    KINDS[kind](tmp_path / "set")
    name, why = choose_layout(tmp_path / "set")
    assert name == kind.split()[0]
    assert why
    assert modality_of(collect(name, tmp_path / "set").cases[0].image) == "ct"


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "cat08"])
def test_every_list_of_a_layout_can_be_loaded(tmp_path, kind):
    KINDS[kind](tmp_path / "set")
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")}
    datalist(str(tmp_path / "set"), str(tmp_path / "dataset.json"), workers=1)
    content = json.loads((tmp_path / "dataset.json").read_text())
    sections = {name: cases for name, cases in content.items() if isinstance(cases, list) and cases}
    assert sections
    for section, cases in sections.items():
        assert not any(case["image"].startswith("/") for case in cases)
        assert len(load_data_list(tmp_path / "dataset.json", section)) == len(cases)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "set").rglob("*")} == before


@pytest.mark.parametrize("sheets", [("v1", "v2-latest"), ("v2-latest", "v1")], ids=["last", "first"])
def test_the_workbook_of_imagecas_is_read_by_the_sheet_that_knows_the_cases(tmp_path, sheets):
    miniatures.imagecas(tmp_path, sheets=sheets)
    found = collect("imagecas", tmp_path)
    assert names(found) == ["1", "2", "3", "4", "5", "6"]
    assert found.splits["Split-1"] == {
        "1": "training", "2": "validation", "3": "test", "4": "training", "5": "validation", "6": "test"
    }  # fmt: skip
    assert list(found.splits["Split-2"].values()) == ["test", "training"] * 3


def test_imagecas_without_openpyxl_names_the_package(tmp_path, monkeypatch):
    miniatures.imagecas(tmp_path)
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ImportError, match="pip install openpyxl"):
        collect("imagecas", tmp_path)


def test_a_damaged_workbook_is_refused_by_name(tmp_path):
    miniatures.imagecas(tmp_path)
    (tmp_path / "imageCAS_data_split.xlsx").write_bytes(b"PK\3\4 cut off")
    with pytest.raises(ValueError, match=r"cannot read .*imageCAS_data_split\.xlsx"):
        collect("imagecas", tmp_path)


def test_imagecas_without_a_workbook_has_no_split(tmp_path):
    miniatures.imagecas(tmp_path)
    (tmp_path / "imageCAS_data_split.xlsx").unlink()
    (tmp_path / "1-200" / "3.label.nii.gz").unlink()
    found = collect("imagecas", tmp_path)
    assert found.splits == {}
    assert names(found) == ["1", "2", "4", "5", "6"]
    assert found.unmatched == ["1-200/3.img.nii.gz"]


def test_the_second_folder_of_a_patient_is_of_the_same_group(tmp_path):
    miniatures.imagecas_by_patient(tmp_path)
    found = collect("imagecas", tmp_path)
    assert {case.name: case.group for case in found.cases} == {
        "10016975": "10016975", "10016975(1)": "10016975", "10017031": "10017031"
    }  # fmt: skip


def test_a_name_in_two_groups_of_folders_is_told_apart(tmp_path):
    miniatures.imagecas(tmp_path, cases=5)
    write(tmp_path / "201-400" / "1.img.nii.gz", hounsfield(7))
    write(tmp_path / "201-400" / "1.label.nii.gz", mask())
    found = collect("imagecas", tmp_path)
    assert names(found) == ["1-200_1", "2", "3", "4", "201-400_1", "5"]
    assert any("the same name in several folders: 1" in note for note in found.notes)


def test_the_file_lists_of_imagecas_x_are_its_split_without_the_excluded(tmp_path):
    found = collect("imagecas-x", miniatures.imagecas_x(tmp_path))
    assert found.splits == {"published": {"1": "training", "2": "validation", "3": "test"}}
    assert names(found) == ["1", "2", "3", "4"]


def test_the_centerlines_of_imagecas_x_are_lps(tmp_path):
    from common.centerline.branch import Branch

    root = miniatures.imagecas_x(tmp_path)
    (root / "centerlines").mkdir()
    line = Branch(miniatures.middle_mm(), np.full(7, 0.5), 2)
    write_vtp(root / "centerlines" / "1.coronary_left_centerline.vtk", [line])
    extras = collect("imagecas-x", root).cases[0].extras
    assert [path.name for path in extras["centerlines"]] == ["1.coronary_left_centerline.vtk"]
    assert extras["centerline_frame"] == "lps"


def test_imagecas_x_without_scans_says_where_they_come_from(tmp_path):
    root = miniatures.imagecas_x(tmp_path)
    for path in (root / "volumes").iterdir():
        path.unlink()
    with pytest.raises(ValueError, match=r"holds no scan of a label.*ImageCAS's N\.img\.nii\.gz"):
        collect("imagecas-x", root)


def test_asoca_is_split_by_number_and_its_own_test_is_counted(tmp_path):
    miniatures.asoca(tmp_path)
    found = collect("asoca", tmp_path)
    (name, split), *more = found.splits.items()
    assert not more
    assert "none is published" in name
    assert [case for case, section in split.items() if section == "test"] == ["Normal_5", "Diseased_5"]
    assert found.notes == ["2 scans of the challenge's test have no labels: left out"]


def test_cat08_has_centerlines_and_no_labels(tmp_path):
    miniatures.cat08(tmp_path / "set")
    found = collect("cat08", tmp_path / "set")
    assert names(found) == ["dataset00", "dataset01"]
    assert [len(case.centerlines) for case in found.cases] == [2, 2]
    assert any("1 scans have no vessel" in note for note in found.notes)
    datalist(str(tmp_path / "set"), str(tmp_path / "dataset.json"), workers=1)
    report = json.loads((tmp_path / "dataset_lint.json").read_text())
    assert [case["findings"] for case in report["cases"]] == [[], []]
    with pytest.raises(ValueError, match='has no "label"'):
        load_data_list(tmp_path / "dataset.json", "training")


def test_totalsegmentator_has_the_coronaries_as_label_and_the_heart_as_structures(tmp_path):
    miniatures.totalsegmentator(tmp_path)
    found = collect("totalsegmentator", tmp_path)
    assert names(found) == ["s0000", "s0001"]
    assert found.unmatched == ["s0002/ct.nii.gz"]
    assert found.cases[0].label.name == "coronary_arteries.nii.gz"
    assert [path.name for path in found.cases[0].extras["structures"]] == ["heart_atrium_left.nii.gz"]
    assert found.splits == {"meta.csv": {"s0000": "training", "s0001": "test", "s0002": "validation"}}


def test_totalsegmentator_without_coronaries_names_its_task(tmp_path):
    write(tmp_path / "s0000" / "ct.nii.gz", hounsfield())
    write(tmp_path / "s0000" / "segmentations" / "aorta.nii.gz", mask())
    with pytest.raises(ValueError, match="-ta coronary_arteries"):
        collect("totalsegmentator", tmp_path)


def test_nnunet_has_a_split_for_each_fold_and_its_own_test(tmp_path):
    miniatures.nnunet(tmp_path)
    found = collect("nnunet", tmp_path)
    assert names(found) == ["heart_0", "heart_1", "heart_2", "heart_3", "heart_9"]
    assert [sorted(n for n, part in split.items() if part == "validation") for split in found.splits.values()] == [
        ["heart_0", "heart_1"],
        ["heart_2", "heart_3"],
    ]
    assert found.splits["fold 1"]["heart_9"] == "test"
    assert found.unmatched == ["imagesTs/heart_8_0000.nii.gz"]


def test_a_name_in_both_parts_of_nnunet_stays_two_cases(tmp_path):
    miniatures.nnunet(tmp_path)
    for folder in ("images", "labels"):
        source = min((tmp_path / f"{folder}Tr").iterdir())
        (tmp_path / f"{folder}Ts" / source.name).write_bytes(source.read_bytes())
    found = collect("nnunet", tmp_path)
    assert len(set(names(found))) == len(found.cases)
    twice = source.name.removesuffix(".nii.gz")
    assert found.splits["fold 0"][twice] in ("training", "validation")
    assert found.splits["fold 0"][f"Ts_{twice}"] == "test"


def test_a_second_channel_of_nnunet_is_told(tmp_path):
    miniatures.nnunet(tmp_path)
    write(tmp_path / "imagesTr" / "heart_0_0001.nii.gz", hounsfield())
    found = collect("nnunet", tmp_path)
    assert len(found.cases) == 5
    assert any("2 channels" in note for note in found.notes)


def test_numbers_of_four_digits_are_no_channels_of_nnunet_where_labels_have_them_too(tmp_path):
    for n in (1, 2):
        write(tmp_path / "imagesTr" / f"amos_000{n}.nii.gz", hounsfield(n))
        write(tmp_path / "labelsTr" / f"amos_000{n}.nii.gz", mask())
    assert [case.name for case in collect("nnunet", tmp_path).cases] == ["amos_0001", "amos_0002"]


def test_broken_splits_of_nnunet_are_refused(tmp_path):
    miniatures.nnunet(tmp_path)
    (tmp_path / "splits_final.json").write_text('[{"train": []}]')
    with pytest.raises(ValueError, match=r"splits_final\.json must be a list such as"):
        collect("nnunet", tmp_path)


def test_the_decathlon_has_no_channels(tmp_path):
    for name in ("la_003", "la_2010"):
        write(tmp_path / "imagesTr" / f"{name}.nii.gz", hounsfield())
        write(tmp_path / "labelsTr" / f"{name}.nii.gz", mask())
    assert names(collect("nnunet", tmp_path)) == ["la_003", "la_2010"]


def test_pairs_of_volumes_are_found_by_what_marks_a_mask_and_with_their_centerlines(tmp_path):
    miniatures.pairs(tmp_path)
    write(tmp_path / "images" / "7.nii.gz", hounsfield())
    found = collect("pairs", tmp_path)
    assert [(case.name, case.label.name, case.centerlines[0].name) for case in found.cases] == [
        (f"{n}", f"{n}_seg.nii.gz", f"{n}.json") for n in range(3)
    ]
    assert found.unmatched == ["images/7.nii.gz"]


def test_an_image_beside_its_mask_may_have_the_name_alone(tmp_path):
    for folder in ("a", "b"):
        write(tmp_path / folder / "scan.nii.gz", hounsfield())
        write(tmp_path / folder / "scan_mask.nii.gz", mask())
    assert names(collect("pairs", tmp_path)) == ["a_scan", "b_scan"]


@pytest.mark.parametrize(
    ("voxels", "modality"),
    [(hounsfield(), "ct"), (hounsfield().astype(np.uint8), "xca"), (hounsfield()[..., :1], "xca")],
    ids=["volume", "bytes", "one slice"],
)
def test_nifti_is_a_ct_unless_it_is_flat_or_in_bytes(tmp_path, voxels, modality):
    assert modality_of(write(tmp_path / "a.nii.gz", voxels)) == modality


def test_a_folder_above_the_data_set_is_told_to_be_one(tmp_path):
    miniatures.nnunet(tmp_path / "Dataset001_Heart")
    with pytest.raises(ValueError, match="Dataset001_Heart looks like nnunet: give that folder; layouts are"):
        choose_layout(tmp_path)


def test_archives_are_to_be_unpacked(tmp_path):
    (tmp_path / "1-200.change2zip").write_bytes(b"")
    with pytest.raises(ValueError, match=r"holds parts of archives \(1-200\.change2zip, \.\.\.\): rename"):
        choose_layout(tmp_path)
