"""What every bundle's configs must hold, read without building anything heavy."""

import json
import re
import sys

import pytest
import yaml
from monai.bundle import ConfigParser, ConfigWorkflow

from ..conftest import BUNDLES, XCA

STANDALONE = ["train.yaml", "evaluate.yaml", "inference.yaml"]
METHOD = {  # what the three must agree on
    "ct": ["network_def", "patch_size", "spacing", "window_hu", "overlap"],
    "casrnet_bundle": ["network_def", "image_size", "channels"],
    "svsnet_bundle": ["network_def", "frames", "intensity", "still", "frame_stride"],
}
MASK = [  # what a user overrides for the mask
    *("blend", "mirror_axes", "threshold", "min_volume_mm3", "keep_largest_k", "require_contrast"),
    *("flips", "refine", "patch_lines", "max_gap", "min_area", "mode", "window_batch"),
]
PER_KEY = {"keys", "mode", "source_key", "label_mode", "frames"}  # arguments that name keys, labels, or what to read


def load(bundle, *names):
    parser = ConfigParser()
    parser.read_config([bundle / "configs" / name for name in names])
    parser.set(json.loads(json.dumps(parser.get()).replace("@displayable_configs::", "@")))  # options of 3D Slicer
    return parser


def image_steps(transforms):
    """Transforms that change the image, without the arguments that name keys; a view more is no change."""
    touching = [item for item in transforms if "image" in item["keys"] and not item["_target_"].endswith("AddViewsd")]
    return [{name: value for name, value in item.items() if name not in PER_KEY} for item in touching]


def strings(node):
    if isinstance(node, dict):
        node = [*node, *node.values()]
    if isinstance(node, list):
        return [text for item in node for text in strings(item)]
    return [node] if isinstance(node, str) else []


@pytest.fixture(autouse=True)
def _no_duplicate_keys(monkeypatch):
    monkeypatch.setenv("MONAI_FAIL_ON_DUPLICATE_CONFIG", "1")


def test_training_evaluation_and_inference_agree(bundle):
    configs = [load(bundle, config) for config in STANDALONE]
    for name in METHOD[bundle.name if bundle in XCA else "ct"]:
        values = [config[name] for config in configs]
        assert values[0] == values[1] == values[2], name


def test_training_evaluation_and_inference_prepare_the_image_alike(bundle):
    train = load(bundle, "train.yaml")["train::deterministic_transforms"]
    evaluate = load(bundle, "evaluate.yaml")["validate::preprocessing::transforms"]
    infer = load(bundle, "inference.yaml")["preprocessing::transforms"]
    assert image_steps(train) == image_steps(evaluate) == image_steps(infer)


def test_evaluation_scores_what_inference_writes(bundle):
    scored = load(bundle, "evaluate.yaml")["validate::postprocessing::transforms"]
    written = load(bundle, "inference.yaml")["postprocessing::transforms"]
    ignored = r"\.((Save|Note)\w+d|FramesToVolumed)$"
    written = [item for item in written if not re.search(ignored, item["_target_"])]
    renamed = json.loads(json.dumps(written).replace("@preprocessing", "@validate::preprocessing"))
    assert scored == renamed


def test_what_a_user_overrides_for_the_mask_is_the_same_in_evaluation_and_inference(bundle):
    evaluate, infer = load(bundle, "evaluate.yaml"), load(bundle, "inference.yaml")
    assert evaluate["validate::inferer"] | {"progress": True} == infer["inferer"]
    for name in MASK:
        assert (name in evaluate) == (name in infer)
        assert name not in infer or evaluate[name] == infer[name]


@pytest.mark.parametrize(
    ("names", "kind"),
    [
        (["train.yaml"], "train"),
        (["evaluate.yaml"], "infer"),
        (["inference.yaml"], "infer"),
        (["train.yaml", "small.yaml"], "train"),
        (["train.yaml", "evaluate.yaml"], "train"),
    ],
    ids="+".join,
)
def test_the_workflow_has_every_property_monai_asks_for(bundle, names, kind):
    files = [str(bundle / "configs" / name) for name in names]
    workflow = ConfigWorkflow(files, workflow_type=kind, logging_file=False)
    required = {item["id"] for item in workflow.properties.values() if item["required"]}
    assert {name for name in required if name not in workflow.parser} == set()


@pytest.mark.parametrize("name", STANDALONE)
def test_the_bundle_becomes_importable_before_anything_else_is_done(bundle, name):
    assert load(bundle, name)["initialize"][0] == "$sys.path.insert(0, os.path.abspath(@bundle_root))"


@pytest.mark.parametrize("name", STANDALONE)
def test_the_entry_point_is_one_list_under_two_names(bundle, name):
    config = load(bundle, name)
    assert isinstance(config["run"], list)
    assert config["training" if name == "train.yaml" else "evaluating"] == "@run"


@pytest.mark.parametrize("name", ["train.yaml", "evaluate.yaml"])
def test_the_overlay_for_several_gpus_repeats_what_it_replaces(bundle, name):
    base = load(bundle, name)
    overlay = yaml.safe_load((bundle / "configs" / f"multi_gpu_{name}").read_text())
    replaced = [line for line in base["initialize"] if "set_determinism" not in str(line)]
    assert [line for line in replaced if line not in overlay["initialize"]] == []


def test_every_class_of_ours_that_a_config_names_exists(bundle, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(bundle), *sys.path])
    package = bundle.name.removesuffix("_bundle")
    for path in (bundle / "configs").glob("*.yaml"):
        for target in set(re.findall(rf"{package}(?:\.\w+)+\.\w+", path.read_text())):
            module, name = target.rsplit(".", 1)
            assert hasattr(__import__(module, fromlist=[name]), name), f"{path.name}: {target}"


def test_every_switch_of_inference_is_checked(bundle):
    config = load(bundle, "inference.yaml").get()
    switches = {name for name, value in config.items() if isinstance(value, bool)} - {"amp", "save_surface"}
    assert config["switches_check"].keys() - {"_target_"} == switches
    assert "@switches_check" in config["initialize"]


def test_no_number_is_read_as_text(bundle):
    for path in (bundle / "configs").glob("*.yaml"):
        texts = strings(yaml.safe_load(path.read_text()))
        numbers = [text for text in texts if re.fullmatch(r"[-+\d.]+e[-+]?\d+", text)]
        assert not numbers, f"{path.name}: write {numbers} with a dot, as in 1.0e-4"


def test_no_override_counts_on_a_position_in_a_list(bundle):
    for path in (bundle / "configs").glob("*.yaml"):
        positional = [key for key in yaml.safe_load(path.read_text()) if re.search(r"(::|#)\d+", key)]
        assert not positional, f"{path.name}: {positional}"


def test_configs_are_plain_ascii(bundle):
    for path in (bundle / "configs").iterdir():
        assert path.read_text("utf-8").isascii(), path.name


def test_the_version_stands_in_the_changelog(bundle):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["version"] in metadata["changelog"]


@pytest.mark.parametrize(
    "name",
    [
        "configs/multi_gpu_train.yaml",
        "configs/multi_gpu_evaluate.yaml",
        "configs/inference_trt.yaml",
        "configs/logging.conf",
        "*/common/__init__.py",
        "LICENSE",
    ],
)
def test_files_that_are_the_same_in_every_bundle(name):
    contents = [path.read_bytes() for bundle in BUNDLES for path in bundle.glob(name)]
    assert len(contents) == len(BUNDLES)
    assert len(set(contents)) == 1
