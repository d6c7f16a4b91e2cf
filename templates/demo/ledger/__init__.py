"""A small double-entry ledger."""

from ledger.accounts import Ledger, UnbalancedEntry
from ledger.interest import compound, days_between
from ledger.money import Money

__all__ = ["Ledger", "Money", "UnbalancedEntry", "compound", "days_between"]
