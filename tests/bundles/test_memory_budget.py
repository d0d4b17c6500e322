"""No inference of CT takes more memory than it was given: the high-water mark of its process says so."""

import re
import subprocess
import sys

import nibabel
import numpy as np
import pytest

from ..conftest import CT, ROOT

MEASURED = """
import sys
from monai.bundle import run

run("run", config_file=sys.argv[1], **eval(sys.argv[2]))
status = open("/proc/self/status").read()
print("peak", int(status.split("VmHWM:")[1].split()[0]) * 1024)
"""
SHAPES = {  # voxels of 0.25 mm: one or two windows of the network
    "casnet_bundle": (330, 320, 260),
    "centerline_unet_bundle": (400, 400, 300),
    "syncas_bundle": (330, 320, 260),
}


@pytest.fixture
def scans(bundle, tmp_path):
    """Two scans of soft tissue and air, finer than the network's grid."""
    voxels = np.random.default_rng(0).normal(40, 15, SHAPES[bundle.name]).astype(np.int16)
    voxels[:20] = -1000
    folder = tmp_path / "scans"
    folder.mkdir()
    for name in "ab":
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([0.25, 0.25, 0.25, 1])), folder / f"{name}.nii.gz")
    return folder


def infer(bundle, scans, out, **options):
    """Run inference as it is shipped; return its exit status, what it said, and the most bytes that it held."""
    options |= {"bundle_root": str(bundle), "dataset_dir": str(scans), "output_dir": str(out), "logging_file": False}
    config = str(bundle / "configs" / "inference.yaml")
    process = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", MEASURED, config, repr(options)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        timeout=400,
    )
    peak = re.search(r"peak (\d+)", process.stdout)
    return process.returncode, process.stdout, int(peak[1]) if peak else None


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the memory of a process")
@pytest.mark.parametrize("bundle", CT, ids=lambda path: path.name)
def test_inference_stays_below_its_budget_and_a_refusal_names_a_larger_one(bundle, scans, tmp_path):
    budgets, out = [1.0], tmp_path / "out"
    while (answer := infer(bundle, scans, out, memory_budget_gb=budgets[-1]))[0] != 0:
        assert not list(out.glob("*"))
        named = re.search(r"memory_budget_gb [\d.]+ is too little: .* at least ([\d.]+)\. Raise it", answer[1])
        assert named, answer[1]
        assert float(named[1]) > budgets[-1]
        budgets.append(float(named[1]))
    assert len(budgets) in (2, 3)  # refused before reading, before the network, or both
    assert answer[2] < budgets[-1] * 10**9
    assert {path.name for path in out.glob("*_seg.nii.gz")} == {"a_seg.nii.gz", "b_seg.nii.gz"}
