"""Sessions and exchanges on disk. Imports model only; runs in the daemon."""

from milecastle.store.store import Store

__all__ = ["Store"]
