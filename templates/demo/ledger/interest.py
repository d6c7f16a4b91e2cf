"""Interest, by the day."""

from datetime import date

from ledger.money import Money


def days_between(start: date, end: date) -> int:
    """Days by the 30/360 convention, in which every month has thirty."""
    first, last = min(start.day, 30), min(end.day, 30)
    return (end.year - start.year) * 360 + (end.month - start.month) * 30 + last - first


def compound(principal: Money, percent: float, years: int) -> Money:
    return Money(round(principal.cents * (1 + percent / 100) ** years), principal.currency)
