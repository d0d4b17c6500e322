"""The command line of `common`, here and as a bundle carries it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from common import __main__ as command_line

COMMON = Path(command_line.__file__).parent


def call(folder, package, *arguments):
    """Run ``python -m package``, with numba's cache and the bytecode of the project out of its way."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", package, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)


@pytest.fixture
def bundle(tmp_path):
    """A bundle's folder with a package that carries nothing of `common` but the command line and data lists."""
    carried = tmp_path / "method" / "common"
    carried.mkdir(parents=True)
    (carried.parent / "__init__.py").touch()
    for name in ["__init__.py", "__main__.py", "datalist.py"]:
        shutil.copy(COMMON / name, carried)
    return tmp_path


@pytest.mark.parametrize("arguments", [[], ["nothing"]], ids=["none", "unknown"])
def test_an_unknown_command_lists_the_known_ones(arguments):
    result = call(COMMON.parent, "common", *arguments)
    assert result.returncode == 1
    assert result.stderr.startswith("usage: python -m common COMMAND")
    assert all(name in result.stderr for name in command_line.COMMANDS)
    assert "repository" not in result.stderr


def test_a_bundle_lists_the_commands_that_it_carries_and_says_where_the_others_are(bundle):
    result = call(bundle, "method.common")
    here, elsewhere = result.stderr.split("; in the repository also: ")
    assert here == "usage: python -m method.common COMMAND, where COMMAND is one of: datalist"
    assert set(elsewhere.strip().split(", ")) == set(command_line.COMMANDS) - {"datalist"}


@pytest.mark.parametrize("name", ["evaluate", "phantom"], ids=["module", "module of a package"])
def test_a_command_that_a_bundle_does_not_carry_is_told_apart_from_an_unknown_one(bundle, name):
    result = call(bundle, "method.common", name)
    assert result.returncode == 1
    assert result.stderr.startswith(f"python -m method.common: {name} is not part of this bundle")


def test_a_mistake_of_the_user_is_told_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["common", "evaluate", "--pred", str(tmp_path / "no"), "--ref", "x", "--out", "y"])
    with pytest.raises(SystemExit, match=r"^python -m common evaluate: error: .*no"):
        command_line.main()


def test_a_missing_package_is_told_in_one_line(monkeypatch, tmp_path):
    (tmp_path / "1.img.nii.gz").touch()
    (tmp_path / "1.label.nii.gz").touch()
    (tmp_path / "imageCAS_data_split.xlsx").touch()
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    monkeypatch.setattr(sys, "argv", ["common", "datalist", str(tmp_path), "--out", str(tmp_path / "dataset.json")])
    with pytest.raises(SystemExit, match=r"^python -m common datalist: error: .*pip install openpyxl"):
        command_line.main()


def test_a_misspelt_option_is_told_before_anything_is_done(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["common", "phantom", str(tmp_path / "out"), "--cases", "1", "--sed", "3"])
    with pytest.raises(SystemExit, match=r"^python -m common phantom: there is no option --sed; it has --out.*--seed"):
        command_line.main()
    assert not (tmp_path / "out").exists()
