"""The one image that a user means is found in a folder, or the choice is put before them."""

import numpy as np
import pytest
from PIL import Image

from common.segmenting.series import choose, find_image, images_in

from .dicom_studies import blank, write_series, write_slice
from .test_angiogram_dicom import write_xa

UID = "1.2.826.0.1.3680043.10.4."


@pytest.fixture
def links(tmp_path):
    (tmp_path / "links").mkdir()
    return tmp_path / "links"


@pytest.fixture
def study(tmp_path):
    """A folder of two CT series in one folder, a scout below it, a thumbnail, and an index."""
    folder = tmp_path / "study"
    cta = {"SeriesNumber": 4, "SeriesInstanceUID": f"{UID}4", "SeriesDescription": "CorCTA 75%"}
    score = {"SeriesNumber": 2, "SeriesInstanceUID": f"{UID}2", "SeriesDescription": "CaScore"}
    scout = {"SeriesInstanceUID": f"{UID}1", "ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}
    write_series(folder / "CT", blank(12), 0.5, prefix="a", ConvolutionKernel="Bv40", **cta)
    write_series(folder / "CT", blank(10), 3.0, prefix="b", **score)
    write_slice(folder / "scout" / "1", blank(1)[0], 0, **scout)
    Image.new("L", (8, 8)).save(folder / "CT" / "thumbnail.jpg")
    (folder / "DICOMDIR").write_bytes(bytes(128) + b"DICM")
    return folder


def find(folder, links, wanted=None):
    return find_image(folder, wanted, links)


def test_of_several_series_none_is_guessed_and_all_are_listed(study, links):
    with pytest.raises(ValueError, match="holds 2 images that can be meant; choose one with --series") as error:
        find(study, links)
    assert str(error.value).splitlines()[1:] == [
        "  1  without description (series 1): CT, 1 slice, pixels of 1 mm [a localizer]",
        "  2  CaScore (series 2): CT, 10 slices every 3 mm, pixels of 1 mm",
        "  3  CorCTA 75% (series 4): CT, 12 slices every 0.5 mm, pixels of 1 mm, kernel Bv40",
    ]


@pytest.mark.parametrize("wanted", [3, "3", f"{UID}4"], ids=["number", "number as text", "UID"])
def test_the_series_that_was_named_is_handed_on_alone(study, links, wanted):
    found = find(study, links, wanted)
    assert found.path == links / "study_3"
    assert {link.resolve() for link in found.path.iterdir()} == set((study / "CT").glob("a*"))
    assert found.header.SeriesDescription == "CorCTA 75%"
    assert found.said.startswith(f"Of 3 images in {study}, number 3: CorCTA 75%")


@pytest.mark.parametrize("wanted", [0, 4, "1.2.3"])
def test_a_series_that_is_not_there_is_answered_by_the_list(study, links, wanted):
    with pytest.raises(ValueError, match=rf"series {wanted} names none of 3 images[\s\S]*CaScore"):
        find(study, links, wanted)


def test_the_only_series_beside_what_cannot_be_meant_is_taken(study, links):
    for path in (study / "CT").glob("b*"):
        path.unlink()
    assert "CorCTA" in find(study, links).said


def test_a_folder_of_one_series_is_read_in_place(tmp_path, links):
    write_series(tmp_path / "patient" / "series", blank(8))
    assert find(tmp_path / "patient", links).path == tmp_path / "patient" / "series"
    assert not list(links.iterdir())


def test_slices_of_one_series_in_several_folders_come_together(tmp_path, links):
    write_series(tmp_path / "disc" / "1", blank(5))
    for path in write_series(tmp_path / "disc" / "2", blank(10))[:5]:
        path.unlink()
    found = find(tmp_path / "disc", links)
    assert len(list(found.path.iterdir())) == 10


@pytest.mark.parametrize(
    ("tag", "values", "said"),
    [
        ("NominalPercentageOfCardiacPhase", (40, 75), ["phase 40.0 %", "phase 75.0 %"]),
        ("TriggerTime", (310, 640), ["trigger time 310.0 ms", "trigger time 640.0 ms"]),
        ("SeriesDescription", ("same", "same"), ["repetition 1 of 2", "repetition 2 of 2"]),
    ],
)
def test_phases_in_one_series_are_told_apart(tmp_path, tag, values, said):
    write_series(tmp_path, blank(8), prefix="a", **{tag: values[0]})
    write_series(tmp_path, blank(8), prefix="b", first=9, **{tag: values[1]})
    images = images_in(tmp_path)
    assert [image.phase for image in images] == said
    assert [{path.name[0] for path in image.files} for image in images] == [{"a"}, {"b"}]


def test_slabs_with_trigger_times_of_their_own_are_one_scan(tmp_path):
    for index in range(12):
        write_slice(tmp_path / f"{index}.dcm", blank(1)[0], index, TriggerTime=300 + index // 4)
    assert [len(image.files) for image in images_in(tmp_path)] == [12]


def test_a_tag_that_does_not_tell_all_phases_apart_is_not_used(tmp_path):
    for turn in range(2):
        for index in range(12):
            tags = {"InstanceNumber": 12 * turn + index, "TriggerTime": 300 + index // 4}
            write_slice(tmp_path / f"{turn}_{index}.dcm", blank(1)[0], index, **tags)
    images = images_in(tmp_path)
    assert [(image.phase, len(image.files)) for image in images] == [
        ("repetition 1 of 2", 12),
        ("repetition 2 of 2", 12),
    ]


def test_slices_whose_axes_differ_by_rounding_are_one_scan(tmp_path):
    for index in range(10):
        axes = [1, (-1) ** index * 1e-5, 0, 0, 1, 0]
        write_slice(tmp_path / f"{index}.dcm", blank(1)[0], index, ImageOrientationPatient=axes)
    assert [len(image.files) for image in images_in(tmp_path)] == [10]


def test_x_ray_runs_in_files_of_their_own_are_chosen_by_number(tmp_path, links):
    for name in ("1.dcm", "2.dcm"):
        write_xa(tmp_path / name, np.zeros((5, 6, 8)), PositionerPrimaryAngle=30, PositionerSecondaryAngle=-5)
    with pytest.raises(ValueError, match=r"2  .*XA, 5 frames of 6 x 8 pixels, C-arm at 30 and -5 degrees, 2\.dcm"):
        find(tmp_path, links)
    assert find(tmp_path, links, 2).path == tmp_path / "2.dcm"


def test_pictures_count_where_there_is_no_scan(tmp_path, links):
    (tmp_path / "run" / "frames").mkdir(parents=True)
    for number in range(3):
        Image.new("L", (8, 8)).save(tmp_path / "run" / "frames" / f"f{number}.png")
    found = find(tmp_path / "run", links)
    assert found.path == tmp_path / "run" / "frames"
    assert found.header is None


def test_one_slice_of_a_ct_leads_to_its_folder(tmp_path, links):
    path = write_slice(tmp_path / "1.dcm", blank(1)[0], 0)
    with pytest.raises(ValueError, match=f"one slice of a CT; give its folder, {tmp_path}"):
        find(path, links)


def test_a_folder_without_images_says_what_was_looked_for(tmp_path, links):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(FileNotFoundError, match=r"no image among the 1 files .* looked for DICOM, \.nii\.gz"):
        find(tmp_path, links)


def test_a_series_of_a_file_is_refused(tmp_path, links):
    path = write_xa(tmp_path / "1.dcm", np.zeros((5, 6, 8)))
    with pytest.raises(ValueError, match="is a file; give the folder"):
        find(path, links, 1)


def test_an_image_that_cannot_be_meant_is_still_the_choice_if_it_is_the_only_one(tmp_path):
    write_series(tmp_path, blank(3), Modality="MR")
    images = images_in(tmp_path)
    assert choose(images, tmp_path).unfit == "neither CT nor X-ray"
