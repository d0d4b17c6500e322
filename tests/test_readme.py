"""Every command that the documentation gives names files, options and functions that exist."""

import inspect
import json
import re
import shlex
from ast import literal_eval
from importlib import import_module

import monai.bundle
import pytest
import yaml
from monai.bundle import ConfigParser

from common.__main__ import COMMANDS
from common.layouts.table import LAYOUTS

from .conftest import BUNDLES, ROOT

PAGES = [ROOT / "README.md", *(bundle / "docs" / "README.md" for bundle in BUNDLES)]
GIVEN = {"config_file", "run_id"}  # options of MONAI's command itself


def commands(page, start):
    """Words of each command of a page's shell blocks that holds ``start``, from there on."""
    blocks = re.findall(r"```bash\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    lines = [shlex.split(line, comments=True) for block in blocks for line in block.splitlines()]
    start = start.split()
    places = [(line, i) for line in lines for i in range(len(line)) if line[i : i + len(start)] == start]
    return [line[i + len(start) :] for line, i in places]


def bundle_commands():
    for page in PAGES:
        own = [page.parents[1]] if page.parent.name == "docs" else BUNDLES
        for words in commands(page, "-m monai.bundle run"):
            if own is BUNDLES:  # a zip has JSON where the repository has YAML; the page of a bundle is adjusted
                words = [re.sub(r"^(configs/\w+)\.json$", r"\1.yaml", word) for word in words]
            bundle = next((path for path in own if all((path / name).exists() for name in configs(words))), own[0])
            yield pytest.param(bundle, words, id=f"{page.parents[1].name}: {' '.join(words)}"[:120])


def configs(words):
    """Config files that a command names."""
    files = words[words.index("--config_file") + 1]
    return literal_eval(files) if files.startswith("[") else [files]


def merged(bundle, words):
    parser = ConfigParser()
    parser.read_config([bundle / name for name in configs(words)])
    return parser


@pytest.mark.parametrize(("bundle", "words"), list(bundle_commands()))
def test_a_bundle_command_overrides_only_what_its_configs_define(bundle, words):
    config = merged(bundle, words)
    options = {word[2:] for word in words if word.startswith("--")} - GIVEN
    assert {option for option in options if option not in config} == set()
    if words[0] in {"training", "evaluating", "synthesize"}:
        assert words[0] in config


def options_of(words):
    """Options of a command, without their dashes, with their values."""
    return {name.removeprefix("--"): value for name, value in zip(words[::2], words[1::2], strict=True)}


def test_downloads_name_a_bundle_its_version_and_options_of_monai():
    downloads = [options_of(words) for words in commands(ROOT / "README.md", "-m monai.bundle download")]
    versions = {path.name: json.loads((path / "configs" / "metadata.json").read_text())["version"] for path in BUNDLES}
    tag = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE).group(1)
    for options in downloads:
        assert set(options) <= set(inspect.signature(monai.bundle.download).parameters)
        version = versions[options["name"]]
        if "url" in options:
            assert options["url"].endswith(f"/{options['name']}_v{version}.zip")
        else:
            assert (options["version"], options["repo"]) == (version, f"OWNER/REPO/v{tag}")
    assert {"url" in options for options in downloads} == {True, False}


def test_the_packages_for_a_downloaded_bundle_are_those_that_its_page_names():
    (line,) = [words for words in commands(ROOT / "README.md", "pip install") if "fire" in words]
    assert all(commands(page, "pip install") == [line] for page in PAGES if page.parent.name == "docs")


def verb_commands():
    """Commands of a bundle's page other than ``run``: exports and MONAI's checks."""
    for bundle in BUNDLES:
        for verb, *words in commands(bundle / "docs" / "README.md", "-m monai.bundle"):
            if verb != "run":
                yield pytest.param(bundle, verb, words, id=f"{bundle.name}: {verb} {' '.join(words)}"[:120])


@pytest.mark.parametrize(("bundle", "verb", "words"), list(verb_commands()))
def test_an_export_or_check_has_options_of_monai_and_names_what_the_bundle_has(bundle, verb, words):
    options = options_of(words)
    assert set(options) <= set(inspect.signature(getattr(monai.bundle, verb)).parameters)
    assert [
        name for name in ("config_file", "meta_file", "ckpt_file") if not (bundle / options.get(name, "")).exists()
    ] == []
    network = options.get("net_id", "network_def")
    if "config_file" in options:
        assert network in merged(bundle, words)
    if "input_shape" in options:
        metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
        image = metadata[network.replace("_def", "_data_format")]["inputs"]["image"]
        shape = literal_eval(options["input_shape"])
        assert shape[1] == image["num_channels"]
        for side, described in zip(shape[2:], image["spatial_shape"], strict=True):
            assert side % int(re.match(r"\d+", str(described))[0]) == 0


def test_every_bundle_says_how_to_export_it():
    verbs = {
        bundle.name: {param.values[1] for param in verb_commands() if param.values[0] == bundle} for bundle in BUNDLES
    }
    assert all(
        said >= {"ckpt_export", "onnx_export", "verify_net_in_out", "verify_metadata"} for said in verbs.values()
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parents[1].name)
def test_every_option_named_in_the_text_exists_in_a_config(page):
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    named = {option.split()[0] for option in re.findall(r"`--([\w:]+)", text)}
    known = set()
    for bundle in BUNDLES:
        for config in (bundle / "configs").glob("*.yaml"):
            known |= set(yaml.safe_load(config.read_text()))
    assert {option for option in named if option.split("::")[0] not in known | {"bundle_root"}} == set()


def tool_commands():
    """Commands of the shared tools, in shell blocks and in the text, by the package that each page calls them from."""
    for page in PAGES:
        package = tools_of(page)
        inline = re.findall(rf"`python -m {package} ([^`]+)`", page.read_text("utf-8"))
        for words in [*commands(page, f"-m {package}"), *map(shlex.split, inline)]:
            yield pytest.param(words, id=f"{package}: {' '.join(words)}"[:80])


def tools_of(page):
    """The package that has the shared tools: a bundle's own in its folder, so that a zip of it works alike."""
    return f"{page.parents[1].name.removesuffix('_bundle')}.common" if page.parent.name == "docs" else "common"


@pytest.mark.parametrize("words", list(tool_commands()))
def test_a_command_of_the_shared_tools_has_the_options_given(words):
    module, function = COMMANDS[words[0]]
    parameters = inspect.signature(getattr(import_module(module, "common"), function)).parameters
    assert {word[2:] for word in words if word.startswith("--")} <= set(parameters)


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_a_bundle_calls_the_shared_tools_by_its_own_package(bundle):
    pages = [*(bundle / "docs").iterdir(), *(bundle / "configs").iterdir()]
    called = {name for page in pages for name in re.findall(r"-m ([\w.]*common)\b", page.read_text("utf-8"))}
    assert called == {tools_of(bundle / "docs" / "README.md")}


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make (\w+)", (ROOT / "README.md").read_text("utf-8"))) & {"demo", "test"} <= targets
    assert {"demo", "test", "check", "bench"} <= targets


@pytest.mark.parametrize("page", [*PAGES, *(ROOT / "docs").glob("*.md")], ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_of_the_repository_lead_somewhere(page):
    links = re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]+))?\)", page.read_text("utf-8"))
    assert [link for link, _ in links if not (page.parent / link).exists()] == []
    assert [part for link, part in links if part and part not in anchors(page.parent / link if link else page)] == []


def anchors(page):
    """What GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_table_of_data_sets_has_every_layout():
    table = (ROOT / "docs" / "data_sets.md").read_text("utf-8").split("\n## ")[0]
    assert re.findall(r"^\| `([\w-]+)` ", table, re.MULTILINE) == list(LAYOUTS)
