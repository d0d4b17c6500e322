"""Ratios of our code to the built-ins it replaces (MONAI, scikit-image, SciPy), measured side by side in one run.

    python -m benchmarks [--size quick|full] [--case losses,metrics] [--rounds N] [--json FILE]

``quick`` is for CI (nine minutes on one core); ``full`` uses the sizes of the claims and, run without ``--case``,
rewrites ``RESULTS.md``. The exit status is 1 if a floor is missed. Rules of the house:

* A variant's result is compared with the peer's before anything is timed; a wrong variant stops the run.
* Peer and ours run in one process with one thread, interleaved; the clock is process CPU time, a speed-up is computed
  round by round and its median counts. No absolute time is asserted, only ratios.
* Memory is the extra peak of one warm call, measured in a fresh process for each variant. The same process first times
  the first call ever made (imports excluded, compilation included: numba starts from an empty cache).
* A variant whose package is not installed prints ``n/a``.

**To add a benchmark**, write ``cases/<module>.py`` with one function ``cases(size: str) -> list[Case]``, ``size`` being
``"quick"`` or ``"full"``; the file is found by its name::

    from benchmarks.case import Case, Variant
    from benchmarks.data import coronary_mask

    def cases(size: str) -> list[Case]:
        shape = (512, 512, 275) if size == "full" else (256, 256, 256)
        return [
            Case(
                name="hard skeleton",
                size="x".join(map(str, shape)),
                prepare=lambda: coronary_mask(shape),          # once per process, outside the clock
                peer=Variant("scikit-image", run=skimage_skeletonize),  # takes what prepare returned
                ours=[
                    Variant("numba", run=skeletonize, floor=10, needs="numba"),
                    Variant("plain", run=skeletonize_plain, floor=3, memory_ceiling=0.5),
                ],
                check=compare,  # (ours, peer) -> text such as "bit-equal"; raises AssertionError where they differ
            )
        ]

``run`` must not change the data. The plain route of a module whose kernels are installed is reached by patching the
module's kernel variable with None for the call.
"""
