"""The layouts of ASOCA on disk."""

import json

import nibabel
import numpy as np
import pytest

from common.asoca import asoca_sections
from common.datasets import load_data_list
from common.loading import LoadVolumed


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


@pytest.fixture
def challenge(tmp_path):
    """The folders of the challenge: 2 x 20 annotated cases, and a test set without annotations."""
    for group in ("Normal", "Diseased"):
        for number in range(1, 21):
            touch(tmp_path / group / "CTCA" / f"{group}_{number}.nrrd")
            touch(tmp_path / group / "Annotations" / f"{group}_{number}.nrrd")
            touch(tmp_path / group / "Centerlines" / f"{group}_{number}.vtp")
        touch(tmp_path / group / f"Testset_{group}" / "0.nrrd")
    return tmp_path


def test_the_challenge_folder_gives_forty_cases_in_three_disjoint_sections(challenge):
    sections = asoca_sections(challenge)
    assert {name: len(cases) for name, cases in sections.items()} == {"training": 24, "validation": 8, "test": 8}
    names = [case["case"] for cases in sections.values() for case in cases]
    assert len(set(names)) == 40
    assert [case["case"] for case in sections["test"]][:4] == ["Normal_5", "Normal_10", "Normal_15", "Normal_20"]


def test_a_case_names_its_files_and_the_frame_of_its_centerline(challenge):
    case = asoca_sections(challenge)["training"][0]
    assert case == {
        "image": "Normal/CTCA/Normal_1.nrrd",
        "label": "Normal/Annotations/Normal_1.nrrd",
        "case": "Normal_1",
        "centerline": "Normal/Centerlines/Normal_1.vtp",
        "centerline_frame": "asoca_vtp",
    }


def test_scans_without_annotation_are_left_out_and_centerlines_may_be_missing(challenge):
    (challenge / "Normal" / "Annotations" / "Normal_1.nrrd").unlink()
    (challenge / "Normal" / "Centerlines" / "Normal_2.vtp").unlink()
    first = asoca_sections(challenge)["training"][0]
    assert first["case"] == "Normal_2"
    assert "centerline" not in first


def test_folders_for_the_split_are_kept_and_graphs_serve_as_centerlines(tmp_path):
    for split, name in (("train", "Normal_5"), ("val", "Normal_1"), ("test", "Normal_2")):
        group = tmp_path / split / "Normal"
        touch(group / "CTCA" / f"{name}.nrrd", group / "Annotations" / f"{name}.nrrd")
        touch(group / "Centerlines_graphs" / f"{name}.GML")
    sections = asoca_sections(tmp_path)
    assert {name: [case["case"] for case in cases] for name, cases in sections.items()} == {
        "training": ["Normal_5"],
        "validation": ["Normal_1"],
        "test": ["Normal_2"],
    }
    assert sections["test"][0]["centerline"] == "test/Normal/Centerlines_graphs/Normal_2.GML"


def test_any_other_folder_is_no_asoca(tmp_path):
    touch(tmp_path / "images" / "1.nrrd")
    assert asoca_sections(tmp_path) is None
    with pytest.raises(FileNotFoundError, match=r"no data list.*dataset\.json"):
        load_data_list(tmp_path / "dataset.json", "training")


@pytest.mark.parametrize("split", ["", "train"], ids=["as shipped", "split"])
def test_scans_without_annotations_are_an_error_that_says_where_those_belong(tmp_path, split):
    touch(tmp_path / split / "Normal" / "CTCA" / "Normal_1.nrrd")
    with pytest.raises(ValueError, match=r"is ASOCA without Annotations/, .*/<case>\.nrrd must lie"):
        load_data_list(tmp_path / "dataset.json", "training")


def test_equal_file_names_in_both_groups_are_two_cases_and_unnumbered_ones_are_for_training(tmp_path):
    for group, name in (("Normal", "1"), ("Diseased", "1"), ("Normal", "extra")):
        touch(tmp_path / group / "CTCA" / f"{name}.nrrd", tmp_path / group / "Annotations" / f"{name}.nrrd")
    assert [case["case"] for case in asoca_sections(tmp_path)["training"]] == ["Normal_extra", "Normal_1", "Diseased_1"]


def test_a_section_that_the_folder_does_not_have_is_named_with_the_folder(tmp_path):
    touch(tmp_path / "Normal" / "CTCA" / "Normal_1.nrrd", tmp_path / "Normal" / "Annotations" / "Normal_1.nrrd")
    with pytest.raises(ValueError, match=r"the folder .*, read as ASOCA, has no section 'test', only \['training'\]"):
        load_data_list(tmp_path / "dataset.json", "test")


def test_training_reads_the_folder_without_a_data_list_unless_there_is_one(tmp_path):
    import itk

    voxels = itk.image_view_from_array(np.zeros((4, 4, 4), np.int16))
    for kind in ("CTCA", "Annotations"):
        (tmp_path / "Normal" / kind).mkdir(parents=True)
        itk.imwrite(voxels, str(tmp_path / "Normal" / kind / "Normal_1.nrrd"))
    (case,) = load_data_list(tmp_path / "dataset.json", "training")
    assert LoadVolumed("image")({"image": case["image"]})["image"].shape == (1, 4, 4, 4)

    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4)), np.eye(4)), tmp_path / "own.nii.gz")
    own = {"training": [{"image": "own.nii.gz", "label": "own.nii.gz"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(own))
    assert load_data_list(tmp_path / "dataset.json", "training")[0]["case"] == "own"
