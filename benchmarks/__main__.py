"""Command line: ``python -m benchmarks``; see the package's docstring."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "RESULTS.md"
ONE_THREAD = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


def main() -> int:
    """Run the benchmarks, print the table, return 1 if a floor is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--size", choices=["quick", "full"], default="quick", help="quick: CI; full: the claims")
    parser.add_argument("--case", help="comma-separated modules of benchmarks/cases; all by default")
    parser.add_argument("--rounds", type=int, help="interleaved rounds (3 for quick, 5 for full)")
    parser.add_argument("--json", type=Path, help="write the rows to this file as well")
    arguments = parser.parse_args()
    os.environ.update(dict.fromkeys(ONE_THREAD, "1"))

    # Imported only now: the libraries read their number of threads when they are loaded.
    from .case import case_names, load_cases
    from .report import header, missed_floors, render, write_json, write_results
    from .run import measure

    modules = arguments.case.split(",") if arguments.case else case_names()
    selected = [(module, case) for module in modules for case in load_cases(module, arguments.size)]
    rounds = arguments.rounds or {"quick": 3, "full": 5}[arguments.size]
    rows = []
    for module, case in selected:
        print(f"{module}: {case.title} ...", file=sys.stderr, flush=True)
        rows += measure(module, arguments.size, case, rounds)

    print(header(arguments.size, rounds))
    print(render(rows))
    if arguments.json:
        write_json(rows, arguments.json)
    if arguments.size == "full" and not arguments.case:
        write_results(rows, rounds, RESULTS)
    missed = missed_floors(rows)
    print("\n".join(missed) or "every floor holds", file=sys.stderr)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
