"""The preview that inference writes is that of the written mask on the scan."""

import nibabel
import numpy as np
from PIL import Image

from common.loading import LoadVolumed
from common.outputs.picture import SavePreviewd
from common.preview import preview

AFFINE = np.diag([-1.0, 1.0, -1.0, 1.0])


def test_it_is_the_picture_of_the_command_line(tmp_path):
    scan, mask = np.full((30, 32, 34), -90.0, np.float32), np.zeros((30, 32, 34), np.float32)
    scan[10:14, 10:13, 5:30] = 400
    mask[10:14, 10:13, 8:30] = 1
    for name, voxels in (("scan", scan), ("mask", mask)):
        nibabel.save(nibabel.Nifti1Image(voxels, AFFINE), tmp_path / f"{name}.nii.gz")
    data = LoadVolumed(["pred"])({"pred": tmp_path / "mask.nii.gz", "case": "scan"})
    data["pred"].meta["filename_or_obj"] = str(tmp_path / "scan.nii.gz")
    SavePreviewd("pred", tmp_path / "out")(data)
    preview(str(tmp_path / "scan.nii.gz"), str(tmp_path / "mask.nii.gz"), str(tmp_path / "expected"))
    with Image.open(tmp_path / "out" / "scan_preview.png") as ours:
        assert ours.format == "PNG"
        with Image.open(tmp_path / "expected" / "scan.png") as expected:
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(expected))
