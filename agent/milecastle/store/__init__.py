"""Sessions and exchanges on disk, and the ledger. Imports model only; runs in the daemon."""

from milecastle.store.database import look
from milecastle.store.habits import Hours
from milecastle.store.register import Register
from milecastle.store.store import Reader, Store
from milecastle.store.tools import Tools

__all__ = ["Hours", "Reader", "Register", "Store", "Tools", "look"]
