"""What an image is follows from its header and values; what is not clear is refused with what was measured."""

from pathlib import Path
from tempfile import TemporaryDirectory

import nibabel
import numpy as np
import pytest
from PIL import Image

from common.phantom.dataset import write_dataset
from common.segmenting.recognise import CHOICES, recognise
from common.segmenting.series import find_image

from ..conftest import ROOT
from .dicom_studies import write_series
from .test_angiogram_dicom import write_xa

EDGE_MM = 4.0
SHAPE = (80, 65, 75)  # 320 x 260 x 300 mm


def ellipsoid(center, radii):
    axes = np.ogrid[tuple(slice(0, side) for side in SHAPE)]
    return sum(((axis * EDGE_MM - at) / radius) ** 2 for axis, at, radius in zip(axes, center, radii, strict=True)) < 1


def chest(blood_hu):
    """A chest of two lungs with a heart between them, in voxels of 4 mm, whose blood has ``blood_hu``."""
    volume = np.full(SHAPE, -1000.0, np.float32)
    volume[ellipsoid((160, 130, 150), (150, 115, 400))] = 50
    for side in (85, 235):
        volume[ellipsoid((side, 130, 150), (55, 90, 140))] = -850
    volume[ellipsoid((150, 150, 140), (55, 50, 60))] = 60
    volume[ellipsoid((150, 150, 140), (40, 35, 45))] = blood_hu
    return volume


def belly():
    """A body without lungs and without anything bright."""
    volume = np.full(SHAPE, -1000.0, np.float32)
    volume[ellipsoid((160, 130, 150), (150, 115, 400))] = 50
    return volume


def write_nifti(path, voxels, dtype=np.int16):
    nibabel.save(nibabel.Nifti1Image(voxels.astype(dtype), np.diag([EDGE_MM] * 3 + [1])), path)
    return path


def recognised(path):
    with TemporaryDirectory() as links:
        found = find_image(path, None, Path(links))
        return recognise(found.path, found.header)


@pytest.fixture
def noise():
    return np.random.default_rng(0).integers(0, 256, (5, 40, 48), np.uint8)


# --- CT --------------------------------------------------------------------------------------------------------------


def test_contrast_is_seen_in_the_blood(tmp_path):
    result = recognised(write_nifti(tmp_path / "scan.nii.gz", chest(420)))
    assert result.kind == "contrast CT"
    assert result.reasons == (
        "It is a volume of 80 x 65 x 75 voxels.",
        "Its values go from -1000 to 420, as Hounsfield units do.",
        "The blood in the heart has 420 HU; without contrast agent it has 30 to 50.",
    )
    assert result.bundle == "centerline_unet_bundle"
    assert result.alternatives == ("casnet_bundle",)


def test_little_contrast_is_contrast_with_a_warning(tmp_path):
    result = recognised(write_nifti(tmp_path / "scan.nii.gz", chest(200)))
    assert result.kind == "contrast CT"
    assert "has 200 HU; without contrast agent it has 30 to 50. That is little" in result.reasons[-1]


def test_a_heart_without_bright_blood_has_no_contrast(tmp_path):
    result = recognised(write_nifti(tmp_path / "scan.nii.gz", chest(40)))
    assert (result.kind, result.bundle) == ("non-contrast CT", "syncas_bundle")
    assert result.reasons[-1].endswith("no chamber above 150 HU: no contrast agent.")


@pytest.mark.parametrize(("blood_hu", "kind"), [(420, "contrast CT"), (40, "non-contrast CT")])
def test_the_values_decide_also_where_the_header_says_otherwise(tmp_path, blood_hu, kind):
    agent = {"ContrastBolusAgent": "Iomeprol"} if blood_hu < 150 else {}
    volume = chest(blood_hu).transpose(2, 1, 0)[:, ::-1]
    write_series(tmp_path, volume, EDGE_MM, (EDGE_MM, EDGE_MM), **agent)
    result = recognised(tmp_path)
    assert result.kind == kind
    said = "names the contrast agent Iomeprol" if agent else "names no contrast agent"
    assert result.reasons[0] == f"The DICOM header says modality CT (computed tomography) and {said}."


@pytest.mark.parametrize(
    ("voxels", "reason"),
    [
        (belly(), "no heart was found in this CT: no chamber above 150 HU, and no soft tissue between"),
        (chest(40) + 1024, "values from 24 to 1084 are no Hounsfield units .* 1000 or 1024 was added"),
        (chest(40) > 0, "values from 0 to 1 are no Hounsfield units .* it may be a mask, an MR"),
        (chest(40)[:, :, 30], "two axes, 80 x 65, so it may be an angiogram"),
    ],
    ids=["no heart", "shifted", "mask", "two axes"],
)
def test_a_volume_that_may_be_anything_is_refused_and_the_bundles_are_named(tmp_path, voxels, reason):
    path = write_nifti(tmp_path / "scan.nii.gz", voxels)
    with pytest.raises(ValueError, match=rf"{path}: .*{reason}.*--bundle, one of: casnet_bundle, .*syncas_bundle"):
        recognised(path)


def test_a_bright_belly_of_another_size_is_no_heart(tmp_path):
    volume = chest(40)
    volume[ellipsoid((160, 130, 150), (23, 23, 23))] = 300
    with pytest.raises(ValueError, match=r"what is bright \(\d+ HU\) has not the size of a heart"):
        recognised(write_nifti(tmp_path / "scan.nii.gz", volume))


def test_voxels_that_are_no_numbers_are_refused(tmp_path):
    volume = chest(420)
    volume[3, 3, 3] = np.nan
    with pytest.raises(ValueError, match="1 voxels are NaN or infinite"):
        recognised(write_nifti(tmp_path / "scan.nii.gz", volume, np.float32))


def test_several_volumes_in_a_file_are_refused(tmp_path):
    with pytest.raises(ValueError, match="holds 3 volumes, 20 x 20 x 20 x 3: save the phase"):
        recognised(write_nifti(tmp_path / "scan.nii.gz", np.zeros((20, 20, 20, 3))))


def test_colours_in_a_volume_are_refused(tmp_path):
    colour = np.zeros((4, 4, 4), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colour, np.eye(4)), tmp_path / "scan.nii")
    with pytest.raises(ValueError, match="holds colours"):
        recognised(tmp_path / "scan.nii")


# --- X-ray -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("frames", "kind"), [(1, "X-ray still"), (5, "X-ray sequence")])
def test_the_frames_of_a_dicom_run_decide(tmp_path, noise, frames, kind):
    result = recognised(write_xa(tmp_path / "run", noise[:frames]))
    assert result.kind == kind
    assert result.reasons[0] == "The DICOM header says modality XA (X-ray angiography)."
    assert f"{frames} frame" in result.reasons[1]


def test_a_picture_is_a_still_and_numbered_pictures_are_a_sequence(tmp_path, noise):
    for number, frame in enumerate(noise):
        Image.fromarray(frame).save(tmp_path / f"f{number}.png")
    assert recognised(tmp_path / "f0.png").bundle == "casrnet_bundle"
    assert recognised(tmp_path).bundle == "svsnet_bundle"


def test_a_nifti_file_with_a_time_axis_is_a_sequence(tmp_path, noise):
    path = write_nifti(tmp_path / "run.nii.gz", noise.transpose(2, 1, 0)[:, :, None], np.uint8)
    assert recognised(path).reasons == ("It is a NIfTI file of 48 x 40 x 1 x 5 with a time axis: 5 frames.",)


def test_an_eight_bit_volume_may_be_a_sequence_or_a_windowed_ct(tmp_path, noise):
    path = write_nifti(tmp_path / "run.nii.gz", noise.transpose(2, 1, 0), np.uint8)
    with pytest.raises(ValueError, match=r"frames of an X-ray sequence \(svsnet_bundle\)"):
        recognised(path)


def test_a_photograph_a_mask_and_a_document_are_refused(tmp_path, noise):
    Image.fromarray(np.stack([noise[0], noise[1], noise[2]], -1)).save(tmp_path / "photograph.png")
    Image.fromarray((noise[0] > 128) * np.uint8(255)).save(tmp_path / "mask.png")
    (tmp_path / "report.pdf").write_bytes(b"%PDF-1.7")
    for name, reason in [
        ("photograph.png", "is a colour image"),
        ("mask.png", "only the values 0, 255, as a mask has"),
        ("report.pdf", "is no image that is known here"),
    ]:
        with pytest.raises(ValueError, match=f"{name}.*{reason}"):
            recognised(tmp_path / name)


@pytest.mark.parametrize("modality", ["MR", "US", "DX"])
def test_another_modality_is_refused_by_its_name(tmp_path, noise, modality):
    path = write_xa(tmp_path / "run.dcm", noise, Modality=modality)
    with pytest.raises(ValueError, match=f"header says modality {modality}, which is neither CT nor X-ray angiography"):
        recognised(path)


def test_a_ct_in_one_file_of_many_frames_is_refused_with_a_cure(tmp_path, noise):
    path = write_xa(tmp_path / "run.dcm", noise, Modality="CT")
    with pytest.raises(ValueError, match="convert it to NIfTI"):
        recognised(path)


# --- what is chosen --------------------------------------------------------------------------------------------------


def test_every_bundle_that_is_named_exists_and_every_one_is_named():
    named = {name for bundle, others, _ in CHOICES.values() for name in (bundle, *others)}
    assert named == {path.name for path in (ROOT / "bundles").iterdir()}


def test_for_contrast_ct_the_bundle_with_the_better_figures_of_the_readme_is_taken():
    rows = [line.split("|") for line in (ROOT / "README.md").read_text("utf-8").splitlines() if "first 10" in line]
    dice = {row[1].strip(): float(row[3].split()[0]) for row in rows if len(row) > 3}
    assert dice["centerline U-Net"] > dice["CAS-Net"]


# --- phantoms and real images ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("modality", "kind"), [("ccta", "contrast CT"), ("ncct", "non-contrast CT")])
def test_phantoms_are_recognised(tmp_path, modality, kind):
    write_dataset(tmp_path, cases=1, seed=5, modality=modality, validation=0, test=1)
    assert recognised(next((tmp_path / "images").iterdir())).kind == kind


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("cta_heart/aorta_case/ct_cropped.nii.gz", "contrast CT"),
        ("cta_heart/pulmonary_case/ct_cropped.nii.gz", "contrast CT"),
        ("ct_noncontrast", "non-contrast CT"),
        ("xca_cimat80/images/test02.png", "X-ray still"),
        ("xca_sequence", "X-ray sequence"),
        ("xa_dicom_phantom/IM1.dcm", "X-ray sequence"),
    ],
)
def test_real_images_are_recognised(real_data, path, kind):
    assert recognised(real_data / path).kind == kind
