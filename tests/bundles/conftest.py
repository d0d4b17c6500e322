"""What the end-to-end tests share: a few tiny phantoms, and copies of the bundles that a test may write to."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from functools import cache, cached_property
from pathlib import Path

import monai.bundle
import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from common.packing.archive import pack_bundle
from common.phantom.dataset import write_dataset

from ..conftest import BUNDLES, ROOT, XCA

SMALL = {  # overrides that make a method tiny
    "casnet_bundle": {"network_def::width": 8, "patch_size": [32, 32, 32], "spacing": [1.5, 1.5, 1.5]},
    "centerline_unet_bundle": {
        "network_def::widths": [2, 2, 2],
        "coarse_network_def::widths": [2, 2, 2],
        "patch_size": [32, 32, 16],
        "coarse_patch_size": [16, 16, 16],
        "spacing": [1.5, 1.5, 1.5],
    },
    "syncas_bundle": {
        "network_def::width": 2,
        "patch_size": [32, 32, 32],
        "spacing": [1.5, 1.5, 1.5],
        "iterations": 2,
    },
    "casrnet_bundle": {
        "network_def::init_features": 4,
        "network_def::growth_rate": 2,
        "network_def::block_config": [1, 1, 1, 1],
        "network_def::widths": [4, 4, 4, 4, 4],
        "image_size": 64,
        "patch_size": [64, 64],
        "batch_size": 3,
        "film": False,
    },
    "svsnet_bundle": {
        "network_def::widths": [2, 2, 2],
        "patch_size": [32, 32],
        "num_windows": 2,
        "film": False,
    },
}
NETWORKS = {"network_def": "model.pt", "coarse_network_def": "model_coarse.pt"}
SHORT = {"epochs": 1, "val_interval": 1, "num_workers": 0}  # overrides that make a training short
TIMEOUT = 400  # seconds for a process, on a machine that does other things too


class BundleCopy:
    """A copy of a bundle beside a link to `common`, where its stub looks for it.

    The released weights stay behind: its weights are those that new small networks have by chance.
    """

    def __init__(self, bundle, folder):
        self.root = folder / "bundles" / bundle.name
        self.xca = bundle in XCA  # X-ray angiograms, else CT
        shutil.copytree(bundle, self.root, ignore=shutil.ignore_patterns("__pycache__", "*.pt", "eval", "data"))
        (self.root / "models").mkdir(exist_ok=True)
        (folder / "common").symlink_to(ROOT / "common")
        self.small = SMALL[bundle.name]
        for name, path in NETWORKS.items():
            if network := self.small_network(name):
                torch.save(network.state_dict(), self.root / "models" / path)

    @property
    def eval(self):
        return self.root / "eval"

    @property
    def weights(self):
        return self.root / "models" / "model.pt"

    @cached_property
    def network(self):
        """The small network, with weights of its own."""
        return self.small_network("network_def")

    def small_network(self, name):
        """Build a network that the configs define, made small; None where they define none of that name."""
        config = ConfigParser()
        config.read_config(self.files("inference.yaml"))
        if name not in config:
            return None
        torch.manual_seed(0)
        width = {key.split("::")[1]: value for key, value in self.small.items() if key.startswith(f"{name}::")}
        config[name] = config[name] | width
        return config.get_parsed_content(name)

    def files(self, *names):
        return [str(self.root / "configs" / name) for name in names]

    def workflow(self, *names, make=ConfigWorkflow, **options):
        """Build a workflow in this process, from whatever folder the tests run in."""
        kind = "train" if names[0] == "train.yaml" else "infer"
        options = {**self.small, "bundle_root": str(self.root), **options}
        return make(config_file=self.files(*names), workflow_type=kind, logging_file=False, **options)

    def run(self, run_id, *names, **options):
        """Do in this process what ``python -m monai.bundle run`` does."""
        options = {**self.small, "bundle_root": str(self.root), **options}
        monai.bundle.run(run_id, config_file=self.files(*names), logging_file=False, **options)

    def sparse_threshold(self, image):
        """Return a threshold that leaves a fiftieth of a volume: a network of chance calls most voxels vessel."""
        folder = self.root / "probability"
        self.run("run", "inference.yaml", image=str(image), output_dir=str(folder), save_probability=True, overlap=0.0)
        return float(np.quantile(nibabel.load(next(folder.glob("*_prob.nii.gz"))).get_fdata(), 0.98))

    def command(self, *arguments, cwd=None, launcher=("-m", "monai.bundle"), **options):
        """Call the command line as a user does, from the bundle's folder unless ``cwd`` says otherwise."""
        flags = [text for name, value in {**self.small, **options}.items() for text in (f"--{name}", str(value))]
        process = subprocess.Popen(
            [sys.executable, "-W", "ignore", *launcher, "run", *arguments, *flags],
            cwd=cwd or self.root,
            env=os.environ | {"MONAI_FAIL_ON_DUPLICATE_CONFIG": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        try:
            output, _ = process.communicate(timeout=TIMEOUT)
        except subprocess.TimeoutExpired:
            process.terminate()  # not kill: torchrun then ends its processes, which are in sessions of their own
            output, _ = process.communicate()
            pytest.fail(f"no end after {TIMEOUT} s:\n{output}")
        return process.returncode, output


@pytest.fixture(autouse=True, scope="module")
def _same_import_path():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "path", list(sys.path))  # every workflow puts its bundle first
        yield


@pytest.fixture(params=BUNDLES, ids=lambda path: path.name)
def copy(request, tmp_path):
    """A copy of each bundle."""
    return BundleCopy(request.param, tmp_path)


@pytest.fixture(scope="session")
def archive_of(tmp_path_factory):
    """Pack a bundle, each once."""
    return cache(lambda bundle: pack_bundle(bundle, tmp_path_factory.mktemp("dist")))


@pytest.fixture(scope="session")
def unpacked(tmp_path_factory, archive_of):
    """Unpack the zip of a bundle, each once; what is there must not be written to."""

    @cache
    def unpack(bundle):
        folder = tmp_path_factory.mktemp("unpacked")
        zipfile.ZipFile(archive_of(bundle)).extractall(folder)
        return folder / bundle.name

    return unpack


def for_bundles(bundles, fixture="copy"):
    """Run a test for some bundles only."""
    return pytest.mark.parametrize(fixture, bundles, ids=lambda path: path.name, indirect=True)


@pytest.fixture
def toy_set(request, tmp_path):
    """A data set of noise with one vessel in each label; for what needs no anatomy.

    Volumes of 20 x 24 x 28 voxels, or, for a test with a copy of a bundle for angiograms, 3 frames of 64 x 64 pixels.
    """
    folder = tmp_path / "toy_set"
    xca = "copy" in request.fixturenames and request.getfixturevalue("copy").xca
    noise = [np.random.default_rng(number).normal(100, 300, (20, 24, 28)) for number in range(4)]
    if xca:
        noise = [np.random.default_rng(number).integers(0, 256, (64, 64, 3)) for number in range(4)]
    cases = [write_case(folder, str(number), voxels) for number, voxels in enumerate(noise)]
    return write_list(folder, training=cases[:2], validation=cases[2:3], test=cases[3:]).parent


def write_case(folder, name, voxels, label=None):
    """Write an image and its label, a vessel unless given, with voxels of 1.5 mm. Return the image's path."""
    if label is None:
        label = np.zeros(voxels.shape)
        label[8:11, 8:11] = 1
    dtype = np.uint8 if np.issubdtype(voxels.dtype, np.integer) else np.float32
    for kind, values in (("images", voxels), ("labels", label)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        image = nibabel.Nifti1Image(values.astype(dtype), np.diag([1.5, 1.5, 1.5, 1]))
        nibabel.save(image, folder / kind / f"{name}.nii.gz")
    return folder / "images" / f"{name}.nii.gz"


@pytest.fixture(scope="session")
def hearts(tmp_path_factory):
    """Image and label of four small phantoms of CT, 96 x 96 x 72 mm around the heart."""
    folder = tmp_path_factory.mktemp("hearts")
    write_dataset(folder, cases=4, seed=3, shape=(64, 64, 48), spacing=1.5, orientation="RAS", validation=0, test=0)
    return json.loads(write_list(folder, training=sorted((folder / "images").iterdir())).read_text())["training"]


@pytest.fixture(scope="session")
def angiograms(tmp_path_factory):
    """Image and label of four small phantoms of X-ray angiography, 3 frames of 64 x 64 pixels."""
    folder = tmp_path_factory.mktemp("angiograms")
    write_dataset(folder, cases=4, seed=3, modality="xca", shape=(64, 64), frames=3, validation=0, test=0)
    return json.loads(write_list(folder, training=sorted((folder / "images").iterdir())).read_text())["training"]


@pytest.fixture
def phantoms(request):
    """Four small phantoms: hearts, or angiograms for a test with a copy of a bundle for them."""
    xca = "copy" in request.fixturenames and request.getfixturevalue("copy").xca
    return request.getfixturevalue("angiograms" if xca else "hearts")


def write_list(folder, **sections):
    """Write a data list of images, or of entries; the label of images/x lies at labels/x. Return its path."""
    entries = {
        name: [
            {"image": str(case), "label": str(case.parents[1] / "labels" / case.name)}
            if isinstance(case, Path)
            else case
            for case in cases
        ]
        for name, cases in sections.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(entries))
    return folder / "dataset.json"


@pytest.fixture
def data(phantoms, tmp_path):
    """A data set of two cases for training, one for validation and one for the test."""
    return write_list(tmp_path / "data", training=phantoms[:2], validation=phantoms[2:3], test=phantoms[3:]).parent
