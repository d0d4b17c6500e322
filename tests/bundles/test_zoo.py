"""What the model zoo asks of a bundle before it is merged, for bundles in the repository and for unpacked zips."""

import ast
import json
import re
import shlex
import sys
from functools import cache

import jsonschema
import pytest
import yaml
from packaging.requirements import Requirement

from common.packing.modules import COMMON, package_of, reached_modules

from ..conftest import BUNDLES, ROOT

NAMED_APART = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
DISTRIBUTIONS = {"PIL": "pillow", "ignite": "pytorch-ignite", "skimage": "scikit-image"}  # else of the same name
THROUGH_MONAI = {"TensorBoardStatsHandler": "tensorboard"}  # MONAI's components that import a package of their own
DESCRIBED = [
    *("name", "changelog", "data_source", "data_type", "intended_use", "references"),
    *("image_classes", "label_classes", "pred_classes", "eval_metrics"),
]


@pytest.fixture(params=[pytest.param(False, id="in place"), pytest.param(True, id="packed", marks=pytest.mark.slow)])
def packed(request):
    return request.param


@pytest.fixture(params=BUNDLES, ids=lambda path: path.name)
def bundle(request, packed, unpacked):
    return unpacked(request.param) if packed else request.param


def read_metadata(bundle):
    return json.loads((bundle / "configs" / "metadata.json").read_text("utf-8"))


def python_files(bundle):
    """Files of a bundle's package with those of `common`: the copy in a zip, else what the stub will be replaced by."""
    package = bundle / package_of(bundle)
    stub = package / "common" / "__init__.py"
    if list(stub.parent.glob("*.py")) != [stub]:
        return sorted(package.rglob("*.py"))
    return sorted({*package.rglob("*.py")} - {stub}) + [COMMON / path for path in reached_modules(bundle)]


@cache
def imports(text):
    """Packages outside the standard library that a file imports, also inside functions and when they are there."""
    names = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "optional_import":
            names.add(node.args[0].value)
    return {name.split(".")[0] for name in names} - sys.stdlib_module_names


def configs(bundle):
    """Configs by their names without suffix; YAML in the repository, JSON in a zip."""
    files = [path for path in (bundle / "configs").iterdir() if path.suffix in {".yaml", ".json"}]
    return {path.stem: yaml.safe_load(path.read_text("utf-8")) for path in files}


def tensors(metadata):
    """Descriptions of the inputs and outputs of every network."""
    networks = [value for key, value in metadata.items() if key.endswith("network_data_format")]
    return [(kind, tensor) for network in networks for kind in network for tensor in network[kind].items()]


def test_the_files_that_the_zoo_asks_for_are_there(bundle):
    for name in ["LICENSE", "configs/metadata.json", "docs/README.md", "docs/data_license.txt"]:
        assert (bundle / name).is_file(), name
    named = yaml.safe_load((bundle / "large_files.yml").read_text()) if (bundle / "large_files.yml").exists() else {}
    large = {entry["path"] for entry in named.get("large_files", [])}
    assert (bundle / "models" / "model.pt").is_file() or "models/model.pt" in large
    inference = [path.name for path in (bundle / "configs").glob("inference.*")]
    assert inference in (["inference.yaml"], ["inference.json"])  # never both: MONAI Label would read the JSON


def test_the_name_can_be_told_from_the_version_behind_it(bundle):
    assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", bundle.name)
    assert "_v" not in bundle.name


def test_the_version_is_in_the_changelog(bundle):
    metadata = read_metadata(bundle)
    assert re.fullmatch(r"\d+\.\d+\.\d+", metadata["version"])
    assert metadata["version"] in metadata["changelog"]
    assert all(metadata["changelog"].values())


def test_the_metadata_fit_the_schema(bundle, real_data):
    schema = real_data.parent / "schema" / "meta_schema_20240725.json"
    if not schema.is_file():
        pytest.skip(f"no copy of the schema beside the real images: {schema.name}")
    metadata = read_metadata(bundle)
    assert metadata["schema"].endswith(schema.name)
    jsonschema.validate(metadata, json.loads(schema.read_text()))


def test_the_metadata_describe_data_and_use(bundle):
    metadata = read_metadata(bundle)
    assert [key for key in DESCRIBED if not metadata.get(key)] == []
    assert isinstance(metadata["supported_apps"], dict)  # the schema's kind, though the documentation says list
    assert "Not a medical device" in metadata["intended_use"]
    assert "Apache-2.0" in metadata["copyright"]
    assert "Apache License" in (bundle / "LICENSE").read_text()


def test_every_metric_is_a_number_and_one_is_the_mean_dice(bundle):
    metrics = read_metadata(bundle)["eval_metrics"]
    assert all(isinstance(value, float) and 0 <= value <= 1 for value in metrics.values())
    assert any(name.startswith("mean_dice") for name in metrics)


def test_networks_are_described_as_monai_label_reads_them(bundle):
    metadata = read_metadata(bundle)
    described = tensors(metadata)
    assert next(iter(metadata["network_data_format"]["inputs"])) == "image"
    assert next(iter(metadata["network_data_format"]["outputs"])) == "pred"
    for kind, (_, tensor) in described:
        channels = tensor["channel_def"]
        assert list(channels) == [str(i) for i in range(len(channels))]
        if kind == "outputs":
            assert channels["0"] == "background"
            assert tensor["num_channels"] in {len(channels), len(channels) - 1}  # softmax, or a sigmoid of one channel
        else:
            assert tensor["num_channels"] == len(channels) or bundle.name == "svsnet_bundle"


def test_the_packages_are_those_that_the_python_of_the_bundle_imports(bundle):
    imported = set().union(*(imports(path.read_text("utf-8")) for path in python_files(bundle)))
    imported -= {package_of(bundle), "common", *NAMED_APART}
    text = json.dumps(configs(bundle))
    through_monai = {package for component, package in THROUGH_MONAI.items() if component in text}
    needed = {DISTRIBUTIONS.get(package, package) for package in imported} | through_monai
    assert set(read_metadata(bundle)["required_packages_version"]) == needed


def ranges():
    """Versions of each package that the project admits."""
    listed = re.findall(r'^    "([\w-]+[<>].*?)",', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    return {line.name: line.specifier for line in map(Requirement, listed)}


def test_the_versions_lie_in_the_ranges_of_the_project(bundle):
    metadata = read_metadata(bundle)
    stated = metadata["required_packages_version"] | {name: metadata[key] for name, key in NAMED_APART.items()}
    assert {name: pin for name, pin in stated.items() if pin not in ranges()[name]} == {}


def test_the_page_says_how_to_install_what_the_bundle_needs(bundle):
    (line,) = re.findall(r"^pip install (.*)", (bundle / "docs" / "README.md").read_text("utf-8"), re.MULTILINE)
    named = {package.name: package.specifier for package in map(Requirement, shlex.split(line))}
    assert set(named) == {"monai", "torch", *read_metadata(bundle)["required_packages_version"]}  # numpy comes along
    assert {name: named[name] for name in ("monai", "torch")} == {name: ranges()[name] for name in ("monai", "torch")}
