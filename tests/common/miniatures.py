"""Data sets of a few voxels in each of the layouts that CTs come in."""

import json

import itk
import nibabel
import numpy as np
from openpyxl import Workbook

SHAPE = (14, 12, 10)
AFFINE = np.array([[0.5, 0, 0, -20], [0, 0.5, 0, 30], [0, 0, 0.6, 5], [0, 0, 0, 1.0]])  # RAS
VESSEL = (slice(3, 5), slice(4, 6), slice(1, 9))  # along the third axis


def hounsfield(seed=0):
    """A scan of muscle with noise, air at its border, and one vessel with contrast."""
    voxels = np.random.default_rng(seed).normal(50, 10, SHAPE)
    voxels[0] = -1000
    voxels[VESSEL] = 400
    return voxels.astype(np.int16)


def mask():
    found = np.zeros(SHAPE, np.uint8)
    found[VESSEL] = 1
    return found


def write(path, voxels, affine=AFFINE):
    """Write NIfTI, or what ITK writes by the suffix, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith((".nii.gz", ".nii")):
        nibabel.Nifti1Image(voxels, affine).to_filename(path)
        return path
    image = itk.image_from_array(np.ascontiguousarray(voxels.T))
    image.SetSpacing(np.diag(affine)[:3].tolist())
    image.SetOrigin((affine[:3, 3] * [-1, -1, 1]).tolist())  # LPS, with the direction left as it is: right becomes left
    itk.imwrite(image, str(path))
    return path


def middle_mm(affine=AFFINE):
    """Points along the middle of the vessel, RAS mm, ``(7, 3)``."""
    voxels = np.array([[3.5, 4.5, z] for z in np.linspace(1, 8, 7)])
    return voxels @ affine[:3, :3].T + affine[:3, 3]


def centerline(path, points=None, frame="RAS"):
    """Write our JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    points = middle_mm() if points is None else points
    branch = {"points": points.tolist(), "radius_mm": [0.5] * len(points), "label": 2, "parent": -1, "parent_point": -1}
    path.write_text(json.dumps({"frame": frame, "unit": "mm", "branches": [branch]}))
    return path


def imagecas(root, cases=6, sheets=("v1", "v2-latest")):
    """Groups as Kaggle has them, and the workbook of the splits."""
    for n in range(1, cases + 1):
        folder = root / ("1-200" if n <= 4 else "201-400")
        write(folder / f"{n}.img.nii.gz", hounsfield(n))
        write(folder / f"{n}.label.nii.gz", mask())
    book = Workbook()
    book.remove(book.active)
    for name in sheets:
        sheet, first = book.create_sheet(name), {"v1": 10016975, "v2-latest": 1}[name]  # by patient, by number
        sheet.append([None, "ImageCAS"])
        sheet.append(["FileName", "Split-1", "Split-2"])
        for n in range(cases):
            sheet.append([first + n, ("Training", "Val", "Testing")[n % 3], ("Testing", "Training")[n % 2]])
    book.save(root / "imageCAS_data_split.xlsx")


def imagecas_by_patient(root):
    for name in ("10016975", "10016975(1)", "10017031"):
        write(root / name / "img.nii.gz", hounsfield(len(name)))
        write(root / name / "label.nii.gz", mask())


def imagecas_x(root):
    for n in (1, 2, 3, 4):
        write(root / "volumes" / f"{n}.img.nii.gz", hounsfield(n))
        write(root / "segmentations" / f"{n}.coronary.nii.gz", mask() * np.uint8(1 + n))
    for part, names in {"train": "1\n4\n", "val": "2\n", "test": "3", "exclude": "4\n"}.items():
        (root / "filelist").mkdir(exist_ok=True)
        (root / "filelist" / f"{part}.txt").write_text(names)
    return root


def asoca(root):
    for group in ("Normal", "Diseased"):
        for n in range(1, 6):
            write(root / group / "CTCA" / f"{group}_{n}.nrrd", hounsfield(n))
            write(root / group / "Annotations" / f"{group}_{n}.nrrd", mask())
        write(root / group / f"Testset_{group}" / "0.nrrd", hounsfield(9))


def cat08(root):
    for n in range(3):
        write(root / f"dataset0{n}" / f"image0{n}.mhd", hounsfield(n))
        for vessel in range(2):
            file = root / f"dataset0{n}" / f"vessel{vessel}" / "reference.txt"
            file.parent.mkdir(exist_ok=True)
            if n < 2:  # the last scan is of the test, without reference
                scan_lps = np.array([[3.5, 4.5, z] for z in np.linspace(1, 8, 7)]) * [0.5, 0.5, 0.6] + [20, -30, 5]
                file.write_text("\n".join(" ".join(map(str, [*point, 0.5, 0.1])) for point in scan_lps))


def totalsegmentator(root):
    for n in range(3):
        write(root / f"s000{n}" / "ct.nii.gz", hounsfield(n))
        for name in ("coronary_arteries", "heart_atrium_left", "liver"):
            write(root / f"s000{n}" / "segmentations" / f"{name}.nii.gz", mask())
    (root / "s0002" / "segmentations" / "coronary_arteries.nii.gz").unlink()
    (root / "meta.csv").write_text("image_id;age;split\ns0000;50;train\ns0001;60;test\ns0002;70;val\n")


def nnunet(root):
    for n in range(4):
        write(root / "imagesTr" / f"heart_{n}_0000.nii.gz", hounsfield(n))
        write(root / "labelsTr" / f"heart_{n}.nii.gz", mask())
    write(root / "imagesTs" / "heart_9_0000.nii.gz", hounsfield(9))
    write(root / "labelsTs" / "heart_9.nii.gz", mask())
    write(root / "imagesTs" / "heart_8_0000.nii.gz", hounsfield(8))
    names = [f"heart_{n}" for n in range(4)]
    folds = [{"train": names[2:], "val": names[:2]}, {"train": names[:2], "val": names[2:]}]
    (root / "splits_final.json").write_text(json.dumps(folds))
    (root / "dataset.json").write_text("{}")


def pairs(root):
    for n in range(3):
        write(root / "images" / f"{n}.nii.gz", hounsfield(n))
        write(root / "labels" / f"{n}_seg.nii.gz", mask())
        centerline(root / "centerlines" / f"{n}.json")


def side_by_side(root):
    for n in range(3):
        write(root / f"{n}_img.nrrd", hounsfield(n))
        write(root / f"{n}_label.nrrd", mask())


KINDS = {
    "imagecas": imagecas,
    "imagecas by patient": imagecas_by_patient,
    "imagecas-x": imagecas_x,
    "asoca": asoca,
    "cat08": cat08,
    "totalsegmentator": totalsegmentator,
    "nnunet": nnunet,
    "pairs": pairs,
    "pairs side by side": side_by_side,
}
