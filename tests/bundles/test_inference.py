"""Masks of CT lie on their image, whatever its format, orientation and size; every option does its part."""

import json

import nibabel
import nrrd
import numpy as np
import pytest
from monai.data import ITKReader
from pydicom import dcmread
from scipy import ndimage
from scipy.spatial.transform import Rotation

from common.grids import describe_difference, read_grid

from ..common.series import write_series
from ..conftest import CT, ROOT
from .conftest import BundleCopy, for_bundles

itk = pytest.importorskip("itk")

EVERYWHERE = np.ones((3, 3, 3))  # voxels touch at faces, edges and corners
NATIVE = [ROOT / "bundles" / "syncas_bundle"]  # for CT without contrast; the others need contrast
CONTRAST = [bundle for bundle in CT if bundle not in NATIVE]


def write_with_itk(voxels, affine, path):
    """Write RAS voxels as a file of ITK, which is in LPS, or as a DICOM series."""
    image = itk.image_from_array(np.ascontiguousarray(voxels.T))
    image.SetSpacing(np.linalg.norm(affine[:3, :3], axis=0).tolist())
    lps = np.diag([-1, -1, 1]) @ affine[:3]
    image.SetOrigin(lps[:, 3].tolist())
    image.SetDirection(lps[:, :3] / np.linalg.norm(affine[:3, :3], axis=0))
    if path.suffix:
        itk.imwrite(image, str(path))
        return
    path.mkdir()
    origin = lps[:, 3]
    orientation = "\\".join(f"{value:g}" for value in (lps[:, :2] / image.GetSpacing()[0]).T.ravel())
    for index in range(voxels.shape[2]):
        part = itk.image_from_array(np.ascontiguousarray(voxels[:, :, index : index + 1].T))
        part.SetSpacing(image.GetSpacing())
        position = origin + index * lps[:, 2]
        part.SetOrigin(position.tolist())
        part.SetDirection(image.GetDirection())
        tags = part.GetMetaDataDictionary()
        tags["0008|0060"] = "CT"
        tags["0008|0018"], tags["0020|000d"], tags["0020|000e"] = f"1.2.3.4.{index + 1}", "1.2.3", "1.2.3.4"
        tags["0020|0013"] = str(index + 1)
        tags["0020|0032"], tags["0020|0037"] = "\\".join(f"{value:.6f}" for value in position), orientation
        writer = itk.GDCMImageIO.New()
        writer.KeepOriginalUIDOn()
        itk.imwrite(part, str(path / f"{index:03d}.dcm"), imageio=writer)


def oblique(affine):
    """The affine of a gantry turned by 10 and 20 degrees."""
    turned = affine.copy()
    turned[:3, :3] = Rotation.from_euler("zx", [10, 20], degrees=True).as_matrix() @ affine[:3, :3]
    return turned


@pytest.fixture(scope="module")
def scans(hearts, tmp_path_factory):
    """One phantom, stored in many ways, and without contrast."""
    folder = tmp_path_factory.mktemp("scans")
    original = nibabel.load(hearts[3]["image"])
    voxels, affine = np.asanyarray(original.dataobj).astype(np.int16), original.affine
    nibabel.save(nibabel.Nifti1Image(voxels, affine), folder / "ras.nii.gz")
    turned = nibabel.orientations.axcodes2ornt("PIL")  # other order, other directions
    ras = nibabel.io_orientation(affine)
    nibabel.save(
        nibabel.Nifti1Image(voxels, affine).as_reoriented(nibabel.orientations.ornt_transform(ras, turned)),
        folder / "turned.nii.gz",
    )
    nibabel.save(nibabel.Nifti1Image(voxels, oblique(affine)), folder / "oblique.nii")
    for name in ("scan.nrrd", "metaimage.mha", "dicom"):
        write_with_itk(voxels, affine, folder / name)
    nibabel.save(nibabel.Nifti1Image(np.minimum(voxels, 60), affine), folder / "native.nii.gz")
    return folder


CASES = ["dicom", "metaimage", "native", "oblique", "ras", "scan", "turned"]


@pytest.fixture(scope="module", params=CT, ids=lambda path: path.name)
def masks(request, scans, tmp_path_factory):
    """What a bundle makes of the scans, by case."""
    copy = BundleCopy(request.param, tmp_path_factory.mktemp("inference"))
    threshold = copy.sparse_threshold(scans / "ras.nii.gz")
    said = (
        r"ras\.nii\.gz: this scan has contrast" if request.param in NATIVE else r"native\.nii\.gz: there is no contrast"
    )
    with pytest.warns(UserWarning, match=said):
        copy.run("run", "inference.yaml", dataset_dir=str(scans), threshold=threshold, overlap=0.0)
    return {path.name.removesuffix("_seg.nii.gz"): path for path in copy.eval.glob("*.nii.gz")}


@pytest.mark.slow
def test_every_scan_of_a_folder_gets_one_mask(masks):
    assert sorted(masks) == CASES


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_mask_lies_on_its_scan(masks, scans, case):
    scan = next(path for path in scans.iterdir() if path.name.split(".")[0] == case)
    assert describe_difference(read_grid(scan), read_grid(masks[case])) is None
    np.testing.assert_allclose(read_grid(masks[case]).affine, read_grid(scan).affine, atol=1e-3)


def ras_voxels(path):
    return np.asanyarray(nibabel.as_closest_canonical(nibabel.load(path)).dataobj)


@pytest.mark.slow
@pytest.mark.parametrize("case", ["dicom", "metaimage", "oblique", "scan", "turned"])
def test_the_way_a_scan_is_stored_does_not_change_its_mask(masks, case):
    expected = ras_voxels(masks["ras"])
    assert expected.any()
    assert not expected.all()
    np.testing.assert_array_equal(ras_voxels(masks[case]), expected)


@pytest.mark.slow
@for_bundles(CONTRAST, "masks")
def test_a_scan_without_contrast_gets_an_empty_mask(masks):
    assert not ras_voxels(masks["native"]).any()


@pytest.fixture
def piece(hearts, tmp_path):
    """A cut-out smaller than a patch."""
    image = nibabel.load(hearts[3]["image"]).slicer[20:44, 20:48, 12:36]
    nibabel.save(image, tmp_path / "piece.nii.gz")
    return tmp_path / "piece.nii.gz"


def segment(copy, piece, folder, **options):
    """Segment ``piece``; return the voxels of what was written, by kind."""
    options = {"require_contrast": False, "overlap": 0.0, "min_volume_mm3": 0, **options}
    copy.run("run", "inference.yaml", image=str(piece), output_dir=str(copy.root / folder), **options)
    kinds = {path.name.removesuffix(".nii.gz").split("_")[1]: path for path in (copy.root / folder).glob("*.nii.gz")}
    for path in kinds.values():
        assert describe_difference(read_grid(piece), read_grid(path)) is None
    return {kind: np.asanyarray(nibabel.load(path).dataobj) for kind, path in kinds.items()}


@pytest.mark.slow
@for_bundles(CT)
def test_the_options_of_inference_do_what_they_say(copy, piece):
    plain = segment(copy, piece, "plain", save_probability=True)
    threshold = float(np.quantile(plain["prob"], 0.8))
    seg = segment(copy, piece, "seg", threshold=threshold)
    assert sorted(plain) == ["prob", "seg"]
    assert sorted(seg) == ["seg"]
    assert plain["prob"].dtype == np.float32
    assert plain["prob"].min() >= 0
    assert plain["prob"].max() <= 1
    np.testing.assert_array_equal(seg["seg"], plain["prob"] >= threshold)

    components = ndimage.label(seg["seg"], EVERYWHERE)[0]
    sizes = np.sort(np.bincount(components[components > 0]))[::-1]
    largest = segment(copy, piece, "largest", threshold=threshold, keep_largest_k=2)["seg"]
    assert ndimage.label(largest, EVERYWHERE)[1] == 2
    assert largest.sum() == sizes[:2].sum()

    mirrored = segment(copy, piece, "mirrored", save_probability=True, mirror_axes=[0, 1])
    spread = np.ptp(plain["prob"])
    assert not np.allclose(mirrored["prob"], plain["prob"], rtol=0, atol=0.01 * spread)
    flipped = piece.with_name("flipped.nii.gz")
    image = nibabel.load(piece)
    nibabel.save(nibabel.Nifti1Image(np.asanyarray(image.dataobj)[::-1, ::-1], image.affine), flipped)
    again = segment(copy, flipped, "flipped", save_probability=True, mirror_axes=[0, 1])
    np.testing.assert_allclose(again["prob"][::-1, ::-1], mirrored["prob"], rtol=0, atol=1e-3 * spread)


@pytest.mark.slow
@for_bundles([ROOT / "bundles" / "casnet_bundle"])
def test_the_union_of_windows_is_a_decision(copy, piece):
    union = segment(copy, piece, "union", save_probability=True, blend="union", overlap=0.75, patch_size=[16, 16, 16])
    assert set(np.unique(union["prob"])) <= {0, 1}


@pytest.mark.slow
@for_bundles(CT)
def test_each_switch_writes_one_more_output_of_the_same_mask(copy, piece):
    image = nibabel.load(piece)
    series = write_series(piece.parent / "series", np.asanyarray(image.dataobj), oblique(image.affine))
    switches = {"save_slicer": True, "save_dicom_seg": True, "save_surface": ["stl", "vtp"], "save_preview": True}
    options = {"require_contrast": False, "overlap": 0.0, "threshold": copy.sparse_threshold(piece)}
    copy.run("run", "inference.yaml", image=str(series), min_volume_mm3=0, **options, **switches)
    mask = nibabel.load(copy.eval / "series_seg.nii.gz")
    names = {path.name for path in copy.eval.glob("series*")} - {"series_guidance.json"}
    assert names == {
        *("series_seg.nii.gz", "series.json", "series.seg.nrrd", "series_seg.dcm", "series_preview.png"),
        *("series_surface.stl", "series_surface.vtp"),
    }
    voxels = np.asanyarray(mask.dataobj)
    assert voxels.any()
    np.testing.assert_array_equal(nrrd.read(str(copy.eval / "series.seg.nrrd"))[0], voxels)
    assert describe_difference(read_grid(series), read_grid(copy.eval / "series.seg.nrrd")) is None
    seg = dcmread(copy.eval / "series_seg.dcm")
    assert seg.pixel_array.sum() == voxels.sum()
    assert seg.ManufacturerModelName == json.loads((copy.root / "configs" / "metadata.json").read_text())["name"]


def mask_of_native_series(copy, real_data, said):
    """Segment a real series without contrast, whose slices are 8 mm thick; return the mask."""
    series = real_data / "ct_noncontrast" / "A0002_8mm_B40f"
    with pytest.warns(UserWarning, match=said):
        copy.run("run", "inference.yaml", image=str(series), spacing=[6, 6, 6], overlap=0.0)
    mask = nibabel.load(copy.eval / "A0002_8mm_B40f_seg.nii.gz")
    header = ITKReader().get_data(ITKReader().read(str(series)))[1]
    assert mask.shape == tuple(header["spatial_shape"])
    return np.asanyarray(mask.dataobj)


@pytest.mark.slow
@for_bundles(CONTRAST)
def test_a_real_native_series_leads_to_a_warning_and_an_empty_mask(copy, real_data):
    assert not mask_of_native_series(copy, real_data, "there is no contrast-filled heart").any()


@pytest.mark.slow
@for_bundles(NATIVE)
def test_the_thick_slices_of_a_real_native_series_are_named_and_a_mask_is_written(copy, real_data):
    mask = mask_of_native_series(copy, real_data, r"slices of 8 mm, vessels under 3\.0 mm cannot be seen")
    assert set(np.unique(mask)) <= {0, 1}


@pytest.mark.slow
@for_bundles(CT)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_a_real_contrast_scan_gets_a_mask_on_its_grid(copy, real_data):
    scan = real_data / "cta_heart" / "aorta_case" / "ct_cropped.nii.gz"
    copy.run("run", "inference.yaml", image=str(scan), spacing=[3, 3, 3], overlap=0.0)
    assert describe_difference(read_grid(scan), read_grid(copy.eval / "ct_cropped_seg.nii.gz")) is None
