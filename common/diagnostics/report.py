"""Writing the report of a case beside its mask, and failing a run that has warnings."""

from __future__ import annotations

import json
import math
import warnings
from abc import abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from monai.config import KeysCollection
from monai.data import MetaTensor
from monai.transforms import SaveImaged
from monai.utils import ImageMetaKey

from ..files import write_json_file
from .model import describe_model
from .notes import notes_of

GENERATOR = "coronary-bundles report"
"""First entry of a report, by which it is told from other JSON files."""

FORMAT = 1
"""Version of the report's entries."""

REPORT = "report"
"""Item of the data under which the report is left."""

DECIMALS = 6
"""Digits after the point that numbers are written with."""


class ReportWriter(SaveImaged):
    """Write ``<output_dir>/<case>.json``, the last step of post-processing; subclasses say what is in it.

    What the steps before have noted (:mod:`.notes`) is in the report; warnings that are new here are given to the user
    at once, too. It is a ``SaveImaged`` because MONAI Label, which writes files itself, drops those.

    Args:
        keys: the mask on the grid of the input.
        image_key: the image that it was made from, with its notes.
        output_dir: folder to write to; made if it is absent.
        bundle_root: folder of the bundle.
        checkpoints: files of weights that were used; read once for all cases.
        settings: options of the inference that decide the mask, by name; plain values.
        allow_missing_keys: skip absent keys instead of raising.
    """

    def __init__(
        self,
        keys: KeysCollection,
        image_key: str,
        output_dir: str | Path,
        bundle_root: str | Path,
        checkpoints: Sequence[str | Path],
        settings: Mapping[str, Any],
        allow_missing_keys: bool = False,
    ) -> None:
        super().__init__(keys, output_dir=output_dir, allow_missing_keys=allow_missing_keys)
        self.image_key = image_key
        self.output_dir = Path(output_dir)
        self.bundle_root = bundle_root
        self.checkpoints = checkpoints
        self.settings = dict(settings)
        self._model: dict[str, Any] | None = None

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        """Write the report; return ``data`` with it under ``report``.

        Raises:
            FileExistsError: If there is a file of that name that is no report.
            OSError: If the folder or the file cannot be written.
            ValueError: If the mask does not know its input file.
        """
        reported = dict(data)
        for key in self.key_iterator(reported):
            mask, image = reported[key], reported[self.image_key]
            source = mask.meta.get(ImageMetaKey.FILENAME_OR_OBJ) if isinstance(mask, MetaTensor) else None
            if not source:
                raise ValueError(f"{key!r} does not know its input file: its metadata has no 'filename_or_obj'")
            if self._model is None:
                self._model = describe_model(self.bundle_root, self.checkpoints)
            case = str(reported.get("case") or self.case_of(source))
            notes = notes_of(image, mask)
            found, remarks, content = self.describe(mask, notes)
            for message in found:
                warnings.warn(f"{source}: {message}", stacklevel=2)
            head = {"generator": GENERATOR, "format": FORMAT, "case": case, "image": Path(source).name}
            said = {"warnings": [*notes.get("warnings", []), *found], "remarks": remarks}
            report = plain({**head, **said, "model": self._model, **content, "settings": self.settings})
            write_report(self.output_dir / f"{case}.json", report)
            reported[REPORT] = report
        return reported

    @abstractmethod
    def case_of(self, source: str) -> str:
        """Return the case of an input file."""

    @abstractmethod
    def describe(self, mask: MetaTensor, notes: Mapping[str, Any]) -> tuple[list[str], list[str], dict[str, Any]]:
        """Return new warnings, remarks on what is as it should be, and what was measured."""


class FailOnWarnings:
    """Let an inference fail at its end if a report has warnings; all cases are segmented and reported before.

    Attach it as a handler to an evaluator whose post-processing ends with a :class:`ReportWriter`.
    """

    def __init__(self) -> None:
        self._warned: dict[str, list[str]] = {}

    def attach(self, engine: Engine) -> None:
        """Look at the reports of every iteration of ``engine``, and at all of them at its end."""
        engine.add_event_handler(Events.STARTED, lambda: self._warned.clear())
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._look)
        engine.add_event_handler(Events.COMPLETED, self._judge)

    def _look(self, engine: Engine) -> None:
        """Remember the warnings of a batch."""
        items: Any = engine.state.output
        for report in (item[REPORT] for item in items):
            if report["warnings"]:
                self._warned[report["case"]] = report["warnings"]

    def _judge(self) -> None:
        """Raise a ``ValueError`` that names the cases and their warnings, if there are any."""
        if self._warned:
            listed = "\n".join(f"{case}: {message}" for case, found in self._warned.items() for message in found)
            raise ValueError(f"{len(self._warned)} case(s) with warnings, which --strict forbids:\n{listed}")


def write_report(path: Path, report: Mapping[str, Any]) -> None:
    """Write a report, whole or not at all; an earlier report is replaced.

    Raises:
        FileExistsError: If there is a file of that name that is no report.
        OSError: If the folder or the file cannot be written.
    """
    if path.exists() and not _is_report(path):
        raise FileExistsError(
            f"{path} is there already and is no report of an earlier inference, so it is not replaced: choose another "
            "--output_dir, or --report False"
        )
    write_json_file(path, report)


def probability_of(notes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was noted about the probability, null where nothing was."""
    return {name: notes.get(name) for name in ("highest_probability", "above_threshold")}


def plain(value: Any) -> Any:
    """Return what JSON can hold: rounded numbers, null for NaN and infinity, lists for tuples and arrays."""
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, np.ndarray | torch.Tensor | np.generic):
        value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return round(value, DECIMALS) if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _is_report(path: Path) -> bool:
    """Say whether a file is a report."""
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("generator") == GENERATOR
