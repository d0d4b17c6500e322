"""Command line of the shared tools: ``python -m common COMMAND --help``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

import fire

COMMANDS = {  # imported when called, because torch takes seconds to import
    "phantom": (".phantom.dataset", "write_dataset"),
    "datalist": (".datalist", "datalist"),
    "evaluate": (".evaluation", "evaluate"),
    "preview": (".preview", "preview"),
    "centerline": (".centerline.command", "centerline"),
}


def main() -> None:
    """Run the command named by the first argument."""
    name = sys.argv[1] if len(sys.argv) > 1 else None
    if name not in COMMANDS:
        sys.exit(f"usage: python -m common COMMAND, where COMMAND is one of: {', '.join(COMMANDS)}")
    module, function = COMMANDS[name]
    command = getattr(import_module(module, __package__), function)
    fire.Fire(_with_plain_errors(command), sys.argv[2:], name=f"common {name}")


def _with_plain_errors(command: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap ``command`` so that what a user can mend is a line of text, not a traceback."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)  # fire prints what it returns
        except (ValueError, OSError, ImportError) as error:  # the last names a package to install
            sys.exit(f"error: {error}")

    return run


if __name__ == "__main__":
    main()
