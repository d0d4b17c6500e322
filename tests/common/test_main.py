"""The command line of `common`."""

import subprocess
import sys

import pytest

from common import __main__ as command_line


@pytest.mark.parametrize("arguments", [[], ["segment"]], ids=["none", "unknown"])
def test_an_unknown_command_lists_the_known_ones(arguments):
    result = subprocess.run([sys.executable, "-m", "common", *arguments], capture_output=True, text=True)
    assert result.returncode == 1
    assert all(name in result.stderr for name in command_line.COMMANDS)


def test_a_mistake_of_the_user_is_told_in_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["common", "evaluate", "--pred", str(tmp_path / "no"), "--ref", "x", "--out", "y"])
    with pytest.raises(SystemExit, match=r"^error: .*no"):
        command_line.main()


def test_a_missing_package_is_told_in_one_line(monkeypatch, tmp_path):
    (tmp_path / "1.img.nii.gz").touch()
    (tmp_path / "1.label.nii.gz").touch()
    (tmp_path / "imageCAS_data_split.xlsx").touch()
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    monkeypatch.setattr(sys, "argv", ["common", "datalist", str(tmp_path), "--out", str(tmp_path / "dataset.json")])
    with pytest.raises(SystemExit, match=r"^error: .*pip install openpyxl"):
        command_line.main()
