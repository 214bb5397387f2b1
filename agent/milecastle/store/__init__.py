"""Sessions and exchanges on disk, and the ledger. Imports model only; runs in the daemon."""

from milecastle.store.register import Register
from milecastle.store.store import Store

__all__ = ["Register", "Store"]
