import sys

import pytest


@pytest.mark.parametrize("currency", ["EUR", "USD", "GBP", "JPY"])
def test_rates_are_positive(exchange_rates, currency):
    assert exchange_rates[currency] > 0


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX machine")
def test_the_euro_is_the_measure(exchange_rates):
    assert exchange_rates["EUR"] == 1.0
