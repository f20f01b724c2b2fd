"""The Beta distribution is the textbooks'."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import beta

from cache_service.beta import beta_cdf, beta_quantile


@pytest.mark.parametrize("probability", [0.05, 0.5, 0.95])
@given(a=st.floats(0.05, 2000), b=st.floats(0.05, 2000))
@example(a=1.0, b=1e6)
@example(a=5e5, b=5e5)
@example(a=1e6, b=3.0)
def test_the_beta_distribution_is_the_textbooks(probability: float, a: float, b: float) -> None:
    x = beta_quantile(probability, a, b)
    assert x == pytest.approx(beta.ppf(probability, a, b), abs=1e-6)
    assert beta_cdf(0.3, a, b) == pytest.approx(beta.cdf(0.3, a, b), abs=1e-8)
