"""The command that writes a data list: which layout and split it takes, what it prints, what it refuses."""

import json
import re
from collections import Counter

import numpy as np
import pytest
from PIL import Image

from common.angiograms.folds import write_folds
from common.angiograms.lists import load_angiogram_list
from common.datalist import datalist
from common.datasets import load_data_list
from common.loading import CheckLabeld, LoadVolumed

from . import miniatures


@pytest.fixture
def pairs(tmp_path):
    """Ten stills in the folders images and masks; a quarter of each mask is vessel."""
    for n in range(10):
        picture(tmp_path / "set" / "images" / f"{n}.png", np.full((8, 12), n, np.uint8))
        picture(tmp_path / "set" / "masks" / f"{n}.png", mask())
    return tmp_path / "set"


def mask():
    found = np.zeros((8, 12), np.uint8)
    found[:2] = 255
    return found


def picture(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def run(root, out=None, **options):
    out = root.parent / "dataset.json" if out is None else out
    datalist(str(root), str(out), **options)
    return json.loads(out.read_text())


def sizes(content):
    return {name: len(cases) for name, cases in content.items() if isinstance(cases, list)}


def test_the_list_can_be_loaded_and_says_what_was_found(pairs, capsys):
    content = run(pairs)
    assert sizes(content) == {"training": 10}
    assert content["training"][3] == {"image": "set/images/3.png", "label": "set/masks/3.png", "case": "3"}
    assert len(load_angiogram_list(pairs.parent / "dataset.json", "training")) == 10
    printed = capsys.readouterr().out
    assert "layout: pairs" in printed
    assert "cases: 10 training" in printed
    assert "sizes: 12 x 8 (10)" in printed
    report = json.loads((pairs.parent / "dataset_lint.json").read_text())
    assert report["summary"]["label_share"] == [0.25, 0.25, 0.25]


def test_files_outside_the_folder_of_the_list_have_whole_paths(pairs, tmp_path):
    content = run(pairs, tmp_path / "elsewhere" / "dataset.json")
    assert content["training"][0]["image"] == str(pairs / "images" / "0.png")


def test_a_number_of_folds_gives_each_case_its_fold(pairs):
    content = run(pairs, folds=3)
    assert sorted(Counter(case["fold"] for case in content["training"]).values()) == [3, 3, 4]
    assert run(pairs, folds=3) == content
    assert run(pairs, folds=3, seed=1) != content


def test_a_fold_file_gives_folds_and_patients(pairs, tmp_path, capsys):
    names = [str(n) for n in range(11)]
    file = write_folds(tmp_path / "folds.json", names, [n % 2 for n in range(11)], [n % 2 for n in range(11)])
    content = run(pairs, folds=str(file))
    assert [(case["fold"], case["group"]) for case in content["training"]] == [(n % 2, n % 2) for n in range(10)]
    assert "not in the data set: 10" in capsys.readouterr().out


def test_the_folds_of_the_real_set_are_taken(real_data, tmp_path):
    root = real_data / "xca_cimat80"
    content = run(root, tmp_path / "dataset.json", folds=str(root / "folds.json"))
    known = {row["name"]: row["fold"] for row in json.loads((root / "folds.json").read_text())}
    assert {case["case"]: case["fold"] for case in content["training"]} == known


def test_shares_are_drawn_for_validation_and_test(pairs):
    content = run(pairs, validation=0.25, test=0.2)
    assert sizes(content) == {"training": 6, "validation": 2, "test": 2}
    names = [case["case"] for cases in content.values() if isinstance(cases, list) for case in cases]
    assert sorted(names) == [str(n) for n in range(10)]


@pytest.mark.parametrize("options", [{"folds": 2}, {"validation": 0.3, "test": 0.3}], ids=["folds", "shares"])
def test_a_patient_is_never_split(pairs, tmp_path, options):
    (tmp_path / "groups.json").write_text(json.dumps({str(n): f"patient {n // 2}" for n in range(10)}))
    content = run(pairs, groups=str(tmp_path / "groups.json"), **options)
    parts = {
        (case["group"], section, case.get("fold"))
        for section, cases in content.items()
        if isinstance(cases, list)
        for case in cases
    }
    assert len(parts) == 5


def dca1(root):
    for n in (1, 2, 3, 4, 100, 101):
        picture(root / f"{n}.pgm", np.full((8, 12), n, np.uint8))
        picture(root / f"{n}_gt.pgm", mask())


def test_the_published_split_is_taken_unless_another_is_asked_for(tmp_path):
    dca1(tmp_path / "set")
    assert sizes(run(tmp_path / "set")) == {"training": 5, "test": 1}
    content = run(tmp_path / "set", validation=0.2)
    assert sizes(content) == {"training": 4, "validation": 1, "test": 1}
    assert content["test"][0]["case"] == "101"
    assert sizes(run(tmp_path / "set", test=0.5)) == {"training": 3, "test": 3}
    assert sizes(run(tmp_path / "set", folds=2)) == {"training": 6}


def test_what_may_spoil_a_result_is_told(pairs, capsys):
    picture(pairs / "images" / "9.png", np.full((8, 12), 0, np.uint8))
    picture(pairs / "masks" / "8.png", 0 * mask())
    picture(pairs / "images" / "lost.png", mask())
    run(pairs)
    printed = capsys.readouterr().out
    assert "the same image 2 times: 0, 9" in printed
    assert "empty label [1: 8]" in printed
    assert "1 files have no partner: images/lost.png" in printed


def test_a_folder_of_two_layouts_needs_a_choice(pairs, capsys):
    dca1(pairs)
    with pytest.raises(ValueError, match=r"looks like dca1 \(.*\) and pairs \(.*\); choose one with --layout"):
        run(pairs)
    assert sizes(run(pairs, layout="pairs")) == {"training": 10}
    assert "layout: pairs" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layout": "nrrd"}, "(?s)layout must be auto or one of imagecas, .*, pairs, got 'nrrd'"),
        ({"layout": "xcad"}, r"(?s)does not look like xcad; layouts are:.*imagecas: .*dca1: N\.pgm beside"),
        ({"test": 1}, "test must be a share from 0 to below 1, got 1"),
        ({"folds": 2, "test": 0.2}, "folds and a share for validation or test were given"),
        ({"modality": "mr"}, "modality must be auto, ct or xca, got 'mr'"),
        ({"export": "coco"}, "export must be one of nnunet, got 'coco'"),
        ({"split": "Split-2"}, r"split must be one of the published splits \(none\), got 'Split-2'"),
        ({"folds": "published"}, "--folds published needs a splits_final"),
        ({"workers": 0}, "workers must be at least 1, got 0"),
        ({"folds": 11}, "11 folds need at least 11 cases, got 10"),
    ],
    ids=[
        "unknown",
        "other",
        "share",
        "folds and share",
        "modality",
        "export",
        "split",
        "no published folds",
        "workers",
        "folds",
    ],
)
def test_wrong_options_are_refused_before_anything_is_written(pairs, options, message):
    with pytest.raises(ValueError, match=message):
        run(pairs, **options)
    assert not (pairs.parent / "dataset.json").exists()


def test_a_list_must_be_a_json_file(pairs, tmp_path):
    with pytest.raises(ValueError, match="out must be the JSON file"):
        datalist(str(pairs), str(tmp_path))


def test_an_unknown_folder_lists_the_layouts(tmp_path):
    with pytest.raises(
        ValueError, match=r"(?s)does not look like any known layout; layouts are:.*imagecas.*asoca.*nnunet.*dca1.*pairs"
    ):
        datalist(str(tmp_path), str(tmp_path / "dataset.json"))
    with pytest.raises(NotADirectoryError, match="there is no folder"):
        datalist(str(tmp_path / "gone"), str(tmp_path / "dataset.json"))


def test_a_case_that_cannot_be_loaded_is_left_out_and_named(pairs, capsys):
    picture(pairs / "masks" / "4.png", mask().T)
    assert "4" not in [case["case"] for case in run(pairs)["training"]]
    printed = capsys.readouterr().out
    assert "4.png has 1 frame of 8 x 12 pixels, but" in printed
    assert "left out of the list (1): 4" in printed


def test_a_set_of_which_nothing_can_be_loaded_has_a_report_and_no_list(pairs):
    for n in range(10):
        (pairs / "images" / f"{n}.png").write_bytes(b"cut off")
    with pytest.raises(ValueError, match=r"no case of .* can be loaded; .*dataset_lint\.html says why"):
        run(pairs)
    assert (pairs.parent / "dataset_lint.html").exists()
    assert not (pairs.parent / "dataset.json").exists()


@pytest.mark.parametrize("kind", ["folds", "groups"])
def test_a_file_that_leaves_cases_out_is_refused(pairs, tmp_path, kind):
    file = tmp_path / "some.json"
    if kind == "folds":
        write_folds(file, ["0", "1"], [0, 1])
    else:
        file.write_text('{"0": "a", "1": "b"}')
    with pytest.raises(ValueError, match=r"some\.json leaves out 8 of 10 cases \(2, 3, "):
        run(pairs, **{kind: str(file)})


def test_patients_are_given_once(pairs, tmp_path):
    (tmp_path / "groups.json").write_text(json.dumps({str(n): "a" for n in range(10)}))
    file = write_folds(tmp_path / "folds.json", [str(n) for n in range(10)], [0] * 10)
    with pytest.raises(ValueError, match="leave out --groups"):
        run(pairs, folds=str(file), groups=str(tmp_path / "groups.json"))
    for content, message in (("[]", "must hold"), ("{", "cannot read")):
        (tmp_path / "groups.json").write_text(content)
        with pytest.raises(ValueError, match=message):
            run(pairs, groups=str(tmp_path / "groups.json"))


def test_branches_become_masks_beside_the_list_where_asked_for(tmp_path):
    miniatures.imagecas_x(tmp_path / "set")
    content = run(tmp_path / "set", binary=True, workers=1)
    (case,) = content["training"]
    assert case["label"] == "dataset_masks/1.nii.gz"
    assert case["branches"] == "set/segmentations/1.coronary.nii.gz"
    loaded = load_data_list(tmp_path / "dataset.json", "training")
    data = LoadVolumed(["image", "label"])(loaded[0])
    assert CheckLabeld("label", "image")(data)["label"].sum() == miniatures.mask().sum()


def test_the_masks_of_two_lists_in_one_folder_are_kept_apart(tmp_path):
    miniatures.imagecas_x(tmp_path / "set")
    labels = {}
    for name in ("x", "y"):
        (case,) = run(tmp_path / "set", tmp_path / f"{name}.json", binary=True, workers=1)["training"]
        labels[name] = case["label"]
    assert labels == {"x": "x_masks/1.nii.gz", "y": "y_masks/1.nii.gz"}


def test_a_share_that_the_publishers_have_drawn_is_refused(tmp_path):
    miniatures.imagecas(tmp_path / "set")
    with pytest.raises(ValueError, match=r"the published split \(Split-1\) has a validation section"):
        run(tmp_path / "set", validation=0.5)
    assert not (tmp_path / "dataset.json").exists()


def test_another_published_split_may_be_chosen(tmp_path):
    miniatures.nnunet(tmp_path / "set")
    assert [case["case"] for case in run(tmp_path / "set")["validation"]] == ["heart_0", "heart_1"]
    content = run(tmp_path / "set", split="fold 1")
    assert [case["case"] for case in content["validation"]] == ["heart_2", "heart_3"]
    content = run(tmp_path / "set", folds="published")
    assert [case["fold"] for case in content["training"]] == [0, 0, 1, 1]
    assert [case["case"] for case in content["test"]] == ["heart_9"]


def test_what_the_publishers_leave_out_is_told(tmp_path, capsys):
    miniatures.imagecas_x(tmp_path / "set")
    assert sizes(run(tmp_path / "set")) == {"training": 1, "validation": 1, "test": 1}
    assert "1 cases are in no published split: 4" in capsys.readouterr().out


def test_the_folders_of_one_patient_stay_together(tmp_path):
    miniatures.imagecas_by_patient(tmp_path / "set")
    content = run(tmp_path / "set", folds=2)
    folds = {case["case"]: case["fold"] for case in content["training"]}
    assert folds["10016975"] == folds["10016975(1)"] != folds["10017031"]
    assert [case.get("group") for case in content["training"]] == [None, "10016975", None]


def test_the_same_image_in_two_folds_is_an_error(pairs, capsys):
    for n in range(10):
        picture(pairs / "images" / f"{n}.png", np.full((8, 12), n // 9, np.uint8))
    run(pairs, folds=2)
    assert re.search("error: duplicate image .* in fold 0 and fold 1", capsys.readouterr().out)


def test_masks_are_not_written_into_the_set(tmp_path):
    miniatures.imagecas_x(tmp_path / "set")
    with pytest.raises(ValueError, match="inside the data set; give an --out elsewhere"):
        run(tmp_path / "set", tmp_path / "set" / "dataset.json", binary=True)
