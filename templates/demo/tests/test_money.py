import pytest

from ledger import Money


@pytest.mark.parametrize("cents", [0, 1, 99, 100, 12345, -1, -12345])
def test_what_is_printed_can_be_read_again(cents):
    assert Money.parse(str(Money(cents))) == Money(cents)


@pytest.mark.parametrize("parts", range(1, 13))
def test_shares_add_up(parts):
    shares = Money(100_00).split(parts)
    assert sum(share.cents for share in shares) == 100_00
    assert max(shares).cents - min(shares).cents <= 1


def test_currencies_do_not_mix():
    with pytest.raises(ValueError, match="can't add USD to EUR"):
        Money(1) + Money(1, "USD")


def test_halves_are_rounded_to_even():
    assert Money.parse("0.125").cents == 12
