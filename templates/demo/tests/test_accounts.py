import pytest

from ledger import Money, UnbalancedEntry


def test_an_entry_moves_money(books):
    books.post(cash=Money(-30_00), rent=Money(30_00))
    assert books.balance("cash") == Money(70_00)


def test_an_unbalanced_entry_is_refused(books):
    with pytest.raises(UnbalancedEntry, match="off by 0.01 EUR"):
        books.post(cash=Money(1))
    assert len(books.entries) == 1


@pytest.mark.parametrize("month", range(1, 25))
def test_the_books_stay_balanced(books, month):
    for day in range(month):
        books.post(cash=Money(-day), rent=Money(day))
    assert books.audit()
