"""What the end-to-end tests share: a few tiny phantoms, and copies of the bundles that a test may write to."""

import json
import os
import shutil
import subprocess
import sys
from functools import cached_property
from pathlib import Path

import monai.bundle
import pytest
import torch
from monai.bundle import ConfigParser, ConfigWorkflow

from common.phantom.dataset import write_dataset

from ..conftest import BUNDLES, ROOT

SMALL = {  # overrides that make a method tiny
    "casnet_bundle": {"network_def::width": 8, "patch_size": [32, 32, 32], "spacing": [1.5, 1.5, 1.5]},
}
SHORT = {"epochs": 1, "val_interval": 1, "num_workers": 0}  # overrides that make a training short
TIMEOUT = 400  # seconds for a process, on a machine that does other things too


class BundleCopy:
    """A copy of a bundle beside a link to `common`, where its stub looks for it; the released weights stay behind."""

    def __init__(self, bundle, folder):
        self.root = folder / "bundles" / bundle.name
        shutil.copytree(bundle, self.root, ignore=shutil.ignore_patterns("__pycache__", "*.pt", "eval", "data"))
        (self.root / "models").mkdir(exist_ok=True)
        (folder / "common").symlink_to(ROOT / "common")
        self.small = SMALL[bundle.name]

    @property
    def eval(self):
        return self.root / "eval"

    @property
    def weights(self):
        return self.root / "models" / "model.pt"

    @cached_property
    def network(self):
        """The small network, with weights of its own."""
        config = ConfigParser()
        config.read_config(self.root / "configs" / "inference.yaml")
        torch.manual_seed(0)
        width = {name.split("::")[1]: value for name, value in self.small.items() if name.startswith("network_def::")}
        return ConfigParser({"network": config["network_def"] | width}).get_parsed_content("network")

    def files(self, *names):
        return [str(self.root / "configs" / name) for name in names]

    def workflow(self, *names, **options):
        """Build a workflow in this process, from whatever folder the tests run in."""
        kind = "train" if names[0] == "train.yaml" else "infer"
        options = {**self.small, "bundle_root": str(self.root), **options}
        return ConfigWorkflow(self.files(*names), workflow_type=kind, logging_file=False, **options)

    def run(self, run_id, *names, **options):
        """Do in this process what ``python -m monai.bundle run`` does."""
        options = {**self.small, "bundle_root": str(self.root), **options}
        monai.bundle.run(run_id, config_file=self.files(*names), logging_file=False, **options)

    def command(self, *arguments, cwd=None, launcher=("-m", "monai.bundle"), **options):
        """Call the command line as a user does, from the bundle's folder unless ``cwd`` says otherwise."""
        flags = [text for name, value in {**self.small, **options}.items() for text in (f"--{name}", str(value))]
        process = subprocess.run(
            [sys.executable, "-W", "ignore", *launcher, "run", *arguments, *flags],
            cwd=cwd or self.root,
            env=os.environ | {"MONAI_FAIL_ON_DUPLICATE_CONFIG": "1"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
        return process.returncode, process.stdout + process.stderr


@pytest.fixture(autouse=True)
def _same_import_path(monkeypatch):
    monkeypatch.setattr(sys, "path", list(sys.path))  # every workflow puts its bundle first


@pytest.fixture(params=BUNDLES, ids=lambda path: path.name)
def copy(request, tmp_path):
    """A copy of each bundle, with weights that a new small network has by chance."""
    made = BundleCopy(request.param, tmp_path)
    torch.save(made.network.state_dict(), made.weights)
    return made


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory):
    """Image and label of four small phantoms, 96 x 96 x 72 mm around the heart."""
    folder = tmp_path_factory.mktemp("phantoms")
    write_dataset(folder, cases=4, seed=3, shape=(64, 64, 48), spacing=1.5, orientation="RAS", validation=0, test=0)
    return json.loads(write_list(folder, training=sorted((folder / "images").iterdir())).read_text())["training"]


def write_list(folder, **sections):
    """Write a data list of images, or of entries; the label of images/x lies at labels/x. Return its path."""
    entries = {
        name: [
            {"image": str(case), "label": str(case.parents[1] / "labels" / case.name)} if isinstance(case, Path) else case
            for case in cases
        ]
        for name, cases in sections.items()
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(entries))
    return folder / "dataset.json"


@pytest.fixture(scope="session")
def data(phantoms, tmp_path_factory):
    """A data set of two cases for training, one for validation and one for the test."""
    folder = tmp_path_factory.mktemp("data")
    return write_list(folder, training=phantoms[:2], validation=phantoms[2:3], test=phantoms[3:]).parent
