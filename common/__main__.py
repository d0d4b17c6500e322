"""Command line of the shared tools: ``python -m common COMMAND --help``, or ``python -m casnet.common`` in a bundle."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from importlib.util import find_spec
from inspect import signature
from typing import Any

import fire

COMMANDS = {  # imported when called, because torch takes seconds to import
    "segment": (".segmenting.command", "segment"),
    "phantom": (".phantom.dataset", "write_dataset"),
    "datalist": (".datalist", "datalist"),
    "evaluate": (".evaluation", "evaluate"),
    "preview": (".preview", "preview"),
    "centerline": (".centerline.command", "centerline"),
    "pack": (".packing.command", "pack"),
    "convert": (".conversion.command", "convert"),
}
PROGRAM = f"python -m {__package__}"  # as it was called; a packed bundle carries this package inside its own


def main() -> None:
    """Run the command named by the first argument."""
    name = sys.argv[1] if len(sys.argv) > 1 else None
    present = [command for command in COMMANDS if _is_present(command)]
    if name in COMMANDS and name not in present:
        sys.exit(f"{PROGRAM}: {name} is not part of this bundle, only of the repository; here: {', '.join(present)}")
    if name not in COMMANDS:
        absent = [command for command in COMMANDS if command not in present]
        more = f"; in the repository also: {', '.join(absent)}" if absent else ""
        sys.exit(f"usage: {PROGRAM} COMMAND, where COMMAND is one of: {', '.join(present)}{more}")
    module, function = COMMANDS[name]
    command = getattr(import_module(module, __package__), function)
    _refuse_unknown_options(command, name, sys.argv[2:])
    fire.Fire(_with_plain_errors(command, name), sys.argv[2:], name=f"{PROGRAM} {name}")


def _refuse_unknown_options(command: Callable[..., Any], name: str, words: list[str]) -> None:
    """End with a message if an option is not one of the command's: fire would first do the work, then complain."""
    parameters = signature(command).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return
    given = {word[2:].split("=")[0].replace("-", "_") for word in words if word.startswith("--") and word != "--"}
    known = [parameter.name for parameter in parameters]
    if unknown := sorted(given - {"help", *known, *(f"no{option}" for option in known)}):  # --nofilm is --film False
        options = ", ".join(f"--{option}" for option in known)
        sys.exit(f"{PROGRAM} {name}: there is no option --{unknown[0]}; it has {options}")


def _is_present(command: str) -> bool:
    """Whether the module of a command is here: a packed bundle carries those that it needs."""
    try:
        return find_spec(COMMANDS[command][0], __package__) is not None
    except ModuleNotFoundError:  # nor is the package that would hold it
        return False


def _with_plain_errors(command: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Wrap ``command`` so that what a user can mend is a line of text, not a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)  # fire prints what it returns
        except (ValueError, OSError, ImportError) as error:  # the last names a package to install
            sys.exit(f"{PROGRAM} {name}: error: {error}")

    return run


if __name__ == "__main__":
    main()
