"""Data lists of angiograms: cross-validation by folds, frames of sequences, and sizes read from headers."""

import json
import math

import nibabel
import numpy as np
import pytest
from PIL import Image

from common.angiograms.headers import read_size
from common.angiograms.lists import load_angiogram_list
from common.angiograms.reading import read_angiogram
from common.phantom.xca.dicom import write_xa


def picture(path, shape=(32, 40)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros(shape, np.uint8)).save(path)
    return path


def nifti(path, shape):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.zeros(shape, np.uint8), np.diag([-1.0, -1, 1, 1])), path)
    return path


@pytest.fixture
def folds(tmp_path):
    """Write 20 stills of 10 patients in 4 folds and return a function that writes their list with some changes."""
    for n in range(20):
        picture(tmp_path / "images" / f"{n:02}.png")
        picture(tmp_path / "labels" / f"{n:02}.png")

    def change(entries=None, **sections):
        rows = [entry(n) for n in range(20)] if entries is None else entries
        return write(tmp_path, {"training": rows, **sections})

    return change


def entry(n, **more):
    names = {"image": f"images/{n:02}.png", "label": f"labels/{n:02}.png"}
    return names | {"fold": n // 2 % 4, "group": f"patient {n // 2}"} | more


def write(folder, sections):
    (folder / "dataset.json").write_text(json.dumps(sections))
    return folder / "dataset.json"


def names(path, section, **options):
    return {case["case"] for case in load_angiogram_list(path, section, **options)}


def test_without_a_fold_the_sections_are_taken_as_they_are(folds):
    file = folds([entry(n) for n in range(18)], test=[entry(18), entry(19)])
    assert names(file, "training") == {f"{n:02}" for n in range(18)}
    assert names(file, "test") == {"18", "19"}


@pytest.mark.parametrize("fold", range(4))
def test_a_fold_is_the_test_and_the_rest_is_split(folds, fold):
    parts = {section: names(folds(), section, fold=fold) for section in ("training", "validation", "test")}
    assert parts["test"] == {f"{n:02}" for n in range(20) if n // 2 % 4 == fold}
    assert set.union(*parts.values()) == {f"{n:02}" for n in range(20)}
    assert sum(map(len, parts.values())) == 20
    patients = {section: {int(name) // 2 for name in part} for section, part in parts.items()}
    assert sum(map(len, patients.values())) == 10  # no patient in two of them
    assert len(parts["validation"]) == 2


def test_the_validation_share_counts_cases_and_is_at_least_one_group(folds):
    assert len(names(folds(), "validation", fold=2, validation_share=0.5)) == 8  # of 16
    assert len(names(folds(), "validation", fold=2, validation_share=0.01)) == 2


def test_the_split_does_not_depend_on_the_order_of_the_list(folds):
    forwards = names(folds(), "validation", fold=1)
    assert names(folds([entry(n) for n in reversed(range(20))]), "validation", fold=1) == forwards


def test_without_groups_each_image_is_its_own(folds):
    rows = [{key: value for key, value in entry(n).items() if key != "group"} for n in range(20)]
    assert len(names(folds(rows), "validation", fold=0, validation_share=0.25)) == round((20 - 6) * 0.25)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        ({"fold": None}, {}, "case '05' of .* has no \"fold\""),
        ({"fold": "1"}, {}, "case '05' of .* has no \"fold\""),
        ({"group": "patient 9"}, {}, "group 'patient 9' of .* is in fold 2 .* and in fold 1"),
        ({}, {"fold": 4}, r"fold must be one of those in .*, \[0, 1, 2, 3\], got 4"),
        ({}, {"validation_share": 0}, "validation_share must lie between 0 and 1, got 0: the best epoch"),
        ({}, {"validation_share": 1}, "validation_share must lie between 0 and 1"),
        ({}, {"every": 0}, "every must be at least 1, got 0"),
    ],
    ids=["no fold", "text", "split patient", "unknown fold", "no validation", "all validation", "every"],
)
def test_what_makes_no_sound_split_is_refused(folds, change, options, message):
    file = folds([entry(n, **(change if n == 5 else {})) for n in range(20)])
    with pytest.raises(ValueError, match=message):
        load_angiogram_list(file, "training", **{"fold": 1, **options})


def test_one_patient_cannot_be_training_and_validation(folds):
    with pytest.raises(ValueError, match="two groups are needed, got 1"):
        load_angiogram_list(folds([entry(0), entry(2)]), "training", fold=0)


def test_the_folds_of_the_real_set_keep_its_patients_apart(real_data, tmp_path):
    root = real_data / "xca_cimat80"
    rows = [
        {key: str(root / folder / f"{row['name']}.png") for key, folder in (("image", "images"), ("label", "masks"))}
        | {"fold": row["fold"], "group": row["group"]}
        for row in json.loads((root / "folds.json").read_text())
    ]
    file = write(tmp_path, {"training": rows})
    for fold in range(4):
        parts = [load_angiogram_list(file, section, fold=fold) for section in ("training", "validation", "test")]
        groups = [{case["group"] for case in part} for part in parts]
        assert sum(map(len, parts)) == 54
        assert sum(map(len, groups)) == len(set.union(*groups))


def test_a_sequence_gives_one_case_for_each_frame(tmp_path):
    nifti(tmp_path / "a.nii.gz", (40, 32, 12))
    nifti(tmp_path / "a_label.nii.gz", (40, 32, 12))
    picture(tmp_path / "b.png")
    rows = [{"image": "a.nii.gz", "label": "a_label.nii.gz"}, {"image": "b.png", "label": "b.png"}]
    file = write(tmp_path, {"test": rows})
    assert [case["case"] for case in load_angiogram_list(file, "test")] == ["a", "b"]
    frames = load_angiogram_list(file, "test", each_frame=True, every=5)
    assert [(case["case"], case.get("frame"), case.get("sequence")) for case in frames] == [
        ("a_t00", 0, "a"),
        ("a_t05", 5, "a"),
        ("a_t10", 10, "a"),
        ("b", 0, "b"),
    ]
    assert len(load_angiogram_list(file, "test", each_frame=True)) == 13


def test_an_entry_may_be_one_frame_of_a_sequence(tmp_path):
    nifti(tmp_path / "a.nii.gz", (40, 32, 12))
    picture(tmp_path / "a3.png")
    rows = [{"image": "a.nii.gz", "label": "a3.png", "frame": t, "case": f"a{t}"} for t in (3, 4)]
    file = write(tmp_path, {"test": rows})
    assert [case["frame"] for case in load_angiogram_list(file, "test", each_frame=True)] == [3, 4]
    file = write(tmp_path, {"test": [rows[0], rows[0] | {"case": "again"}]})
    with pytest.raises(ValueError, match="case 'again' comes twice"):
        load_angiogram_list(file, "test")
    file = write(tmp_path, {"test": [rows[0] | {"frame": 12}]})
    with pytest.raises(ValueError, match=r"\"frame\" of case 'a3' must be one of 0 \.\.\. 11, got 12"):
        load_angiogram_list(file, "test")


@pytest.mark.parametrize(
    ("shape", "said"),
    [((32, 40, 12), "12 frames of 32 x 40 pixels"), ((40, 32, 11), "11 frames of 40 x 32"), ((40, 32), "1 frame of")],
    ids=["turned", "a frame less", "one frame"],
)
def test_a_label_of_another_size_is_refused(tmp_path, shape, said):
    nifti(tmp_path / "a.nii.gz", (40, 32, 12))
    nifti(tmp_path / "l.nii.gz", shape)
    file = write(tmp_path, {"test": [{"image": "a.nii.gz", "label": "l.nii.gz"}]})
    with pytest.raises(ValueError, match=rf"case 'a': .*l\.nii\.gz has {said}.* has 12 frames of 40 x 32 pixels"):
        load_angiogram_list(file, "test")


def test_missing_files_labels_and_lists_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no data list .*dataset\.json"):
        load_angiogram_list(tmp_path / "dataset.json", "test")
    picture(tmp_path / "b.png")
    file = write(tmp_path, {"test": [{"image": "b.png", "label": "gone.png"}], "training": ["b.png"]})
    with pytest.raises(ValueError, match="case 'b' is in 'training' and in 'test'"):
        load_angiogram_list(file, "test")
    file = write(tmp_path, {"test": [{"image": "b.png", "label": "gone.png"}]})
    with pytest.raises(FileNotFoundError, match=r"case 'b' .* there is no label .*gone\.png"):
        load_angiogram_list(file, "test")
    file = write(tmp_path, {"test": ["b.png"]})
    with pytest.raises(ValueError, match=r"case 'b' .* has no \"label\""):
        load_angiogram_list(file, "test")


def test_a_damaged_file_is_named_with_its_case(tmp_path):
    picture(tmp_path / "b.png")
    for name in ("l.png", "l.dcm", "l.nii.gz"):
        (tmp_path / name).write_bytes(b"no image")
        file = write(tmp_path, {"test": [{"image": "b.png", "label": name}]})
        with pytest.raises(ValueError, match=rf"case 'b': .*{name}.* complete"):
            load_angiogram_list(file, "test")


def test_the_size_of_a_folder_of_frames_is_that_of_its_files(tmp_path):
    for t in range(3):
        picture(tmp_path / "run" / f"frame{t}.png")
    assert read_size(tmp_path / "run") == (3, 32, 40)
    with pytest.raises(FileNotFoundError, match="there is no angiogram"):
        read_size(tmp_path / "gone")


def test_a_folder_with_one_dicom_sequence_has_its_size(tmp_path):
    write_xa(tmp_path / "a.dcm", np.zeros((3, 32, 40), np.uint8), 66.7, 0.3)
    assert read_size(tmp_path) == (3, 32, 40)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"f1.png": (32, 40), "f2.png": (32, 41)}, r"one size \(H, W\), but there are \(32, 40\), \(32, 41\)"),
        ({"a.dcm": (3, 32, 40), "b.dcm": (3, 32, 40)}, "is a sequence by itself"),
        ({"a.dcm": (3, 32, 40), "f1.png": (32, 40)}, "holds both DICOM files and pictures"),
        ({"a.tif": (2, 32, 40)}, "has 2 pages"),
    ],
    ids=["two sizes", "two sequences", "DICOM and pictures", "pages"],
)
def test_the_header_of_what_cannot_be_read_is_refused_alike(tmp_path, files, message):
    for name, shape in files.items():
        if name.endswith(".dcm"):
            write_xa(tmp_path / name, np.zeros(shape, np.uint8), 66.7, 0.3)
        else:
            pages = [Image.fromarray(page) for page in np.zeros((1, *shape)[-3:], np.uint8)]
            more = {"save_all": True, "append_images": pages[1:]} if len(pages) > 1 else {}
            pages[0].save(tmp_path / name, **more)
    for read in (read_size, read_angiogram):
        with pytest.raises(ValueError, match=message):
            read(tmp_path)


def test_a_label_that_lies_elsewhere_is_refused(tmp_path):
    file = write(tmp_path, {"training": [{"image": "a.nii", "label": "a_gt.nii"}]})
    for name, affine in (("a.nii", (-1, -1, 1, 1)), ("a_gt.nii", (-1, -1, 9, 1))):
        nibabel.save(nibabel.Nifti1Image(np.zeros((40, 32, 5), np.uint8), np.diag(affine)), tmp_path / name)
    assert names(file, "training") == {"a"}  # the step between frames is no place
    nibabel.save(nibabel.Nifti1Image(np.zeros((40, 32, 5), np.uint8), np.diag([1, -1, 1, 1])), tmp_path / "a_gt.nii")
    with pytest.raises(ValueError, match=r"case 'a': .*a_gt\.nii does not lie on .*a\.nii, .* is it mirrored"):
        load_angiogram_list(file, "training")


@pytest.mark.parametrize("shape", [(40, 32), (40, 32, 1), (40, 32, 5), (40, 32, 1, 5), (40, 32, 5, 1)])
def test_a_nifti_angiogram_has_its_columns_first(tmp_path, shape):
    assert read_size(nifti(tmp_path / "a.nii", shape)) == (math.prod(shape[2:]), 32, 40)


def test_the_header_of_a_dicom_angiogram_gives_its_frames(real_data):
    assert read_size(real_data / "xa_dicom_phantom" / "IM1.dcm")[1:] == (512, 512)
    assert read_size(real_data / "xa_dicom_phantom" / "IM1.dcm").frames > 1
