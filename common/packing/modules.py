"""Which modules of ``common`` a bundle reaches."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

from ..__main__ import COMMANDS

COMMON = Path(__file__).resolve().parents[1]


def reached_modules(bundle: Path) -> list[Path]:
    """Return the files of ``common`` that a bundle needs.

    They are those that its Python imports, its configs name and its documentation calls as a command
    (``python -m <package>.common COMMAND``), with all that these import in turn.

    Args:
        bundle: folder of the bundle, in this repository.

    Returns:
        Sorted paths relative to the folder of ``common``.
    """
    package = package_of(bundle)
    texts = [path.read_text("utf-8") for path in [*bundle.glob("configs/[!.]*"), *bundle.glob("docs/[!.]*.md")]]
    pending = {match for text in texts for match in re.findall(rf"\b{package}\.common\.([\w.]+)", text)}
    for command in {match for text in texts for match in re.findall(rf"-m {package}\.common (\w+)", text)}:
        pending |= {"__main__", COMMANDS[command][0].lstrip(".")}
    stub = bundle / package / "common" / "__init__.py"
    for path in set((bundle / package).rglob("*.py")) - {stub}:
        parts = (package, *path.relative_to(bundle / package).parent.parts)
        names = _imports(path.read_text("utf-8"), parts)
        pending |= {".".join(name[2:]) for name in names if name[:2] == (package, "common")}
    return _closure(pending)


def package_of(bundle: Path) -> str:
    """Return the name of a bundle's Python package.

    Raises:
        ValueError: If the folder has not exactly one package with a ``common`` in it.
    """
    found = [path.parents[1].name for path in bundle.glob("*/common/__init__.py")]
    if len(found) != 1:
        raise ValueError(f"{bundle} must have one package with common/__init__.py in it, found {found or 'none'}")
    return found[0]


def _closure(pending: set[str]) -> list[Path]:
    """Follow the imports of modules of ``common``, given by dotted names that may end in something they define."""
    found: set[Path] = set()
    while pending:
        for path in _files(pending.pop()):
            if path not in found:
                found.add(path)
                names = _imports((COMMON / path).read_text("utf-8"), ("common", *path.parent.parts))
                pending |= {".".join(name[1:]) for name in names if name[0] == "common"}
    return sorted(found)


def _files(name: str) -> list[Path]:
    """Return the file of a module of ``common``, and those of the packages around it."""
    files, path = [Path("__init__.py")], Path()
    for part in filter(None, name.split(".")):
        path = path / part
        if (COMMON / path / "__init__.py").is_file():
            files.append(path / "__init__.py")
        elif (COMMON / path).with_suffix(".py").is_file():
            return [*files, path.with_suffix(".py")]
        else:
            break  # a name that the last module defines
    return files


@cache
def _imports(source: str, parts: tuple[str, ...]) -> set[tuple[str, ...]]:
    """Return the dotted names that Python imports, wherever in it; relative ones start from the package ``parts``."""
    names: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {tuple(alias.name.split(".")) for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = parts[: len(parts) - node.level + 1] if node.level else ()
            base += tuple(node.module.split(".")) if node.module else ()
            names |= {(*base, alias.name) for alias in node.names}
    return names
