"""First-call time and extra peak memory of one variant, in a process of its own.

python -m benchmarks.probe MODULE SIZE TITLE VARIANT     prints {"first_call_s": ..., "peak_mb": ...}
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Probe:
    """What only a fresh process can tell.

    Args:
        first_call_s: CPU seconds of the first call, compilation included.
        peak_mb: extra peak memory of the second call in MiB; None where the system does not tell.
    """

    first_call_s: float
    peak_mb: float | None


def probe(module: str, size: str, title: str, variant: str) -> Probe:
    """Run one variant in a fresh process whose numba cache is empty."""
    with tempfile.TemporaryDirectory() as cache:
        answer = subprocess.run(
            [sys.executable, "-m", "benchmarks.probe", module, size, title, variant],
            cwd=Path(__file__).parents[1],
            env=os.environ | {"NUMBA_CACHE_DIR": cache},
            stdout=subprocess.PIPE,
            check=True,
            text=True,
        )
    return Probe(**json.loads(answer.stdout.splitlines()[-1]))


def _probe_here(module: str, size: str, title: str, variant_name: str) -> Probe:
    from .case import load_cases
    from .memory import extra_peak_mb
    from .timing import cpu_seconds

    case = next(case for case in load_cases(module, size) if case.title == title)
    variant = next(variant for variant in case.variants if variant.name == variant_name)
    data = case.prepare()
    first_call = cpu_seconds(lambda: variant.run(data))
    return Probe(first_call, extra_peak_mb(lambda: variant.run(data)))


if __name__ == "__main__":
    import torch

    torch.set_num_threads(1)
    print(json.dumps(asdict(_probe_here(*sys.argv[1:]))))
