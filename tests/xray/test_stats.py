import math

import numpy as np

from chainrule.xray.stats import stats


def test_all_but_the_counts_are_about_the_finite_elements():
    found = stats(np.array([1.0, 3.0, np.nan, np.inf, -np.inf, 0.0], np.float32))
    assert (found.min, found.mean, found.max) == (0.0, 4 / 3, 3.0)
    assert math.isclose(found.norm, math.sqrt(10))
    assert (found.zeros, found.nans, found.infs) == (1 / 6, 1, 2)


def test_where_nothing_is_finite_the_mean_is_zero():
    found = stats(np.array([np.nan, np.inf], np.float32))
    assert (found.mean, found.norm, found.nans, found.infs) == (0.0, 0.0, 1, 1)
