"""Every command that the documentation gives names files, options and functions that exist."""

import inspect
import re
import shlex
from ast import literal_eval
from importlib import import_module

import pytest
import yaml
from monai.bundle import ConfigParser

from common.__main__ import COMMANDS

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


@pytest.mark.parametrize(("bundle", "words"), bundle_commands())
def test_a_bundle_command_overrides_only_what_its_configs_define(bundle, words):
    config = merged(bundle, words)
    options = {word[2:] for word in words if word.startswith("--")} - GIVEN
    assert {option for option in options if option not in config} == set()
    if words[0] in {"training", "evaluating", "synthesize"}:
        assert words[0] in config


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parents[1].name)
def test_every_option_named_in_the_text_exists_in_a_config(page):
    text = re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    named = {option.split()[0] for option in re.findall(r"`--([\w:]+)", text)}
    known = set()
    for bundle in BUNDLES:
        for config in (bundle / "configs").glob("*.yaml"):
            known |= set(yaml.safe_load(config.read_text()))
    assert {option for option in named if option.split("::")[0] not in known | {"bundle_root"}} == set()


@pytest.mark.parametrize("words", commands(ROOT / "README.md", "-m common"), ids=lambda words: " ".join(words)[:80])
def test_a_command_of_the_shared_tools_has_the_options_given(words):
    module, function = COMMANDS[words[0]]
    parameters = inspect.signature(getattr(import_module(module, "common"), function)).parameters
    assert {word[2:] for word in words if word.startswith("--")} <= set(parameters)


def test_every_make_target_of_the_readme_exists():
    targets = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"make (\w+)", (ROOT / "README.md").read_text("utf-8"))) & {"demo", "test"} <= targets
    assert {"demo", "test", "check", "bench"} <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parents[1].name)
def test_links_to_files_of_the_repository_lead_somewhere(page):
    links = re.findall(r"\]\((?!http)([^)#]+)", page.read_text("utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []
