"""What a check says, and what is kept of a case once its files are closed."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

SEVERITIES = ("error", "warning", "note")  # a training fails or learns what is wrong; look at it; good to know


class Finding(NamedTuple):
    """One thing that a user should know.

    Attributes:
        severity: one of :data:`SEVERITIES`.
        check: a word or two that findings of one kind share.
        text: what is the matter, with figures.
        cure: what to do; empty where there is nothing to do.
        cases: names of the cases it is about; none where it is about the data set.
    """

    severity: str
    check: str
    text: str
    cure: str = ""
    cases: tuple[str, ...] = ()


@dataclass
class CaseReport:
    """What was found in one case.

    Attributes:
        name: of the case.
        measures: figures of its files, as JSON holds them.
        findings: what is the matter with it.
        image_hash: of its grey values, whatever file holds them; empty where they cannot be read.
        label_hash: the same of its label; empty where that is empty too.
        usable: False where the loaders refuse the entry, so that it must not be in the data list.
        thumbnail: PNG.
    """

    name: str
    measures: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    image_hash: str = ""
    label_hash: str = ""
    usable: bool = True
    thumbnail: bytes = b""

    def add(self, severity: str, check: str, text: object, cure: str = "") -> None:
        """Note a finding."""
        self.findings.append(Finding(severity, check, " ".join(str(text).split()), cure, (self.name,)))

    def refuse(self, check: str, text: object, cure: str = "") -> None:
        """Note an error for which the loaders refuse the case."""
        self.add("error", check, text, cure)
        self.usable = False

    @contextmanager
    def watching(self, check: str, severity: str = "error", cure: str = "") -> Iterator[None]:
        """Turn the ``ValueError`` and the warnings of a block, which say what to do, into findings."""
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                yield
            except ValueError as error:
                self.add(severity, check, error, cure)
        for warning in caught:
            if issubclass(warning.category, UserWarning):
                self.add("warning", check, warning.message)
