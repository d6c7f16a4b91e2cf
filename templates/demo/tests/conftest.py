import pytest

from ledger import Ledger, Money


@pytest.fixture(scope="session")
def exchange_rates():
    """Set up once per worker."""
    return {"EUR": 1.0, "USD": 1.08, "GBP": 0.86, "JPY": 163.2}


@pytest.fixture
def books():
    ledger = Ledger()
    ledger.post(cash=Money(100_00), capital=Money(-100_00))
    return ledger
