"""Accounts and entries: every entry adds up to nothing."""

import time
from collections import defaultdict

from ledger.money import Money


class UnbalancedEntry(ValueError):
    pass


class Ledger:
    def __init__(self) -> None:
        self._balances: "dict[str, Money]" = defaultdict(lambda: Money(0))
        self.entries: "list[dict[str, Money]]" = []

    def post(self, **changes: Money) -> None:
        total = sum((change.cents for change in changes.values()))
        if total:
            raise UnbalancedEntry(f"the entry is off by {Money(total)}")
        for account, change in changes.items():
            self._balances[account] += change
        self.entries.append(changes)

    def balance(self, account: str) -> Money:
        return self._balances[account]

    def audit(self) -> bool:
        """Adds everything up again, as slowly as audits go."""
        time.sleep(0.05)
        return sum(balance.cents for balance in self._balances.values()) == 0
