"""Zips of bundles: what stands in them, the same bytes every time, and what is refused."""

import hashlib
import json
import shutil
import zipfile
from pathlib import Path

import monai.bundle
import numpy as np
import pytest
import yaml

from common.packing import command, contents
from common.packing.archive import EPOCH, pack_bundle, write_model_info
from common.packing.metadata import metadata_problems
from common.packing.modules import COMMON, reached_modules

from ..conftest import BUNDLES, ROOT

METADATA = BUNDLES[0] / "configs" / "metadata.json"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def toy_bundle(folder):
    """A bundle of one class and a few configs."""
    bundle = folder / "toy_bundle"
    write(bundle / "toy" / "__init__.py", "")
    write(bundle / "toy" / "common" / "__init__.py", "the stub")
    write(bundle / "toy" / "network.py", "import torch\n")
    write(bundle / "configs" / "train.yaml", "rate: 1.0e-4  # a comment\nlabels: null\n")
    weights = "checkpoint: $@bundle_root + '/models/model.pt'\n"
    write(bundle / "configs" / "inference.yaml", f"{weights}load: {{_target_: toy.common.files.check_writable}}\n")
    write(bundle / "configs" / "metadata.json", METADATA.read_text())
    write(bundle / "docs" / "README.md", "python -m monai.bundle run --config_file configs/train.yaml\n")
    write(bundle / "docs" / "data_license.txt", "none\n")
    write(bundle / "LICENSE", "Apache-2.0\n")
    write(bundle / "models" / "model.pt", "weights")
    return bundle


@pytest.fixture
def toy(tmp_path):
    return toy_bundle(tmp_path)


def unpacked(path):
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_a_zip_holds_one_folder_with_json_configs_and_the_reached_modules_in_place_of_the_stub(toy, tmp_path):
    files = unpacked(pack_bundle(toy, tmp_path / "dist"))
    assert set(files) == {
        f"toy_bundle/{name}"
        for name in (
            *("LICENSE", "docs/README.md", "docs/data_license.txt", "models/model.pt"),
            *("configs/inference.json", "configs/metadata.json", "configs/train.json"),
            *("toy/__init__.py", "toy/network.py", "toy/common/__init__.py", "toy/common/files.py"),
        )
    }
    assert json.loads(files["toy_bundle/configs/train.json"]) == {"rate": 1e-4, "labels": None}
    assert files["toy_bundle/docs/README.md"].decode().strip().endswith("configs/train.json")
    for name in ("__init__.py", "files.py"):
        assert files[f"toy_bundle/toy/common/{name}"] == (COMMON / name).read_bytes()


def test_the_same_bundle_gives_the_same_bytes_wherever_and_whenever_it_lies(toy, tmp_path):
    first = pack_bundle(toy, tmp_path / "first")
    assert {entry.date_time for entry in zipfile.ZipFile(first).infolist()} == {EPOCH}
    elsewhere = Path(shutil.copytree(toy, tmp_path / "elsewhere" / toy.name))
    for path in elsewhere.rglob("*.py"):
        path.touch()
        path.chmod(0o600)
    assert pack_bundle(elsewhere, tmp_path / "second").read_bytes() == first.read_bytes()


def test_what_is_left_in_a_bundles_folder_is_not_packed(toy, tmp_path):
    write(toy / "docs" / "README.md", "training keeps models/model_released.pt\n")
    clean = pack_bundle(toy, tmp_path / "clean").read_bytes()
    for name in (
        *("eval/metrics.csv", "data/dataset.json", "stage1/model.pt", "scan.nii.gz"),
        *("models/model_released.pt", "models/model_mine.pt", "models/model.ts", "models/.gitkeep"),
        *("toy/__pycache__/network.pyc", "configs/.train.yaml.swp", "configs/train.json"),
    ):
        write(toy / name, "left")
    assert pack_bundle(toy, tmp_path / "dist").read_bytes() == clean


def test_the_stub_is_not_packed_where_nothing_takes_its_place(toy, tmp_path):
    write(toy / "configs" / "inference.yaml", "{}")
    assert not [name for name in unpacked(pack_bundle(toy, tmp_path / "dist")) if "/common/" in name]


def test_the_command_says_that_the_weights_are_of_a_training(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(command, "BUNDLES", toy.parent)
    shutil.copytree(toy, toy.with_name("other_bundle"))
    write(toy / "models" / "model_released.pt", "as shipped")
    command.pack("toy_bundle", str(tmp_path / "one"))
    assert "its models/model.pt is of a training here" in capsys.readouterr().out
    command.pack("other_bundle", str(tmp_path / "other"))
    assert "training" not in capsys.readouterr().out
    command.pack("all", str(tmp_path / "all"))
    listed = {name: list(json.loads((tmp_path / name / "model_info.json").read_text())) for name in ("one", "all")}
    assert listed == {"one": ["toy_bundle_v0.1.0"], "all": ["other_bundle_v0.1.0", "toy_bundle_v0.1.0"]}


def test_weights_that_are_too_large_for_the_zoo_are_named_with_their_address_and_lie_beside_the_zip(
    toy, tmp_path, monkeypatch
):
    monkeypatch.setattr(contents, "LARGE", 20_000)
    weights = np.random.default_rng(0).bytes(20_001)
    (toy / "models" / "model.pt").write_bytes(weights)
    dist = tmp_path / "dist"
    files = unpacked(pack_bundle(toy, dist, dist.as_uri()))
    entries = {item["path"]: item for item in yaml.safe_load(files["toy_bundle/large_files.yml"])["large_files"]}
    entry = entries["models/model.pt"]
    assert files["toy_bundle/models/model.pt"] == weights
    assert entry["url"] == f"{dist.as_uri()}/toy_bundle_v0.1.0_model.pt"
    assert (entry["hash_type"], entry["hash_val"]) == ("sha256", hashlib.sha256(weights).hexdigest())
    (tmp_path / "zoo").mkdir()
    (tmp_path / "zoo" / "large_files.yml").write_bytes(files["toy_bundle/large_files.yml"])
    monai.bundle.download_large_files(str(tmp_path / "zoo"))
    assert (tmp_path / "zoo" / "models" / "model.pt").read_bytes() == weights


def test_the_list_of_a_release_names_every_zip_with_its_checksums_and_keeps_the_others(toy, tmp_path):
    write(tmp_path / "dist" / "model_info.json", json.dumps({"other_v1.0.0": {"checksum": "1", "source": "x"}}))
    path = pack_bundle(toy, tmp_path / "dist")
    write_model_info(path, "https://example.org/tag")
    info = json.loads((tmp_path / "dist" / "model_info.json").read_text())
    assert info["toy_bundle_v0.1.0"] == {
        "checksum": hashlib.sha1(path.read_bytes()).hexdigest(),
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "source": "https://example.org/tag/toy_bundle_v0.1.0.zip",
    }
    assert info["other_v1.0.0"]["checksum"] == "1"


def without(name):
    return lambda bundle: (bundle / name).unlink()


def with_metadata(**changes):
    def change(bundle):
        content = json.loads(METADATA.read_text()) | changes
        write(bundle / "configs" / "metadata.json", json.dumps({k: v for k, v in content.items() if v is not None}))

    return change


def naming(path):
    return lambda bundle: write(bundle / "configs" / "small.yaml", f"dataset_dir: {path}\n")


REFUSED = {
    "no weights": (without("models/model.pt"), "weights models/model.pt are missing: train first"),
    "no licence": (without("LICENSE"), "LICENSE is missing"),
    "no data licence": (without("docs/data_license.txt"), "data_license.txt is missing"),
    "no metadata": (without("configs/metadata.json"), "metadata.json is missing or is no JSON"),
    "version without a change": (with_metadata(version="0.2.0"), "version 0.2.0 is not in the changelog"),
    "schema": (with_metadata(task=None), "metadata.json: task is missing"),
    "home of somebody": (naming("/home/somebody/data"), "small.json names a path of one machine, /home/somebody/data"),
    "absolute": (naming("/projects/set 1"), "small.json names a path of one machine, /projects/set"),
    "in an expression": (
        naming("\"$load('/projects/set')\""),
        "small.json names a path of one machine, '/projects/set",
    ),
    "Windows": (naming(r"C:\data"), r"names a path of one machine, C:"),
}


@pytest.mark.parametrize(("spoil", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_fit_for_a_release_is_refused_and_leaves_nothing(toy, tmp_path, spoil, message):
    spoil(toy)
    with pytest.raises(ValueError, match=r"toy_bundle cannot be packed:(.|\n)*" + message):
        pack_bundle(toy, tmp_path / "dist")
    assert not (tmp_path / "dist").exists()


def test_a_name_in_which_monai_would_look_for_the_version_is_refused(toy, tmp_path):
    with pytest.raises(ValueError, match=r'toy_vessel_bundle cannot be packed:\n- its name has "_v" in it'):
        pack_bundle(toy.rename(toy.with_name("toy_vessel_bundle")), tmp_path / "dist")


def test_a_second_set_of_weights_that_inference_reads_must_be_there_too(toy, tmp_path):
    write(toy / "configs" / "inference.yaml", "coarse: $@bundle_root + '/models/model_coarse.pt'\n")
    with pytest.raises(ValueError, match=r"models/model_coarse\.pt are missing"):
        pack_bundle(toy, tmp_path / "dist")


@pytest.mark.parametrize(
    "path", ["/path/to/data", "/proc/self/status", "$@bundle_root + '/data'", "https://example.org/home/x"]
)
def test_placeholders_expressions_and_addresses_are_no_paths_of_one_machine(toy, tmp_path, path):
    naming(f'"{path}"')(toy)
    pack_bundle(toy, tmp_path / "dist")


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path):
    with pytest.raises(ValueError, match=r"no bundle 'casnet': name one of casnet_bundle, .*, or all"):
        command.pack("casnet", str(tmp_path))


def reached(bundle, code="", config="", page=""):
    write(bundle / "toy" / "network.py", code)
    write(bundle / "configs" / "inference.yaml", config)
    write(bundle / "docs" / "README.md", page)
    return {path.with_suffix("").as_posix().replace("/", ".") for path in reached_modules(bundle)}


@pytest.mark.parametrize(
    ("code", "modules"),
    [
        ("", set()),
        ("from .common.files import replacing", {"files"}),
        ("def f():\n    from .common import files", {"files"}),
        ("import toy.common.files", {"files"}),
        ("from toy.common.phantom.xca import carm", {"phantom.__init__", "phantom.xca.__init__", "phantom.xca.carm"}),
    ],
    ids=["nothing", "relative", "inside a function", "absolute", "nested"],
)
def test_imports_of_the_bundles_python_are_followed(toy, code, modules):
    found = reached(toy, code=code)
    assert modules <= found
    assert modules or not found


def test_what_the_reached_modules_import_is_reached_too(toy):
    found = reached(toy, config="loss: {_target_: toy.common.losses.SoftClDiceLoss}")
    assert {"losses", "soft_skeleton", "accelerated.soft_skeleton", "accelerated.__init__"} <= found
    assert not {"phantom.ccta", "centerline.tree", "packing.archive"} & found


def test_a_command_in_the_documentation_is_carried_and_no_other(toy):
    found = reached(toy, page="`python -m toy.common preview IMAGE PRED OUT`")
    assert {"__main__", "preview"} <= found
    assert "datalist" not in found


SPOILED = {
    "no version": {"version": None},
    "number as version": {"monai_version": 1.6},
    "list of apps": {"supported_apps": []},
    "references": {"references": [1]},
    "no outputs": {"network_data_format": {"inputs": {}}},
    "tensor without dtype": {"network_data_format": {"inputs": {"image": {"type": "image"}}, "outputs": {}}},
    "second network": {"coarse_data_format": {"inputs": {}, "outputs": {"pred": []}}},
}
TENSOR = {
    "channels as text": {"num_channels": "1"},
    "shape of floats": {"spatial_shape": [1.5]},
    "range of texts": {"value_range": ["0", "1"]},
    "patch as text": {"is_patch_data": "true"},
    "channels as list": {"channel_def": ["background"]},
}


def spoiled():
    metadata = json.loads(METADATA.read_text())
    for name, changes in SPOILED.items():
        yield name, {key: value for key, value in (metadata | changes).items() if value is not None}
    for name, changes in TENSOR.items():
        copy = json.loads(METADATA.read_text())
        copy["network_data_format"]["inputs"]["image"] |= changes
        yield name, copy


@pytest.mark.parametrize("metadata", dict(spoiled()).values(), ids=dict(spoiled()))
def test_metadata_that_do_not_fit_the_schema_are_told(metadata):
    assert metadata_problems(metadata)


def test_an_input_may_be_described_by_a_plain_value():
    metadata = json.loads(METADATA.read_text())
    metadata["network_data_format"]["inputs"]["spacing"] = 0.5
    assert metadata_problems(metadata) == []


def test_our_check_of_metadata_agrees_with_the_schema(real_data):
    jsonschema = pytest.importorskip("jsonschema")
    path = real_data.parent / "schema" / "meta_schema_20240725.json"
    if not path.is_file():
        pytest.skip("no schema file beside the real images")
    validator = jsonschema.Draft201909Validator(json.loads(path.read_text()))
    for _, metadata in spoiled():
        assert list(validator.iter_errors(metadata))
    for bundle in BUNDLES:
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
        assert metadata_problems(metadata) == [] == list(validator.iter_errors(metadata))
    required = json.loads(path.read_text())["required"]
    assert metadata_problems({}) == [f"{name} is missing" for name in required]


def test_the_repository_itself_is_what_is_packed():
    assert COMMON == ROOT / "common"
