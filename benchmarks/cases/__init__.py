"""One module for each part of the code that claims to be faster; see :mod:`benchmarks` for how to add one."""
