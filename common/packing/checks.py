"""What a bundle must be before it is packed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .contents import TEXTS, version_of
from .metadata import metadata_problems

REQUIRED = ("LICENSE", "docs/README.md", "docs/data_license.txt", "configs/inference.json", "configs/train.json")
# A path that exists on one machine only. "/path/to/..." is a placeholder, "/proc/..." is there on every Linux, and
# "+ '/models/model.pt'" is a part of a path.
ABSOLUTE = re.compile(
    r"(?<![\w.:/@<-])/(?:home|root|Users|tmp|mnt|media|opt|srv|scratch|Volumes)/[^\s'\"`)]+"
    r"|(?<=[\s\"`=(])/(?!path/to\b|proc/)\w[\w.-]*/[^\s'\"`)]+"
    r"|(?<!\+ )'/(?!path/to\b|proc/)\w[\w.-]*/[^\s'\"`)]+"
    r"|\b[A-Z]:[\\/]+\w+"
)


def check_contents(bundle: str, contents: Mapping[str, bytes]) -> None:
    """Refuse what is not fit for a release.

    Args:
        bundle: name of the bundle.
        contents: files of its zip, by their path below its folder.

    Raises:
        ValueError: If files are missing, weights among them, the metadata do not fit MONAI's schema or their version is
            not in their changelog, or a text names a path of this machine; names everything that is wrong.
    """
    problems = [f"{name} is missing" for name in REQUIRED if name not in contents]
    problems += _weight_problems(contents)
    problems += _metadata_problems(contents.get("configs/metadata.json", b""))
    for name, content in contents.items():
        if Path(name).suffix in TEXTS:
            paths = sorted(set(ABSOLUTE.findall(content.decode("utf-8"))))
            problems += [f"{name} names a path of one machine, {path}" for path in paths]
    if "_v" in bundle:
        problems.append('its name has "_v" in it, where MONAI expects the version to begin')
    if problems:
        raise ValueError(f"{bundle} cannot be packed:\n- " + "\n- ".join(problems))


def _weight_problems(contents: Mapping[str, bytes]) -> list[str]:
    """Name the weights that inference reads by default and that are not there."""
    config = contents.get("configs/inference.json", b"").decode()
    named = {*re.findall(r"'/(models/\w+\.pt)'", config), "models/model.pt"}
    return [f"the weights {name} are missing: train first" for name in sorted(named) if name not in contents]


def _metadata_problems(content: bytes) -> list[str]:
    try:
        metadata: dict[str, Any] = json.loads(content)
    except ValueError as error:
        return [f"configs/metadata.json is missing or is no JSON ({error})"]
    problems = [f"configs/metadata.json: {problem}" for problem in metadata_problems(metadata)]
    version = version_of(metadata)
    if version not in metadata.get("changelog", {}):
        problems.append(f"the version {version} is not in the changelog of configs/metadata.json")
    return problems
