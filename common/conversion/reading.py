"""Reading checkpoints that others have written, without running what is in them unless told to."""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

HDF5_MAGIC = b"\x89HDF"
ENTRIES = (
    "network_weights",
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "network",
    "net",
    "weights",
)
"""Under which checkpoints keep the network's state dict, beside that of an optimizer and more."""


class Checkpoint(NamedTuple):
    """What a file holds."""

    tensors: Mapping[str, Tensor]
    """State dict of the network, in the order of the file."""
    entry: str
    """Where in the file it was, such as "network_weights"; empty where the file is the state dict."""
    content: Any
    """All that the file holds."""
    module: nn.Module | None
    """The network itself, where the file holds it and it can be run."""


def is_hdf5(path: Path) -> bool:
    """Say whether a file is HDF5, as Keras writes it."""
    with path.open("rb") as file:
        return file.read(4) == HDF5_MAGIC


def read_checkpoint(path: Path, allow_pickle: bool = False) -> Checkpoint:
    """Read a file that torch has written: a state dict, a mapping with one in it, a whole module, or TorchScript.

    Args:
        path: the file.
        allow_pickle: run the code that the file names or holds; only for a file that you trust.

    Raises:
        ValueError: If torch cannot read it, it needs code and that is not allowed, or holds no state dict.
    """
    _refuse_other_kinds(path)
    content = _load_script(path, allow_pickle) if _is_script(path) else _load(path, allow_pickle)
    tensors, entry, module = _find(content, path)
    return Checkpoint(tensors, entry, content, module)


def _load(path: Path, allow_pickle: bool) -> Any:
    try:
        with safe_globals(_numpy_globals()):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if not allow_pickle:
            raise ValueError(_needs_code(path, error)) from error
    except (RuntimeError, EOFError, OSError, KeyError, IndexError, ValueError, TypeError) as error:
        raise ValueError(f"{path} is not a file that torch can load ({_first_line(error)}): fetch it again") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except (ImportError, AttributeError) as error:
        raise ValueError(
            f"{path} holds a module whose code is not here ({_first_line(error)}): run the command with PYTHONPATH set "
            "to the folder of the repository that wrote it, or save its state_dict() there and convert that"
        ) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise ValueError(f"{path} is not a file that torch can load ({_first_line(error)}): fetch it again") from error


def _refuse_other_kinds(path: Path) -> None:
    """Say what a file is that downloads leave in the place of a checkpoint."""
    with path.open("rb") as file:
        head = file.read(64).lstrip()
    if head.startswith(b"<"):
        raise ValueError(f"{path} is a web page, not a checkpoint: open it in a browser, it says how to get the file")
    if head.startswith(b"version https://git-lfs"):
        raise ValueError(f"{path} is a pointer of Git LFS, not a checkpoint: get the file with git lfs pull")
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if not any(name.endswith(("data.pkl", "constants.pkl")) for name in archive.namelist()):
                raise ValueError(f"{path} is an archive, not a checkpoint: unpack it, and convert the file inside")


def _needs_code(path: Path, error: Exception) -> str:
    """Say what a pickle wants to run."""
    try:
        names = sorted(get_unsafe_globals_in_checkpoint(path))
    except (ValueError, RuntimeError):  # a file older than torch 1.6
        names = re.findall(r"GLOBAL ([\w.]+)", str(error))
    if not names:
        return f"{path} is not a file that torch can load ({_first_line(error)}): fetch it again"
    return (
        f"{path} is a pickle that runs code when it is loaded: it names {', '.join(names[:6])}"
        f"{', ...' if len(names) > 6 else ''}. If you trust its origin, allow that with --allow_pickle True; otherwise "
        "ask for a file with the state dict alone"
    )


def _numpy_globals() -> list[Any]:
    """Name what numbers and arrays of NumPy are pickled with: data, no code. Logs in checkpoints are full of them."""
    kinds = {type(np.dtype(kind)) for kind in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?")}
    makers = {"scalar": np.float64(0).__reduce__()[0], "_reconstruct": np.zeros(1).__reduce__()[0]}
    folders = ("core", "_core")  # until NumPy 1, and since NumPy 2
    names = [(make, f"numpy.{folder}.multiarray.{name}") for name, make in makers.items() for folder in folders]
    return [np.dtype, np.ndarray, *kinds, *names]


def _is_script(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _load_script(path: Path, allow_pickle: bool) -> nn.Module:
    if not allow_pickle:
        raise ValueError(
            f"{path} is TorchScript, which holds a program: if you trust its origin, allow it with --allow_pickle True"
        )
    try:
        module: nn.Module = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ValueError(f"{path} is TorchScript that torch cannot load ({_first_line(error)})") from error
    return module


def _find(content: Any, path: Path, entry: str = "") -> tuple[Mapping[str, Tensor], str, nn.Module | None]:
    """Look for the network's state dict in what a file holds."""
    if isinstance(content, nn.Module):
        return content.state_dict(), entry, content
    if isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return {str(name): tensor for name, tensor in content.items()}, entry, None
        for name in ENTRIES:
            if isinstance(content.get(name), Mapping | nn.Module):
                return _find(content[name], path, f"{entry}.{name}".lstrip("."))
    held = f"the entries {sorted(map(str, content))[:12]}" if isinstance(content, Mapping) else type(content).__name__
    raise ValueError(
        f"{path} must hold a state dict, or one under {', '.join(ENTRIES[:-1])} or {ENTRIES[-1]}; "
        f"{f'its entry {entry!r}' if entry else 'it'} holds {held}"
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
