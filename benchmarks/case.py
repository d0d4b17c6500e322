"""What a benchmark consists of: a peer, our variants, the data they share and the comparison of their results."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from . import cases as case_modules


@dataclass(frozen=True)
class Variant:
    """One way to do the work.

    Args:
        name: column entry, e.g. ``"numba"``.
        run: the work; takes what :attr:`Case.prepare` returned and must leave it unchanged.
        floor: least accepted speed-up over the peer (median of the rounds); None asserts nothing.
        memory_ceiling: largest accepted share of the peer's extra peak memory; None asserts nothing.
        needs: package without which the variant prints ``n/a``.
        traffic_bytes: bytes that the work must at least move through memory, for the column "x of limit".
    """

    name: str
    run: Callable[[Any], Any]
    floor: float | None = None
    memory_ceiling: float | None = None
    needs: str | None = None
    traffic_bytes: int | None = None

    @property
    def available(self) -> bool:
        """Whether the package that the variant needs is installed."""
        return self.needs is None or importlib.util.find_spec(self.needs) is not None


@dataclass(frozen=True)
class Case:
    """Work that a peer and we can both do on the same data.

    Args:
        name: what is done, e.g. ``"soft clDice, forward + backward"``.
        size: the data's shape in words.
        prepare: makes the data; called once per process, outside the clock.
        peer: the built-in that every ratio refers to.
        ours: what is compared with it.
        check: ``(ours, peer) -> text``, raises ``AssertionError`` if our result is not the peer's; the text says in
            which sense and how closely they agree.
    """

    name: str
    size: str
    prepare: Callable[[], Any]
    peer: Variant
    ours: Sequence[Variant]
    check: Callable[[Any, Any], str]

    @property
    def title(self) -> str:
        """What is done on what; names the case within its module."""
        return f"{self.name}, {self.size}"

    @property
    def variants(self) -> list[Variant]:
        """The peer, then ours."""
        return [self.peer, *self.ours]


def case_names() -> list[str]:
    """Names of the modules in ``cases/``."""
    return sorted(module.name for module in pkgutil.iter_modules(case_modules.__path__))


def load_cases(module: str, size: str) -> list[Case]:
    """Cases of one module.

    Args:
        module: one of :func:`case_names`.
        size: ``"quick"`` or ``"full"``.

    Raises:
        ValueError: If there is no such module.
    """
    if module not in case_names():
        raise ValueError(f"--case must be among {', '.join(case_names())}, got {module!r}")
    loaded: list[Case] = importlib.import_module(f"benchmarks.cases.{module}").cases(size)
    return loaded
