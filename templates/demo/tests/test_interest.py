from datetime import date

import pytest

from ledger import Money, compound, days_between


@pytest.mark.parametrize("years, expected", [(0, "100.00"), (1, "105.00"), (2, "110.25"), (10, "162.89")])
def test_interest_compounds(years, expected):
    assert str(compound(Money(100_00), 5, years)) == f"{expected} EUR"


@pytest.mark.parametrize("year", range(2000, 2012))
def test_a_year_has_360_days(year):
    assert days_between(date(year, 1, 1), date(year + 1, 1, 1)) == 360


def test_interest_for_february():
    # This one fails, so that you see what a failure looks like.
    start, end = date(2024, 2, 28), date(2024, 3, 1)
    print(f"from {start} to {end}")
    assert days_between(start, end) == (end - start).days


@pytest.mark.xfail(reason="negative rates came later")
def test_negative_rates():
    assert compound(Money(100_00), -200, 2) == Money(0)
