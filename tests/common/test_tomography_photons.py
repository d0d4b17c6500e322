"""Counting photons."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr
from scipy.stats import poisson

from common.tomography.photons import poisson_counts


@pytest.mark.parametrize("mean", [0.01, 3.0, 15.9, 16.1, 40.0, 1e3, 1e5], ids=str)
def test_counts_are_the_quantiles_of_a_poisson_distribution(mean):
    counts = poisson_counts(np.full(20000, mean), np.random.default_rng(0))
    probability = ndtr(np.random.default_rng(0).standard_normal(20000))
    error = counts - poisson.ppf(probability, mean)
    assert np.abs(error).max() <= 1
    assert (error != 0).mean() < (0 if mean <= 16 else 1 / 2000) + 1e-9


def test_nothing_is_counted_where_nothing_comes():
    assert (poisson_counts(np.zeros((3, 4)), np.random.default_rng(0)) == 0).all()


def test_a_rounding_error_in_one_mean_leaves_all_other_counts():
    means = np.random.default_rng(1).uniform(0, 1e5, 20000)
    nearly = means * (1 + 1e-6)
    first, second = (poisson_counts(mean, np.random.default_rng(0)) for mean in (means, nearly))
    assert np.abs(first - second).max() <= 1
    assert (first != second).mean() < 0.1
