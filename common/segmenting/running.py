"""The inference of a bundle, in this process, with less memory where it runs out."""

from __future__ import annotations

import gc
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigParser, ConfigWorkflow

BATCHES = ("window_batch", "windows_at_once", "frame_batch")  # options that say how much is computed at once
ON_CPU = {"device": "$torch.device('cpu')", "amp": False}


def inference_config(bundle: Path) -> Path:
    """Return the inference config of a bundle, in the repository (YAML) or unpacked (JSON).

    Raises:
        FileNotFoundError: If the folder has none.
        ValueError: If it does not take one image.
    """
    for suffix in ("yaml", "json"):
        path = bundle / "configs" / f"inference.{suffix}"
        if path.is_file():
            if missing := {"image", "output_dir", "device", "amp"} - set(_read(path)):
                raise ValueError(f"{path} has no option {', '.join(sorted(missing))}: it is no bundle of this project")
            return path
    raise FileNotFoundError(f"{bundle} is no bundle: it has no configs/inference, neither as YAML nor as JSON")


def run_inference(bundle: Path, image: Path, out: Path, cuda: bool | None = None) -> dict[str, Any]:
    """Segment one image with a bundle as it is shipped, in smaller batches and then on the CPU if memory runs out.

    Args:
        bundle: its folder. Its Python and configs are run: take only bundles from a place that you trust.
        image: what its option ``image`` takes.
        out: folder for what it writes.
        cuda: begin on the GPU; None where there is one.

    Returns:
        The options of the config that it ran with.

    Raises:
        FileNotFoundError: If the bundle has no inference config or no weights.
        ValueError: If the bundle refuses the image, or the memory does not suffice for the smallest attempt.
        OSError: If the results cannot be written.
    """
    path = inference_config(bundle)
    options = _read(path)
    given = {"bundle_root": str(bundle.resolve()), "image": str(image.resolve()), "output_dir": str(out.resolve())}
    for said, changes in _attempts(options, torch.cuda.is_available() if cuda is None else cuda):
        if said:
            print(f"Out of memory. {said}", flush=True)
        if _fits(path, {**given, **changes}):
            return {**options, **given, **changes}
        gc.collect()  # the network, before the next one is built
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    raise ValueError(f"{image} does not fit into the memory of this machine: cut it to the heart, or close programs")


def _attempts(options: Mapping[str, Any], cuda: bool) -> list[tuple[str, dict[str, Any]]]:
    """Return what to say and to change before each attempt."""
    smaller = {name: 1 for name in BATCHES if options.get(name, 1) != 1}
    attempts: list[tuple[str, dict[str, Any]]] = [("", {})]
    if smaller:
        attempts.append((f"Again with {', '.join(f'{name} = 1' for name in smaller)}.", smaller))
    if cuda:
        attempts.append(("Again on the CPU, which takes longer.", {**smaller, **ON_CPU}))
    return attempts


def _fits(config: Path, changes: Mapping[str, Any]) -> bool:
    """Run a config; return False if the memory ran out."""
    try:
        with _quiet():
            workflow = ConfigWorkflow(str(config), workflow_type="infer", logging_file=False, **changes)
            workflow.initialize()
            workflow.run()
            workflow.finalize()
    except (RuntimeError, ValueError, OSError, MemoryError) as error:
        causes = list(_causes(error))
        if any(_is_out_of_memory(cause) for cause in causes):
            return False
        told = [cause for cause in causes if isinstance(cause, (ValueError, OSError))]
        if told:  # MONAI wraps what a transform raises
            raise told[0] from None  # it names the file and the cure; what caused it need not
        raise
    return True


def _is_out_of_memory(error: BaseException) -> bool:
    """Say whether memory ran out: of the GPU, of NumPy, or of torch on the CPU, which has no class for it."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error, what caused it, what caused that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the log of MONAI and its warnings to developers back, and leave the import path as it was."""
    path, level = list(sys.path), logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            for category in (FutureWarning, DeprecationWarning):
                warnings.simplefilter("ignore", category)
            yield
    finally:
        logging.disable(level)
        sys.path[:] = path


def _read(config: Path) -> dict[str, Any]:
    """Read a config as it is written."""
    return dict(ConfigParser.load_config_file(str(config)))
