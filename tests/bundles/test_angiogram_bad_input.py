"""What a user gets wrong with angiograms ends with a message that names it; odd but right images get a mask."""

import json

import nibabel
import numpy as np
import pytest
from PIL import Image

from common.phantom.xca.dicom import write_xa

from ..conftest import XCA
from .conftest import for_bundles, write_list
from .test_bad_input import refusal

xca = for_bundles(XCA)


def noise(*shape):
    return np.random.default_rng(0).integers(1, 256, shape, dtype=np.uint8)


def stills(folder, image, mask):
    """A data list of one PNG and its mask in every section; return its folder."""
    folder.mkdir()
    for name in "012":
        Image.fromarray(image).save(folder / f"{name}.png")
        Image.fromarray(mask).save(folder / f"{name}_mask.png")
    entries = [{"image": f"{name}.png", "label": f"{name}_mask.png"} for name in "012"]
    return write_list(folder, training=entries[:1], validation=entries[1:2], test=entries[2:]).parent


def segment(copy, source, **options):
    copy.run("run", "inference.yaml", image=str(source), **options)
    return sorted(path.name for path in copy.eval.iterdir() if "_seg" in path.name)


def failure(copy, source, **options):
    """Segment what must be refused; return what the exceptions say."""
    return refusal(copy, "inference", source.parent, image=str(source), dataset_dir="unused", **options)


@xca
def test_a_picture_of_unequal_colours_is_refused(copy, tmp_path):
    Image.fromarray(noise(64, 64, 3)).save(tmp_path / "colour.png")
    assert "colour.png" in (message := failure(copy, tmp_path / "colour.png"))
    assert "channels" in message


@xca
def test_a_folder_that_mixes_grey_and_equal_colours_is_one_sequence(copy, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        frame = noise(64, 64)
        frame = np.stack([frame] * 3, -1) if number == 1 else frame
        Image.fromarray(frame).save(folder / f"{number}.png")
    assert segment(copy, folder) == ["frames_seg"]
    assert sorted(path.name for path in (copy.eval / "frames_seg").iterdir()) == ["0.png", "1.png", "2.png"]


@xca
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("shape", [(45, 71), (300, 299)], ids=str)
def test_a_still_of_odd_size_gets_a_mask_of_its_size(copy, tmp_path, shape):
    Image.fromarray(noise(*shape)).save(tmp_path / "odd.png")
    assert segment(copy, tmp_path / "odd.png") == ["odd_seg.png"]
    mask = np.asarray(Image.open(copy.eval / "odd_seg.png"))
    assert mask.shape == shape
    assert set(np.unique(mask)) <= {0, 255}


@xca
def test_a_truncated_dicom_file_is_named(copy, tmp_path):
    path = tmp_path / "cut.dcm"
    write_xa(path, noise(3, 64, 64), frame_ms=66.7, pixel_mm=0.3)
    path.write_bytes(path.read_bytes()[:-5000])
    assert "cut.dcm" in failure(copy, path)


@xca
def test_every_frame_of_a_dicom_file_gets_a_mask_on_its_pixels(copy, tmp_path):
    write_xa(tmp_path / "cine.dcm", noise(5, 64, 96), frame_ms=66.7, pixel_mm=0.3)
    assert segment(copy, tmp_path / "cine.dcm") == ["cine_seg.nii.gz"]
    mask = nibabel.load(copy.eval / "cine_seg.nii.gz")
    assert mask.shape == (96, 64, 5)
    np.testing.assert_allclose(np.abs(np.diag(mask.affine))[:2], 0.3, atol=1e-6)


@xca
@pytest.mark.parametrize("config", ["train", "evaluate"])
def test_a_mask_of_another_size_is_named(copy, tmp_path, config):
    folder = stills(tmp_path / "data", noise(64, 64), np.zeros((64, 60), np.uint8))
    message = refusal(copy, config, folder)
    assert "_mask.png" in message
    assert "label of" in message


@xca
def test_an_image_that_is_black_all_over_is_named(copy, tmp_path):
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(tmp_path / "black.png")
    assert "black.png" in failure(copy, tmp_path / "black.png")


@xca
def test_a_black_frame_of_a_sequence_is_a_warning(copy, tmp_path):
    frames = noise(64, 64, 4)
    frames[..., 2] = 0
    nibabel.save(nibabel.Nifti1Image(frames, np.diag([-1, -1, 1, 1])), tmp_path / "gap.nii.gz")
    with pytest.warns(UserWarning, match=r"gap\.nii\.gz.*frame"):
        assert segment(copy, tmp_path / "gap.nii.gz") == ["gap_seg.nii.gz"]


@for_bundles([path for path in XCA if path.name == "svsnet_bundle"])
def test_a_sequence_of_one_frame_is_a_warning(copy, tmp_path):
    Image.fromarray(noise(64, 64)).save(tmp_path / "one.png")
    with pytest.warns(UserWarning, match="one frame"):
        assert segment(copy, tmp_path / "one.png") == ["one_seg.png"]


@xca
def test_a_fold_that_the_list_does_not_know_is_named(copy, tmp_path):
    folder = stills(tmp_path / "data", noise(64, 64), np.zeros((64, 64), np.uint8))
    lists = json.loads((folder / "dataset.json").read_text())
    entries = [entry | {"fold": fold} for fold, section in enumerate(lists.values()) for entry in section]
    write_list(folder, training=entries)
    assert "fold must be one of those" in refusal(copy, "evaluate", folder, fold=7)
