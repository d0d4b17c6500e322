"""The folders of public sets of angiograms: what is recognised, paired, drawn and left out."""

import json

import numpy as np
import pytest
from PIL import Image

from common.angiograms.polygons import Outlines, rasterize, read_coco
from common.layouts.table import LAYOUTS

SEGMENT, LESION = 3, 26


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((10, 12), value, np.uint8)).save(path)


def dca1(root):
    for n in (1, 2, 10, 100, 101):
        picture(root / f"{n}.pgm")
        picture(root / f"{n}_gt.pgm")


def coco(folder, drawn, section="train"):
    """A part of ARCADE: its images, and what is drawn in them as (image, category, polygon)."""
    for n in (1, 2):
        picture(folder / "images" / f"{n}.png", n)
    content = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": 10, "width": 12} for n in (1, 2)],
        "categories": [{"id": SEGMENT, "name": "4"}, {"id": LESION, "name": "stenosis"}],
        "annotations": [
            {"id": n, "image_id": image, "category_id": category, "segmentation": [polygon]}
            for n, (image, category, polygon) in enumerate(drawn)
        ],
    }
    (folder / "annotations").mkdir()
    (folder / "annotations" / f"{section}.json").write_text(json.dumps(content))


def box(left, top, right, bottom):
    return [left, top, right, top, right, bottom, left, bottom]


def arcade(root):
    for section in ("train", "val", "test"):
        coco(root / "syntax" / section, [(n, SEGMENT, box(2, 3, 6, 8)) for n in (1, 2)], section)
        coco(root / "stenosis" / section, [(1, LESION, box(2, 3, 6, 8))], section)


def xcad(root):
    for n in range(3):
        picture(root / "test" / "images" / f"{n}.png")
        picture(root / "test" / "masks" / f"{n}.png")
        picture(root / "train" / "trainC" / f"{n}.png")
    picture(root / "train" / "trainA" / "0.png")


def pairs(root):
    for n in "ab":
        picture(root / "imgs" / f"{n}.bmp")
        picture(root / "Labels" / f"{n}.png")


def split_pairs(root):
    for section in ("train", "validation", "test"):
        picture(root / section / "image" / "1.png")
        picture(root / section / "mask" / "1.png")


KINDS = {"dca1": dca1, "arcade": arcade, "xcad": xcad, "pairs": pairs, "split pairs": split_pairs}


@pytest.mark.parametrize("kind", KINDS)
def test_each_layout_is_recognised_by_itself_alone(tmp_path, kind):
    KINDS[kind](tmp_path)
    assert [name for name, layout in LAYOUTS.items() if layout.recognise(tmp_path)] == [kind.split()[-1]]


def test_an_empty_folder_is_of_no_layout(tmp_path):
    assert not any(layout.recognise(tmp_path) for layout in LAYOUTS.values())


def collect(name, root):
    return LAYOUTS[name].collect(root, root.parent / "masks")


def published(found):
    (split,) = found.splits.values()
    return split


@pytest.mark.parametrize("below", ["", "Database_134_Angiograms"], ids=["itself", "folder above"])
def test_the_first_hundred_of_dca1_are_for_training(tmp_path, below):
    dca1(tmp_path / "set" / below)
    picture(tmp_path / "set" / below / "7_gt.pgm")
    found = collect("dca1", tmp_path / "set")
    assert [case.name for case in found.cases] == ["1", "2", "10", "100", "101"]
    assert found.cases[2].image.name == "10.pgm"
    assert found.cases[2].label.name == "10_gt.pgm"
    assert [case for case, section in published(found).items() if section == "test"] == ["101"]
    assert [name.split("/")[-1] for name in found.unmatched] == ["7_gt.pgm"]


def test_the_polygons_of_arcade_become_masks_outside_the_set(tmp_path):
    arcade(tmp_path / "arcade")
    before = sorted((tmp_path / "arcade").rglob("*"))
    found = collect("arcade", tmp_path / "arcade")
    assert sorted((tmp_path / "arcade").rglob("*")) == before
    assert [case.name for case in found.cases] == [f"{part}_{n}" for part in ("test", "train", "val") for n in (1, 2)]
    assert published(found)["val_1"] == "validation"
    mask = np.asarray(Image.open(found.cases[0].label))
    assert set(np.unique(mask)) == {0, 255}
    assert (mask > 0).sum() == 4 * 5
    assert (mask[3:8, 2:6] == 255).all()
    assert any("stenosis" in note for note in found.notes)


def test_the_mask_is_the_union_of_the_vessels_without_the_lesions(tmp_path):
    drawn = [(1, SEGMENT, box(1, 1, 4, 2)), (1, SEGMENT, box(2, 1, 6, 2)), (1, LESION, box(0, 5, 9, 9))]
    coco(tmp_path / "set" / "train", drawn)
    found = collect("arcade", tmp_path / "set")
    assert [case.name for case in found.cases] == ["train_1"]
    assert np.argwhere(np.asarray(Image.open(found.cases[0].label))).tolist() == [[1, x] for x in range(1, 6)]
    assert found.unmatched == ["train/images/2.png"]  # nothing is drawn in it: not labelled, rather than empty


def test_a_set_of_lesions_alone_is_refused(tmp_path):
    arcade(tmp_path / "arcade")
    with pytest.raises(ValueError, match="stenoses alone"):
        collect("arcade", tmp_path / "arcade" / "stenosis")


def test_masks_are_not_drawn_into_the_set(tmp_path):
    arcade(tmp_path)
    with pytest.raises(ValueError, match="inside the data set; give an --out elsewhere"):
        LAYOUTS["arcade"].collect(tmp_path, tmp_path / "syntax" / "masks")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"annotations": [{"category_id": 3, "image_id": 1, "segmentation": {"counts": [1]}}]}, "run-length coded"),
        ({"annotations": [{"category_id": 3, "image_id": 1, "segmentation": [[1, 2, 3]]}]}, "a polygon of 3 numbers"),
        ({"categories": None}, "is not a COCO file"),
        ({"annotations": [{"category_id": 3, "image_id": 9, "segmentation": [box(1, 1, 2, 2)]}]}, "is not a COCO file"),
    ],
    ids=["run lengths", "short", "no categories", "unknown image"],
)
def test_annotations_that_are_no_polygons_are_refused(tmp_path, change, message):
    coco(tmp_path / "train", [])
    file = tmp_path / "train" / "annotations" / "train.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(ValueError, match=rf"train\.json.*{message}"):
        read_coco(file)


def test_annotations_that_are_cut_off_are_refused_by_name(tmp_path):
    (tmp_path / "train.json").write_text('{"images": [')
    with pytest.raises(ValueError, match=r"cannot read .*train\.json; is it complete"):
        read_coco(tmp_path / "train.json")


def test_hidden_files_beside_annotations_change_nothing(tmp_path):
    arcade(tmp_path)
    (tmp_path / "syntax" / "train" / "annotations" / "._train.json").write_bytes(b"\0")
    (tmp_path / "syntax" / "train" / "annotations" / ".DS_Store").write_bytes(b"\0")
    assert [name for name, layout in LAYOUTS.items() if layout.recognise(tmp_path / "syntax")] == ["arcade"]
    assert len(LAYOUTS["arcade"].collect(tmp_path / "syntax", tmp_path / "masks").cases) == 6


def test_a_folder_above_arcade_may_be_called_after_lesions(tmp_path):
    root = tmp_path / "stenosis_project" / "arcade"
    arcade(root)
    assert len(LAYOUTS["arcade"].collect(root / "syntax", tmp_path / "masks").cases) == 6


def test_two_folders_of_one_section_are_both_taken(tmp_path):
    split_pairs(tmp_path)
    picture(tmp_path / "train2" / "image" / "1.png")
    picture(tmp_path / "train2" / "mask" / "1.png")
    found = collect("pairs", tmp_path)
    assert [case for case, section in published(found).items() if section == "training"] == ["train_1", "train2_1"]


def test_what_is_drawn_outside_the_image_is_cut_off():
    assert rasterize(Outlines("a.png", (4, 4), [box(-3, -3, 2, 9)])).tolist() == [[True, True, False, False]] * 4


def test_the_unlabelled_images_of_xcad_are_only_counted(tmp_path):
    xcad(tmp_path)
    found = collect("xcad", tmp_path)
    assert set(published(found).values()) == {"test"}
    assert len(found.cases) == 3
    assert found.notes == [f"4 images in {tmp_path / 'train'} have no masks: left out"]


def test_images_and_masks_are_paired_by_name(tmp_path):
    pairs(tmp_path)
    picture(tmp_path / "imgs" / "c.png")
    picture(tmp_path / "Labels" / "d.png")
    found = collect("pairs", tmp_path)
    assert [(case.name, case.image.name, case.label.name) for case in found.cases] == [
        ("a", "a.bmp", "a.png"),
        ("b", "b.bmp", "b.png"),
    ]
    assert found.unmatched == ["Labels/d.png", "imgs/c.png"]
    assert found.splits == {}


def test_a_mask_may_say_that_it_is_one(tmp_path):
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "masks" / "a_mask.png")
    assert [case.name for case in collect("pairs", tmp_path).cases] == ["a"]


def test_folders_without_a_common_name_are_refused(tmp_path):
    picture(tmp_path / "images" / "a.png")
    picture(tmp_path / "masks" / "x.png")
    with pytest.raises(ValueError, match=r"no image in .*images has the name of a mask in .*masks \(a, .* against x"):
        collect("pairs", tmp_path)


def test_the_folders_of_a_split_give_the_sections(tmp_path):
    split_pairs(tmp_path)
    found = collect("pairs", tmp_path)
    assert published(found) == {"test_1": "test", "train_1": "training", "validation_1": "validation"}


def test_the_real_set_is_read_as_pairs(real_data):
    found = collect("pairs", real_data / "xca_cimat80")
    assert len(found.cases) == 54
    assert not found.unmatched
