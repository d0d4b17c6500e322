"""A packed bundle, unpacked far from this repository, does all that its documentation says."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from ast import literal_eval
from pathlib import Path

import pytest
from monai.bundle import ConfigParser

from ..conftest import BUNDLES, DATA, XCA
from .conftest import SHORT, TIMEOUT
from .test_zoo import imports

TINY = {  # overrides that make a command quick with the network and the weights of the release
    "casnet_bundle": {"patch_size": [48, 48, 48], "spacing": [1.0, 1.0, 1.0]},
    "centerline_unet_bundle": {
        "patch_size": [32, 32, 16],
        "coarse_patch_size": [32, 32, 32],
        "spacing": [1.0, 1.0, 1.0],
    },
    "syncas_bundle": {"patch_size": [32, 32, 32], "spacing": [1.0, 1.0, 3.0], "iterations": 1},
    "casrnet_bundle": {"image_size": 64, "patch_size": [64, 64], "batch_size": 2},
    "svsnet_bundle": {"patch_size": [64, 64], "num_windows": 1},
}
PHANTOM = {  # options of every phantom that the documentation makes
    "ct": {"cases": 6, "shape": "96,96,72", "spacing": 0.5, "validation": 0.34, "test": 0.34},
    "xca": {"cases": 8, "shape": "64,64", "frames": 2, "validation": 0.25, "test": 0.25},
}


class Unpacked:
    """A packed bundle in a folder of its own, with phantoms for what its documentation calls the user's data."""

    def __init__(self, bundle, archive, folder):
        zipfile.ZipFile(archive).extractall(folder)
        self.root = folder / bundle.name
        self.package = bundle.name.removesuffix("_bundle")
        self.xca = bundle in XCA

    def commands(self):
        """Words of every documented command that needs neither pip, several machines, nor a file that is not here."""
        blocks = re.findall(r"```bash\n(.*?)```", (self.root / "docs" / "README.md").read_text(), re.DOTALL)
        lines = [line for block in blocks for line in block.splitlines() if line.strip()]
        schema = DATA.parent / "schema" / "meta_schema_20240725.json"
        if schema.is_file():
            (self.root / "eval").mkdir(exist_ok=True)
            shutil.copy(schema, self.root / "eval" / "schema.json")  # where the documentation says
        else:
            lines = [line for line in lines if "verify_metadata" not in line]  # it would be downloaded
        elsewhere = ("HOST", "pip ", ".common convert ")  # the last: published weights, with tests of their own
        return [shlex.split(line, comments=True) for line in lines if not any(text in line for text in elsewhere)]

    def make_data(self):
        """Make with the bundle's own command what the documentation calls data, ccta, scan.nii.gz and so on."""
        modality = "xca" if self.xca else "ncct" if self.package == "syncas" else "ccta"
        self.run(self.quick(shlex.split(f"python -m {self.package}.common phantom data --modality {modality}")))
        image = next((self.root / "data" / "images").iterdir())
        case = image.name.split(".")[0]
        if self.xca:
            frames = self.root / "data" / "frames" / case
            shutil.copytree(frames, self.root / "folder_of_frames")
            shutil.copy(next(frames.iterdir()), self.root / "angiogram.png")
            shutil.copy(self.root / "data" / "dicom" / f"{case}.dcm", self.root / "sequence.dcm")
            self.make_folds()
        else:
            shutil.copy(image, self.root / "scan.nii.gz")
            shutil.copytree(self.root / "data" / "centerlines", self.root / "lines")
        if self.package == "syncas":
            self.run(self.quick(shlex.split("python -m syncas.common phantom ccta")))
            self.make_imagecas()

    def make_folds(self):
        """Give the data list folds, and make a folder of images and masks with a file of folds."""
        path = self.root / "data" / "dataset.json"
        lists = json.loads(path.read_text())
        for number, case in enumerate(lists["training"]):
            case["fold"] = number % 2
        path.write_text(json.dumps(lists))
        real = self.root / "real_data"
        for kind, source in (("images", "frames"), ("masks", "frame_labels")):
            (real / kind).mkdir(parents=True)
            for number, folder in enumerate(sorted((self.root / "data" / source).iterdir())):
                shutil.copy(sorted(folder.iterdir())[1], real / kind / f"{number}.png")
        (real / "folds.json").write_text(json.dumps([{"name": str(number), "fold": number % 2} for number in range(8)]))

    def make_imagecas(self):
        """Lay a phantom out as ImageCAS comes unpacked, with a label map of the heart beside it."""
        for kind, name in (("images", "ImageCAS/1.img"), ("labels", "ImageCAS/1.label"), ("hearts", "maps/1")):
            target = self.root / f"{name}.nii.gz"
            target.parent.mkdir(exist_ok=True)
            shutil.copy(sorted((self.root / "ccta" / kind).iterdir())[0], target)

    def quick(self, words):
        """Put small values, and files that are there, into a command."""
        words = [self.there(word, listed="datalist" in words) for word in words]
        if "phantom" in words:
            return replaced(words, PHANTOM["xca" if self.xca else "ct"])
        if "--config_file" not in words or "run" not in words:
            return words
        config = self.config(words)
        options = {**TINY[self.root.name], **SHORT, "epochs": 1 + ("--resume" in words), "device": "cpu"}
        options = {name: value for name, value in options.items() if name in config}
        if "planar" in " ".join(words):
            options["patch_size"] = [32, 32, 1]
        if "cross_validate" in words:
            options = {"training_options": {**TINY[self.root.name], **SHORT}, "evaluation_options": {"image_size": 64}}
        return replaced(words, options)

    def there(self, word, listed):
        """Name a file or folder of this test for one that the documentation takes as an example."""
        if word.endswith("folds.json"):
            return str(self.root / "real_data" / "folds.json")
        if word.startswith("/path/to/"):
            return str(self.root / ("real_data" if listed else "data/images"))
        return "models/model.pt" if word.endswith("last_network.pt") else word

    def config(self, words):
        names = words[words.index("--config_file") + 1]
        parser = ConfigParser()
        parser.read_config([self.root / name for name in (literal_eval(names) if names[0] == "[" else [names])])
        return parser

    def run(self, words, cwd=None):
        """Run a command as a user does who has neither this repository nor a path to it."""
        launcher = {"python": ["-W", "ignore"], "torchrun": ["-W", "ignore", "-m", "torch.distributed.run"]}[words[0]]
        result = subprocess.run(
            [sys.executable, *launcher, *words[1:]],
            cwd=cwd or self.root,
            env=os.environ | {"PYTHONPATH": "", "MONAI_FAIL_ON_DUPLICATE_CONFIG": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            timeout=TIMEOUT,
        )
        assert result.returncode == 0, f"{shlex.join(words)}\n{result.stdout[-4000:]}"
        return result.stdout


def replaced(words, options):
    """Give options of a command other values, and add those that it does not have."""
    words = list(words)
    for name, value in options.items():
        if f"--{name}" in words:
            words[words.index(f"--{name}") + 1] = str(value)
        else:
            words += [f"--{name}", str(value)]
    return words


@pytest.mark.slow
def test_every_command_of_the_documentation_runs(bundle, archive_of, tmp_path):
    unpacked = Unpacked(bundle, archive_of(bundle), tmp_path)
    unpacked.make_data()
    for words in unpacked.commands():
        print(unpacked.run(unpacked.quick(words))[-200:])
    assert (unpacked.root / "eval" / "metrics.csv").is_file()
    assert list((unpacked.root / "eval").glob("*_seg*"))
    assert (unpacked.root / "models" / "model_released.pt").is_file()


def test_nothing_in_a_zip_needs_the_repository(bundle, unpacked):
    root = unpacked(bundle)
    imported = set().union(*(imports(path.read_text("utf-8")) for path in root.rglob("*.py")))
    assert not imported & {"common", "bundles", "tests"}
    pages = [path.read_text("utf-8") for path in (root / "docs").iterdir()]
    assert not [page for page in pages if "-m common" in page or "repository's root" in page]


def test_links_of_packed_documentation_lead_somewhere(bundle, unpacked):
    folder = unpacked(bundle) / "docs"
    links = {link for page in folder.glob("*.md") for link in re.findall(r"\]\((?!http|#)([^)#]+)", page.read_text())}
    assert "model_card.md" in links
    assert [link for link in links if ".." in link or not (folder / link).exists()] == []


def test_configs_are_json_in_a_zip_and_everything_calls_them_so(bundle, unpacked):
    root = unpacked(bundle)
    names = {path.stem for path in (bundle / "configs").glob("*.yaml")}
    assert names <= {path.stem for path in (root / "configs").glob("*.json")}
    assert not list(root.rglob("*.yaml"))
    texts = [path.read_text("utf-8") for kind in ("md", "json", "py", "txt") for path in root.rglob(f"*.{kind}")]
    assert [text for text in texts if any(f"{name}.yaml" in text for name in names)] == []


def test_two_bundles_in_one_process_keep_to_their_own_version_of_the_shared_package(archive_of, tmp_path):
    first, second = (Unpacked(each, archive_of(each), tmp_path / each.name) for each in (BUNDLES[0], BUNDLES[-1]))
    carried = second.root / second.package / "common" / "files.py"
    carried.write_text(carried.read_text() + "\nVERSION = 'of the second bundle'\n")
    code = (
        f"import sys; sys.path[:0] = [{str(first.root)!r}, {str(second.root)!r}]\n"
        f"import {first.package}.common.files as a, {second.package}.common.files as b\n"
        "print(getattr(a, 'VERSION', None), getattr(b, 'VERSION', None))"
    )
    assert first.run(["python", "-c", code], cwd=Path("/")).strip() == "None of the second bundle"
