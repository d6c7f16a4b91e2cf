"""Amounts of money: exact, in one currency."""

from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal


@dataclass(frozen=True, order=True)
class Money:
    cents: int
    currency: str = "EUR"

    @classmethod
    def parse(cls, text: str) -> "Money":
        amount, _, currency = text.strip().partition(" ")
        cents = (Decimal(amount) * 100).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
        return cls(int(cents), currency or "EUR")

    def __add__(self, other: "Money") -> "Money":
        if self.currency != other.currency:
            raise ValueError(f"can't add {other.currency} to {self.currency}")
        return Money(self.cents + other.cents, self.currency)

    def __neg__(self) -> "Money":
        return Money(-self.cents, self.currency)

    def split(self, parts: int) -> "list[Money]":
        """Shares that differ by a cent at most and add up to the whole."""
        share, rest = divmod(self.cents, parts)
        return [Money(share + (number < rest), self.currency) for number in range(parts)]

    def __str__(self) -> str:
        sign = "-" if self.cents < 0 else ""
        return f"{sign}{abs(self.cents) // 100}.{abs(self.cents) % 100:02d} {self.currency}"
