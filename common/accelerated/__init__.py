"""Kernels compiled by numba. Each has a plain counterpart outside this folder, used where numba is not installed."""
