"""Every output lies where its input lies, to a ten-thousandth of a millimetre, as another library reads it."""

import nibabel
import nrrd
import numpy as np
import pytest
from monai.transforms import Compose, Invertd, Orientationd, Spacingd
from pydicom import dcmread
from scipy.spatial.transform import Rotation
from vtkmodules.util.numpy_support import vtk_to_numpy
from vtkmodules.vtkIOGeometry import vtkSTLReader
from vtkmodules.vtkIOXML import vtkXMLPolyDataReader

from common.loading import LoadVolumed
from common.outputs.dicom_seg import SaveDicomSegd
from common.outputs.slicer import SaveSlicerd
from common.outputs.surface import SaveSurfaced
from common.saving import SaveMaskd

from ..conftest import ROOT
from .series import LPS, write_series

itk = pytest.importorskip("itk")

SHAPE = (13, 15, 11)
TURN = Rotation.from_euler("zyx", [20, -10, 35], degrees=True).as_matrix()
EXACT_MM = 1e-4
LONE = 10  # from this index on along X the mask has a single voxel
METADATA = ROOT / "bundles" / "casnet_bundle" / "configs" / "metadata.json"


def affine_of(axes):
    affine = np.eye(4)
    affine[:3, :3] = axes
    affine[:3, 3] = [-31.7, 20.4, 7.3]
    return affine


WORST = "oblique, flipped and anisotropic"
AFFINES = {  # voxel to RAS
    "straight": affine_of(np.diag([0.7, 0.7, 0.7])),
    "anisotropic": affine_of(np.diag([0.4, 0.45, 1.5])),
    "flipped": affine_of(np.diag([-0.7, 0.7, -0.7])),
    "mirrored": affine_of(np.diag([0.7, 0.7, -0.7])),
    "turned": affine_of(np.array([[0, 0, -0.9], [0.5, 0, 0], [0, 0.6, 0]])),
    "oblique": affine_of(0.7 * TURN),
    WORST: affine_of(TURN @ np.diag([0.4, -0.5, 1.2])),
}


def voxels_of_a_mask():
    """No symmetry: a wrong order or direction of axes shows."""
    mask = np.zeros(SHAPE, np.float32)
    mask[2:5, 3:11, 4:8] = mask[4:9, 3:5, 6] = mask[10, 12, 2] = 1
    return mask


def world(mask, affine):
    """RAS points of the voxels of a mask, sorted."""
    return in_order(np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3])


def in_order(points):
    return points[np.lexsort(np.round(points, 2).T)]


def write_scan(path, affine):
    """Write the mask as if it were a scan, in the format of the suffix; without one, as a DICOM series."""
    voxels = voxels_of_a_mask()
    if path.suffix == ".gz":
        nibabel.save(nibabel.Nifti1Image(voxels, affine), path)
    elif path.suffix:
        image = itk.image_from_array(np.ascontiguousarray(voxels.T))
        lps, spacing = LPS @ affine[:3], np.linalg.norm(affine[:3, :3], axis=0)
        image.SetSpacing(spacing.tolist())
        image.SetOrigin(lps[:, 3].tolist())
        image.SetDirection(lps[:, :3] / spacing)
        itk.imwrite(image, str(path))
    else:
        write_series(path, voxels, affine)
    return path


def through_inference(path):
    """What stands under ``pred`` after loading, turning, resampling and their inverse."""
    keys = {"keys": "image"}
    before = Compose(
        [LoadVolumed("image"), Orientationd(**keys, axcodes="RAS", labels=None), Spacingd(**keys, pixdim=0.35)]
    )
    data = before({"image": str(path), "case": "c"})
    data["pred"] = data["image"].clone()
    data = Invertd("pred", before, "image", nearest_interp=False)(data)
    data["pred"] = (data["pred"] > 0.5).float()
    return data


def on_the_scan(data, path):
    """Replace the resampled mask by the exact one of the scan: resampling blurs its edges."""
    data["pred"].set_array(LoadVolumed("x")({"x": path})["x"].array)
    return data


@pytest.mark.parametrize("affine", AFFINES.values(), ids=AFFINES)
def test_inference_gives_back_the_grid_of_the_scan(tmp_path, affine):
    path = write_scan(tmp_path / "scan.nii.gz", affine)
    pred = through_inference(path)["pred"]
    np.testing.assert_allclose(pred.affine, nibabel.load(path).affine, atol=1e-6)
    blurred, exact = pred.numpy()[0] > 0.5, voxels_of_a_mask() > 0
    assert (blurred != exact).sum() < 0.2 * exact.sum()


SCANS = {name: (affine, "scan.nii.gz") for name, affine in AFFINES.items()} | {
    f"{name}, {file}": (AFFINES[name], file)
    for name, file in [("mirrored", "series"), *((WORST, file) for file in ("scan.nrrd", "series"))]
}


@pytest.fixture(scope="module", params=SCANS.values(), ids=SCANS)
def outputs(request, tmp_path_factory):
    """The folder of what is written for a scan, and where the scan's mask lies."""
    affine, name = request.param
    folder = tmp_path_factory.mktemp("outputs")
    path = write_scan(folder / name, affine)
    data = on_the_scan(through_inference(path), path)
    SaveMaskd("pred", folder)(data)
    SaveSlicerd("pred", folder)(data)
    data["pred"][:, :LONE] = 0  # the surface of a single voxel has its centre in the middle
    SaveSurfaced("pred", folder, formats=["stl", "vtp"])(data)
    return folder, affine


def test_nifti_is_exact_for_itk(outputs):
    folder, affine = outputs
    image = itk.imread(str(folder / "c_seg.nii.gz"))
    indices = np.argwhere(itk.array_view_from_image(image).T)
    points = np.array([image.TransformIndexToPhysicalPoint(index.tolist()) for index in indices])
    np.testing.assert_allclose(in_order(points @ LPS), world(voxels_of_a_mask(), affine), atol=EXACT_MM)


def test_the_segmentation_of_slicer_is_exact_for_pynrrd(outputs):
    folder, affine = outputs
    voxels, header = nrrd.read(str(folder / "c.seg.nrrd"))
    read = np.eye(4)
    read[:3] = LPS @ np.column_stack([header["space directions"].T, header["space origin"]])
    np.testing.assert_allclose(world(voxels, read), world(voxels_of_a_mask(), affine), atol=EXACT_MM)


@pytest.mark.parametrize("reader", [vtkSTLReader, vtkXMLPolyDataReader], ids=["stl", "vtp"])
def test_the_surface_is_exact_for_vtk(outputs, reader):
    folder, affine = outputs
    read = reader()
    read.SetFileName(str(folder / f"c_surface.{'stl' if reader is vtkSTLReader else 'vtp'}"))
    read.Update()
    points = vtk_to_numpy(read.GetOutput().GetPoints().GetData())
    lone = voxels_of_a_mask()
    lone[:LONE] = 0
    np.testing.assert_allclose(points.mean(axis=0) @ LPS, world(lone, affine)[0], atol=EXACT_MM)


def dicom_world(path):
    """RAS points of the voxels of a DICOM segmentation, from its frames' own positions."""
    seg = dcmread(path)
    shared = seg.SharedFunctionalGroupsSequence[0]
    row, column = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    down, across = map(float, shared.PixelMeasuresSequence[0].PixelSpacing)
    points = []
    for frame, item in zip(seg.pixel_array, seg.PerFrameFunctionalGroupsSequence, strict=True):
        corner = np.asarray(item.PlanePositionSequence[0].ImagePositionPatient, float)
        points += [corner + x * across * row + y * down * column for y, x in np.argwhere(frame)]
    return in_order(np.array(points) @ LPS)


ASCENDING = list(range(SHAPE[2]))
FILES = {name: (affine, ASCENDING) for name, affine in AFFINES.items()} | {
    f"{WORST}, descending": (AFFINES[WORST], ASCENDING[::-1]),
    f"{WORST}, shuffled": (AFFINES[WORST], [7 * k % SHAPE[2] for k in ASCENDING]),
}


@pytest.mark.parametrize(("affine", "names"), FILES.values(), ids=FILES)
def test_the_dicom_segmentation_is_exact_for_pydicom_whatever_the_order_of_files(tmp_path, affine, names):
    path = write_series(tmp_path / "series", voxels_of_a_mask(), affine, names)
    SaveDicomSegd("pred", tmp_path, METADATA)(on_the_scan(through_inference(path), path))
    np.testing.assert_allclose(dicom_world(tmp_path / "c_seg.dcm"), world(voxels_of_a_mask(), affine), atol=EXACT_MM)
