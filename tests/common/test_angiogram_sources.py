"""The cases of a folder, and the order of the frames of a sequence."""

import pytest

from common.angiograms.sources import angiogram_case_name, frame_files, list_angiograms, missing_frames


def touch(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def test_every_image_and_every_folder_of_frames_is_a_case_sorted_by_name(tmp_path):
    touch(tmp_path, "b.PNG", "a.nii.gz", "1.img.pgm", "run/f_1.bmp", "notes.txt", ".hidden.png", "empty/readme.md")
    assert [case["case"] for case in list_angiograms(tmp_path)] == ["1.img", "a", "b", "run"]


def test_a_file_without_suffix_is_a_case_if_it_starts_as_dicom_does(tmp_path):
    (tmp_path / "IM0001").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "README").write_bytes(b"text")
    assert [case["case"] for case in list_angiograms(tmp_path)] == ["IM0001"]


def test_one_file_is_one_case_whether_or_not_a_sequence_is_asked_for(tmp_path):
    file = touch(tmp_path, "a.png") / "a.png"
    assert list_angiograms(file) == list_angiograms(file, sequence=True) == [{"image": str(file), "case": "a"}]


def test_a_folder_of_frames_is_one_case_only_if_asked_for(tmp_path):
    folder = touch(tmp_path / "run.7", "f1.png", "f2.png")
    assert [case["case"] for case in list_angiograms(folder)] == ["f1", "f2"]
    assert list_angiograms(folder, sequence=True) == [{"image": str(folder), "case": "run.7"}]


@pytest.mark.parametrize("sequence", [False, True])
def test_an_empty_folder_is_an_error(tmp_path, sequence):
    with pytest.raises(FileNotFoundError, match="no angiogram in"):
        list_angiograms(tmp_path, sequence)


def test_a_data_set_for_training_is_pointed_to_its_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="images to segment its images"):
        list_angiograms(touch(tmp_path, "dataset.json"))


def test_two_images_of_one_case_are_an_error(tmp_path):
    with pytest.raises(ValueError, match=r"a\.bmp and a\.png in .* are both case 'a'"):
        list_angiograms(touch(tmp_path, "a.png", "a.bmp"))


def test_an_unsupported_file_is_an_error(tmp_path):
    with pytest.raises(ValueError, match="not a supported image"):
        list_angiograms(touch(tmp_path, "a.txt") / "a.txt")
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        list_angiograms(tmp_path / "absent")


def test_a_case_keeps_the_dots_of_its_name(tmp_path):
    assert angiogram_case_name("in/1.2.840.nii.gz") == "1.2.840"
    assert angiogram_case_name(touch(tmp_path / "x.png", "1.png")) == "x.png"  # a folder


def test_frame_2_comes_before_frame_10(tmp_path):
    touch(tmp_path, "r5_10.png", "r5_9.png", "r5_11.png")
    files = frame_files(tmp_path)
    assert [file.name for file in files] == ["r5_9.png", "r5_10.png", "r5_11.png"]
    assert missing_frames(files) == ""


def test_a_missing_number_is_told(tmp_path):
    files = frame_files(touch(tmp_path, "f1.png", "f2.png", "f5.png"))
    assert len(files) == 3
    assert "has frames 1 to 5, but not 3, 4; " in missing_frames(files)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("a_1.png", "b_2.png"), "not frames of one sequence"),
        (("first.png", "second.png"), "not frames of one sequence"),
        (("f_1.png", "f_01.png"), "both frame 1"),
        (("notes.txt",), "holds no frames"),
    ],
    ids=["two sequences", "no numbers", "one number twice", "no image"],
)
def test_files_that_are_no_numbered_sequence_are_refused(tmp_path, names, message):
    with pytest.raises(ValueError, match=message):
        frame_files(touch(tmp_path, *names))
