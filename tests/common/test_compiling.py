"""Compiled kernels in a repository that one process calls ``common`` and another ``casnet.common``."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

KERNELS = """
from .compiling import kernel

@kernel
def double(number):
    return 2 * number
"""
STUB = "__path__ = [{folder!r}]"


def test_without_a_writable_folder_nothing_is_cached(monkeypatch):
    compiling = pytest.importorskip("common.accelerated.compiling", reason="needs numba", exc_type=ImportError)

    def njit(cache=False, **_):
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(compiling, "njit", njit)
    assert compiling.kernel(lambda: 42)() == 42


@pytest.mark.slow
def test_a_kernel_cached_under_one_package_name_runs_under_another(tmp_path):
    pytest.importorskip("numba")
    shared, bundle = tmp_path / "repository" / "shared", tmp_path / "bundle" / "method" / "shared"
    shared.mkdir(parents=True)
    bundle.mkdir(parents=True)
    source = Path(__file__).parents[2] / "common" / "accelerated" / "compiling.py"
    (shared / "compiling.py").write_text(source.read_text())
    (shared / "kernels.py").write_text(KERNELS)
    (bundle / "__init__.py").write_text(STUB.format(folder=str(shared)))
    for folder, package in ((shared.parent, "shared"), (bundle.parents[1], "method.shared")):
        printed = subprocess.run(
            [sys.executable, "-c", f"from {package}.kernels import double; print(double(21))"],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert printed.stdout == "42\n", printed.stderr
