"""Data lists and image folders: what is read, and that each mistake is named with its case before work starts."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from common.datasets import list_images, load_data_list


def write(file, shape=(4, 5, 6), affine=None):
    file.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.int16), np.eye(4) if affine is None else affine), file)


@pytest.fixture
def data_list(tmp_path):
    """Write a data set of three cases and return a function that writes the list anew with some changes."""
    for case in "abc":
        write(tmp_path / "images" / f"{case}.nii.gz")
        write(tmp_path / "labels" / f"{case}.nii.gz")
    content = {
        "name": "three cases",
        "training": [entry("a"), entry("b")],
        "validation": [entry("c")],
        "test": [],
    }

    def change(**sections):
        file = tmp_path / "dataset.json"
        file.write_text(json.dumps(content | sections))
        return file

    return change


def entry(file, **more):
    return {"image": f"images/{file}.nii.gz", "label": f"./labels/{file}.nii.gz"} | more


def test_a_section_gives_whole_paths_and_case_names(data_list, tmp_path):
    cases = load_data_list(data_list(), "training")
    assert [case["case"] for case in cases] == ["a", "b"]
    assert Path(cases[1]["image"]) == tmp_path / "images" / "b.nii.gz"
    assert Path(cases[1]["label"]) == tmp_path / "labels" / "b.nii.gz"


def test_what_else_an_entry_says_is_kept(data_list):
    file = data_list(validation=[entry("c", case="patient 3", dominance="right", phases=[1, 2])])
    case = load_data_list(file, "validation")[0]
    assert (case["case"], case["dominance"], case["phases"]) == ("patient 3", "right", [1, 2])


def test_an_absent_list_says_how_one_looks(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no data list .*dataset\.json.*\"training\": \["):
        load_data_list(tmp_path / "dataset.json", "training")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\xfa", b""], ids=["cut", "no text", "empty"])
def test_unreadable_json_names_the_file(tmp_path, content):
    (tmp_path / "dataset.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*dataset\.json"):
        load_data_list(tmp_path / "dataset.json", "training")


@pytest.mark.parametrize(
    ("sections", "section", "message"),
    [
        ({}, "testing", r"no section 'testing', only \['test', 'training', 'validation'\]"),
        ({}, "test", "section 'test' of .* is empty"),
        ({"test": {"image": "a"}}, "training", "'test' .* is a dict, not a list"),
        ({"training": [{"label": "a"}]}, "training", r'"image"'),
        ({"training": ["images/a.nii.gz"]}, "training", "case 'a' .* has no \"label\""),
        ({"training": [entry("a"), entry("a")]}, "training", "case 'a' comes twice in 'training'"),
        ({"test": [entry("b")]}, "training", "case 'b' is in 'training' and in 'test'"),
        ({"test": [entry("a", case="other")]}, "training", "case 'other' is in 'training' and in 'test'"),
        ({"training": [entry("a", case="x"), entry("b", case="x")]}, "training", "case 'x' comes twice"),
    ],
    ids=["section", "empty", "dictionary", "no image", "no label", "twice", "two sections", "renamed", "one name"],
)
def test_each_mistake_in_a_list_is_named(data_list, sections, section, message):
    with pytest.raises(ValueError, match=message):
        load_data_list(data_list(**sections), section)


def test_a_list_that_is_no_dictionary_is_refused(tmp_path):
    (tmp_path / "dataset.json").write_text("[]")
    with pytest.raises(ValueError, match="holds a list"):
        load_data_list(tmp_path / "dataset.json", "training")


@pytest.mark.parametrize("key", ["image", "label", "centerline"])
def test_an_absent_file_is_named_with_its_case(data_list, key):
    file = data_list(validation=[entry("c", **{key: "gone.nii.gz"})])
    with pytest.raises(FileNotFoundError, match=rf"there is no {key} .*gone\.nii\.gz"):
        load_data_list(file, "validation")
    load_data_list(file, "training")  # the other sections may be elsewhere


def test_a_label_of_another_shape_is_refused(data_list, tmp_path):
    write(tmp_path / "labels" / "b.nii.gz", (4, 5, 7))
    with pytest.raises(ValueError, match=r"case 'b': .*shape \(4, 5, 6\), the label \(4, 5, 7\)"):
        load_data_list(data_list(), "training")
    load_data_list(data_list(), "training", check_geometry=False)


def test_a_label_at_another_place_is_refused(data_list, tmp_path):
    write(tmp_path / "labels" / "b.nii.gz", affine=np.diag([-1.0, -1, 1, 1]))  # the mirror of a lost LPS to RAS
    with pytest.raises(ValueError, match=r"case 'b': .*labels.*does not lie on .*10 mm apart"):
        load_data_list(data_list(), "training")


def test_a_plane_image_is_refused(data_list, tmp_path):
    write(tmp_path / "images" / "a.nii.gz", (4, 5))
    with pytest.raises(ValueError, match=r"case 'a': .*shape \(4, 5\), but images with 3 axes"):
        load_data_list(data_list(), "training")


def test_a_corrupt_image_is_named_with_its_case(data_list, tmp_path):
    (tmp_path / "images" / "a.nii.gz").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"case 'a': cannot read the header of .*a\.nii\.gz"):
        load_data_list(data_list(), "training")


def test_frames_are_checked_as_frames(tmp_path):
    itk = pytest.importorskip("itk")
    for name in ("image.png", "label.png"):
        itk.imwrite(itk.image_from_array(np.zeros((4, 5), np.uint8)), str(tmp_path / name))
    (tmp_path / "dataset.json").write_text(json.dumps({"test": [{"image": "image.png", "label": "label.png"}]}))
    assert len(load_data_list(tmp_path / "dataset.json", "test", spatial_dims=2)) == 1
    with pytest.raises(ValueError, match="images with 3 axes"):
        load_data_list(tmp_path / "dataset.json", "test")


def test_a_folder_gives_its_images_sorted_by_name(tmp_path):
    for name in ("b.nrrd", "a.nii", "1.img.nii.gz", "c.mha", "d.MHD", "notes.txt", ".hidden.nii", "d.raw"):
        (tmp_path / name).touch()
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "z.nii").touch()
    assert [case["case"] for case in list_images(tmp_path)] == ["1.img", "a", "b", "c", "d"]
    assert list_images(tmp_path)[0]["image"] == str(tmp_path / "1.img.nii.gz")


def test_one_file_is_one_case(tmp_path):
    (tmp_path / "a.b.nii.gz").touch()
    assert list_images(tmp_path / "a.b.nii.gz") == [{"image": str(tmp_path / "a.b.nii.gz"), "case": "a.b"}]


def test_two_images_of_one_name_are_refused(tmp_path):
    for name in ("a.nii", "a.nrrd"):
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=r"a\.nii and a\.nrrd .* are both case 'a'; rename one"):
        list_images(tmp_path)


def test_nothing_to_segment_says_what_was_looked_for(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no image to segment .*\.nii\.gz, .*folders of DICOM slices"):
        list_images(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no file or folder .*gone"):
        list_images(tmp_path / "gone")
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match=r"a\.txt is not a supported image"):
        list_images(tmp_path / "a.txt")


def test_a_training_set_points_to_its_images(data_list, tmp_path):
    data_list()
    with pytest.raises(FileNotFoundError, match=r"data set for training: give .*images"):
        list_images(tmp_path)
    assert [case["case"] for case in list_images(tmp_path / "images")] == ["a", "b", "c"]


@pytest.mark.parametrize("source", ["", "A0002_8mm_B40f"], ids=["folder of series", "series"])
def test_a_dicom_folder_is_a_case(real_data, source):
    cases = list_images(real_data / "ct_noncontrast" / source)
    assert [case["case"] for case in cases] == ["A0002_8mm_B40f"]


def test_the_views_of_a_case_become_whole_paths(data_list):
    views = [entry("c")["image"], entry("a")["image"]]
    file = data_list(validation=[entry("c", views=views)])
    (case,) = load_data_list(file, "validation")
    assert case["views"] == [str(file.parent / view) for view in views]


def test_an_absent_view_is_named(data_list):
    file = data_list(validation=[entry("c", views=["images/gone.nii.gz"])])
    with pytest.raises(FileNotFoundError, match=r"no views .*gone"):
        load_data_list(file, "validation")


@pytest.mark.parametrize("views", ["images/c.nii.gz", [1]])
def test_views_that_are_no_list_of_paths_are_refused(data_list, views):
    with pytest.raises(ValueError, match="must be a list of paths"):
        load_data_list(data_list(validation=[entry("c", views=views)]), "validation")
