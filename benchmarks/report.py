"""Table, JSON and RESULTS.md."""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .run import Row

PACKAGES = ("torch", "monai", "numpy", "scipy", "scikit-image", "numba")
COLUMNS = (
    "case", "size", "variant", "median s", "x vs peer [min..max]", "peak MiB", "of peer's", "equality", "x of limit",
    "first call s",
)  # fmt: skip


def header(size: str, rounds: int) -> str:
    """Where and when: date, processor, package versions, size and rounds."""
    versions = ", ".join(f"{name} {_version(name)}" for name in PACKAGES)
    today = datetime.datetime.now(tz=datetime.timezone.utc).date()
    return (
        f"{today}, {_processor()}, Python {platform.python_version()}, {versions}; "
        f"size {size}, {rounds} interleaved rounds, one thread, process CPU time\n"
    )


def render(rows: Sequence[Row]) -> str:
    """Markdown table of the rows, aligned."""
    cells = [COLUMNS, *map(_cells, rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(COLUMNS))]
    lines = [
        "| " + " | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) + " |" for line in cells
    ]
    return "\n".join([lines[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *lines[1:]]) + "\n"


def missed_floors(rows: Sequence[Row]) -> list[str]:
    """A sentence for each asserted ratio that was not reached."""
    missed = []
    for row in rows:
        where = f"{row.case}, {row.size}, {row.variant}"
        if row.speedups and row.floor and np.median(row.speedups) < row.floor:
            missed.append(f"MISSED {where}: {np.median(row.speedups):.2f}x the peer's speed, floor {row.floor}x")
        if row.memory_share and row.memory_ceiling and row.memory_share > row.memory_ceiling:
            missed.append(f"MISSED {where}: {row.memory_share:.3f} of the peer's memory, ceiling {row.memory_ceiling}")
    return missed


def write_json(rows: Sequence[Row], path: Path) -> None:
    """Write the rows as a list of objects with every single round."""
    _write(json.dumps([asdict(row) for row in rows], indent=1), path)


def write_results(rows: Sequence[Row], rounds: int, path: Path) -> None:
    """Write the page that the README refers to."""
    text = (
        "# Benchmark results\n\n"
        "Written by `python -m benchmarks --size full`; what the columns mean is said in `benchmarks/__init__.py`.\n\n"
        f"{header('full', rounds)}\n{render(rows)}"
    )
    _write(text, path)


def _cells(row: Row) -> tuple[str, ...]:
    return (
        row.case,
        row.size,
        row.variant,
        _number(float(np.median(row.seconds)) if row.seconds else None),
        f"{_median(row.speedups)} [{min(row.speedups):.3g}..{max(row.speedups):.3g}]" if row.speedups else "n/a",
        _number(row.peak_mb),
        _number(row.memory_share),
        row.equality,
        _number(row.of_limit),
        _number(row.first_call_s),
    )


def _median(values: Sequence[float]) -> str:
    return _number(float(np.median(values)))


def _number(value: float | None) -> str:
    if value is None:
        return "n/a"
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "n/a"


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.processor() or platform.machine())


def _write(text: str, path: Path) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(text, encoding="ascii")
    temporary.replace(path)
