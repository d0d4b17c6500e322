"""What stands in the zip of a bundle."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from .modules import COMMON, package_of, reached_modules

LARGE = 25_000_000  # bytes; the model zoo keeps larger files beside its repository
TEXTS = {".json", ".md", ".py", ".txt", ".conf", ".yml"}


def contents_of(bundle: Path, source: str) -> dict[str, bytes]:
    """Return the files of the zip of a bundle, by their path below its folder.

    They are the licence, the configs, the documentation, the Python package, and the weights that configs or
    documentation name: not what trainings, exports and the documented commands leave in the folder.

    The stub ``<package>/common`` is replaced by the modules of ``common`` that the bundle reaches, and YAML configs by
    JSON, under whose names the documentation and the configs then speak of each other. Python stays as it is.

    Args:
        bundle: folder of the bundle, in this repository.
        source: address of the release, for ``large_files.yml``.
    """
    package = package_of(bundle)
    files = {path.relative_to(bundle).as_posix(): path for path in _files(bundle, package)}
    configs = {name for name in files if re.fullmatch(r"configs/\w+\.yaml", name)}
    contents = {name: path.read_bytes() for name, path in files.items() if name not in configs}
    contents |= {
        f"{package}/common/{path.as_posix()}": (COMMON / path).read_bytes() for path in reached_modules(bundle)
    }
    for name in configs:
        content = yaml.safe_load(files[name].read_text("utf-8"))
        contents[name.replace(".yaml", ".json")] = (json.dumps(content, indent=4) + "\n").encode("ascii")
    stems = "|".join(sorted(Path(name).stem for name in configs))
    for name in contents:
        if name.endswith((".md", ".json")):
            contents[name] = re.sub(rf"\b({stems})\.yaml\b", r"\1.json", contents[name].decode()).encode()
    if large := large_names(contents):
        entries = [_large_file(name, contents[name], bundle, source) for name in large]
        contents["large_files.yml"] = yaml.safe_dump({"large_files": entries}, sort_keys=False).encode("ascii")
    return dict(sorted(contents.items()))


def large_names(contents: Mapping[str, bytes]) -> list[str]:
    """Return the names of the files that are too large for the model zoo's repository."""
    return sorted(name for name, content in contents.items() if len(content) > LARGE)


def release_name(bundle: str, version: str, path: str = "") -> str:
    """Return the name of a file of a release: the zip of a bundle, or one of its large files."""
    return f"{bundle}_v{version}_{Path(path).name}" if path else f"{bundle}_v{version}.zip"


def version_of(metadata: dict[str, Any]) -> str:
    """Return the version that metadata state."""
    return str(metadata.get("version"))


def _files(bundle: Path, package: str) -> list[Path]:
    """Return the files of a bundle's folder that belong in its zip, with configs as they are there."""
    folders = [bundle / name for name in ("configs", "docs", package)]
    inside = [path.relative_to(bundle) for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    hidden = [path for path in inside if any(part.startswith((".", "__pycache__")) for part in path.parts)]
    stub = Path(package, "common", "__init__.py")
    kept = [bundle / path for path in inside if path not in {*hidden, stub}]
    naming = [path for path in kept if path.parent in folders[:2] and path.suffix in {".yaml", ".json", ".md"}]
    named = {name for path in naming for name in re.findall(r"\bmodels/\w+\.pt\b", path.read_text("utf-8"))}
    weights = sorted(bundle / name for name in {"models/model.pt", *named} if not name.endswith("_released.pt"))
    return [*kept, *filter(Path.is_file, [*weights, bundle / "LICENSE"])]


def _large_file(name: str, content: bytes, bundle: Path, source: str) -> dict[str, str]:
    """Return the entry of large_files.yml from which MONAI's ``download_large_files`` restores a file."""
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text("utf-8"))
    url = f"{source}/{release_name(bundle.name, version_of(metadata), name)}"
    return {"path": name, "url": url, "hash_val": hashlib.sha256(content).hexdigest(), "hash_type": "sha256"}
