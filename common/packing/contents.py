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
LEFT_OUT = {"__pycache__", "data", "eval"}


def contents_of(bundle: Path, source: str) -> dict[str, bytes]:
    """Return the files of the zip of a bundle, by their path below its folder.

    The stub ``<package>/common`` is replaced by the modules of ``common`` that the bundle reaches, and YAML configs by
    JSON, under whose names the documentation and the configs then speak of each other. Python stays as it is.

    Args:
        bundle: folder of the bundle, in this repository.
        source: address of the release, for ``large_files.yml``.
    """
    package = package_of(bundle)
    files = {path.relative_to(bundle).as_posix(): path for path in sorted(bundle.rglob("*")) if _belongs(path, bundle)}
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


def _belongs(path: Path, bundle: Path) -> bool:
    parts = path.relative_to(bundle).parts
    hidden = any(part in LEFT_OUT or part.startswith(".") for part in parts)
    released = path.stem.endswith("_released")  # kept from before a training
    other = parts[0] == "models" and (released or path.suffix != ".pt")  # an export, or what was there before
    stub = len(parts) == 3 and parts[1:] == ("common", "__init__.py")
    return path.is_file() and not (hidden or other or stub)


def _large_file(name: str, content: bytes, bundle: Path, source: str) -> dict[str, str]:
    """Return the entry of large_files.yml from which MONAI's ``download_large_files`` restores a file."""
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text("utf-8"))
    url = f"{source}/{release_name(bundle.name, version_of(metadata), name)}"
    return {"path": name, "url": url, "hash_val": hashlib.sha256(content).hexdigest(), "hash_type": "sha256"}
