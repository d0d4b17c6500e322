"""What surrounds the code agrees with it: workflows, issue forms, versions, and how to cite."""

import inspect
import json
import os
import re
import shlex
from importlib import import_module

import pytest
import yaml

from common.__main__ import COMMANDS

from .conftest import BUNDLES, ROOT

GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
PYTHON = ".venv/bin/python -m "


def read(path):
    return yaml.safe_load(path.read_text("utf-8"))


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def commands(start):
    """What follows ``start`` in the commands of all workflows, as words."""
    runs = [step["run"] for path in WORKFLOWS for step in steps(read(path)) if "run" in step]
    lines = [line for run in runs for line in run.splitlines()]
    return [shlex.split(line.removeprefix(start)) for line in lines if line.startswith(start)]


def project_version():
    return re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE).group(1)


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request):
    return read(request.param)


@pytest.fixture(params=FORMS, ids=lambda path: path.stem)
def form(request):
    return read(request.param)


def test_a_workflow_may_read_only_and_ends(workflow):
    assert workflow["permissions"] == {"contents": "read"}
    assert "cancel-in-progress" in workflow["concurrency"]
    assert all(job["timeout-minutes"] <= 120 for job in workflow["jobs"].values())


def test_only_the_job_that_makes_the_release_may_write_and_only_for_a_tag():
    writing = [job for path in WORKFLOWS for job in read(path)["jobs"].values() if "permissions" in job]
    assert [job["if"] for job in writing] == ["github.ref_type == 'tag'"]
    assert read(GITHUB / "workflows" / "release.yml")[True]["push"] == {"tags": ["v*"]}  # YAML reads "on" as true


def test_every_python_of_a_workflow_keeps_what_pip_downloads(workflow):
    pythons = [step["with"] for step in steps(workflow) if step.get("uses", "").startswith("actions/setup-python@")]
    assert all(python["cache"] == "pip" for python in pythons)
    assert all((ROOT / python["cache-dependency-path"]).is_file() for python in pythons)


def test_the_tests_run_on_the_oldest_python_that_is_supported():
    oldest = re.search(r'requires-python = ">=(.*)"', (ROOT / "pyproject.toml").read_text()).group(1)
    assert read(GITHUB / "workflows" / "tests.yml")["jobs"]["fast"]["strategy"]["matrix"]["python"][0] == oldest


def test_every_make_target_of_a_workflow_exists():
    targets = re.findall(r"^([\w./-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    called = {word for words in commands("make ") for word in words}
    assert called - set(targets) == set()
    assert {"test", "check", "test-monailabel"} <= called


def test_every_command_of_the_shared_tools_in_a_workflow_exists():
    called = commands(f"{PYTHON}common ")
    assert [words[:2] for words in called] == [["pack", "all"]]
    for name, *words in called:
        module, function = COMMANDS[name]
        parameters = inspect.signature(getattr(import_module(module, "common"), function)).parameters
        assert {word[2:] for word in words if word.startswith("--")} <= set(parameters)


def test_every_file_that_a_workflow_tests_exists():
    called = commands(f"{PYTHON}pytest ")
    files = {word for words in called for word in words if word.endswith(".py")}
    assert [name for name in files if not (ROOT / name).is_file()] == []
    assert "tests/test_housekeeping.py" in files  # versions, before anything is packed
    assert any(words[-2:] == ["-m", "slow"] for words in called)


def test_the_versions_of_project_citation_and_changelog_agree():
    version = project_version()
    assert read(ROOT / "CITATION.cff")["version"] == version
    assert re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE).group(1) == version


def test_a_bundles_version_is_the_latest_of_its_changelog(bundle):
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text("utf-8"))
    versions = [tuple(map(int, version.split("."))) for version in metadata["changelog"]]
    assert tuple(map(int, metadata["version"].split("."))) == max(versions)


def test_a_tag_is_the_version_and_its_changes_are_no_longer_called_unreleased():
    if os.environ.get("GITHUB_REF_TYPE") != "tag":
        pytest.skip("only for a tag, in the workflow that makes the release")
    assert os.environ["GITHUB_REF_NAME"] == f"v{project_version()}"
    assert "(unreleased)" not in (ROOT / "CHANGELOG.md").read_text("utf-8")


def test_an_issue_form_has_what_github_asks_for(form):
    assert {"name", "description", "body"} <= set(form)
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    assert {field["type"] for field in fields} <= {"input", "textarea", "dropdown", "checkboxes"}
    assert all(field["attributes"]["label"] for field in fields)
    assert len({field["id"] for field in fields}) == len(fields)


def test_the_form_for_bundles_names_them_all_and_refuses_patient_data():
    path = GITHUB / "ISSUE_TEMPLATE" / "bundle_or_weights.yml"
    fields = {field["id"]: field for field in read(path)["body"] if "id" in field}
    assert fields["bundle"]["attributes"]["options"] == [bundle.name for bundle in BUNDLES]
    assert fields["private"]["attributes"]["options"][0]["required"] is True
    assert read(path)["name"] in (BUNDLES[0] / "docs" / "model_card.md").read_text()  # which says where to report


def test_the_citation_names_the_paper_of_every_bundle_as_the_bundle_does():
    citation = read(ROOT / "CITATION.cff")
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["cff-version"] == "1.2.0"
    papers = {paper["notes"]: paper for paper in citation["references"]}
    assert set(papers) == {bundle.name for bundle in BUNDLES}
    for bundle in BUNDLES:
        paper, text = papers[bundle.name], (bundle / "configs" / "metadata.json").read_text("utf-8")
        stated = [paper["title"], paper["authors"][0]["family-names"], str(paper.get("year", ""))]
        links = [paper[key] for key in ("doi", "url", "repository-code") if key in paper]
        assert [value for value in [*stated, *links] if value not in text] == []
