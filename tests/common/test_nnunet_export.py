"""A raw folder of nnU-Net out of a data set: links, its splits, and what it refuses."""

import json

import numpy as np
import pytest
from PIL import Image

from common.datalist import datalist
from common.layouts.table import LAYOUTS, choose_layout

from . import miniatures
from .miniatures import hounsfield, mask, write


def export(tmp_path, **options):
    datalist(str(tmp_path / "set"), str(tmp_path / "out" / "dataset.json"), export="nnunet", **options)
    (folder,) = (tmp_path / "out" / "nnUNet_raw").iterdir()
    return folder


def test_the_links_are_a_folder_that_is_recognised_and_has_the_same_cases(tmp_path):
    miniatures.imagecas(tmp_path / "set")
    folder = export(tmp_path)
    assert folder.name == "Dataset500_set"
    assert choose_layout(folder)[0] == "nnunet"
    found = LAYOUTS["nnunet"].collect(folder, tmp_path)
    assert sorted(case.name for case in found.cases) == ["1", "2", "3", "4", "5", "6"]
    assert found.splits["fold 0"] == {
        "1": "training", "4": "training", "2": "validation", "5": "validation", "3": "test", "6": "test"
    }  # fmt: skip
    link = folder / "imagesTr" / "1_0000.nii.gz"
    assert link.is_symlink()
    assert link.resolve() == tmp_path / "set" / "1-200" / "1.img.nii.gz"
    assert json.loads((folder / "dataset.json").read_text()) == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "coronary": 1},
        "numTraining": 4,
        "file_ending": ".nii.gz",
    }


def test_folds_become_its_splits_and_are_taken_back(tmp_path):
    miniatures.pairs(tmp_path / "set")
    folder = export(tmp_path, folds=3)
    folds = {case["case"]: case["fold"] for case in listed(tmp_path / "out" / "dataset.json")}
    splits = json.loads((folder / "splits_final.json").read_text())
    assert [split["val"] for split in splits] == [[n for n in folds if folds[n] == fold] for fold in range(3)]
    datalist(str(folder), str(tmp_path / "again" / "dataset.json"), folds="published")
    assert {case["case"]: case["fold"] for case in listed(tmp_path / "again" / "dataset.json")} == folds


def listed(path):
    return json.loads(path.read_text())["training"]


def test_a_second_export_replaces_the_links(tmp_path):
    miniatures.pairs(tmp_path / "set")
    folder = export(tmp_path, folds=3)
    (folder / "imagesTr" / "own.txt").touch()
    assert export(tmp_path, test=0.5) == folder
    names = {part: {path.name for path in (folder / f"images{part}").iterdir()} for part in ("Tr", "Ts")}
    assert "own.txt" in names["Tr"]
    assert names["Ts"]
    assert not names["Tr"] & names["Ts"]  # nothing stays where it was for training
    assert not (folder / "splits_final.json").exists()  # of the folds


def test_two_data_sets_never_share_a_number(tmp_path):
    names = []
    for name in ("first", "second", "first"):
        miniatures.pairs(tmp_path / name)
        datalist(str(tmp_path / name), str(tmp_path / f"{name}.json"), export="nnunet")
        names.append(sorted(path.name for path in (tmp_path / "nnUNet_raw").iterdir()))
    assert names == [["Dataset500_first"], *[["Dataset500_first", "Dataset501_second"]] * 2]


def test_a_file_in_the_place_of_a_link_is_kept_and_named(tmp_path):
    miniatures.pairs(tmp_path / "set")
    link = next((export(tmp_path) / "labelsTr").iterdir())
    links = sorted(link.parent.iterdir())
    link.unlink()
    link.write_text("corrected")
    with pytest.raises(FileExistsError, match=rf"{link.name} is a file, not a link"):
        export(tmp_path)
    assert link.read_text() == "corrected"
    assert sorted(link.parent.iterdir()) == links


def test_branches_are_classes_by_name(tmp_path):
    miniatures.imagecas_x(tmp_path / "set")
    labels = json.loads((export(tmp_path) / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "LM": 1, "LAD": 2, "LCx": 3, "D1": 4}  # 5 is that of the excluded scan


def test_grey_masks_of_stills_become_classes_where_asked_for(tmp_path):
    vessel = np.zeros((40, 60), np.uint8)
    vessel[18:22, 5:55] = 255
    for folder, pixels in (("images", np.where(vessel, 60, 150).astype(np.uint8)), ("masks", vessel)):
        (tmp_path / "set" / folder).mkdir(parents=True)
        Image.fromarray(pixels).save(tmp_path / "set" / folder / "a.png")
    with pytest.raises(ValueError, match="these hold 255; --binary True writes"):
        export(tmp_path)
    label = export(tmp_path, binary=True) / "labelsTr" / "a.png"
    np.testing.assert_array_equal(np.asarray(Image.open(label)), vessel // 255)


@pytest.mark.parametrize("kind", ["values", "formats"])
def test_what_nnunet_cannot_read_is_refused(tmp_path, kind):
    miniatures.pairs(tmp_path / "set")
    if kind == "values":
        write(tmp_path / "set" / "labels" / "1_seg.nii.gz", mask() * np.uint8(255))
    else:
        (tmp_path / "set" / "images" / "1.nii.gz").unlink()
        write(tmp_path / "set" / "images" / "1.nii", hounsfield())
    message = {"values": "nnU-Net needs labels 0, 1, 2", "formats": r"of one format.*these are \.nii, \.nii\.gz"}[kind]
    with pytest.raises(ValueError, match=message):
        export(tmp_path)
