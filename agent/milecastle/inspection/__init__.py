"""The life of one exchange: what is said becomes findings, findings a verdict, that an action.

Pure: bytes in, actions out. Who calls it decides nothing (the proxy with a live flow, the CLI with
a recording), and it does nothing but decide: no socket, no file, no clock.
"""

from milecastle.inspection.actions import Block, Chunk, Forward, Reply
from milecastle.inspection.context import Context
from milecastle.inspection.continuity import Continuity
from milecastle.inspection.exchange import Inspection
from milecastle.inspection.inspector import Inspector
from milecastle.inspection.record import attributes

__all__ = [
    "Block",
    "Chunk",
    "Context",
    "Continuity",
    "Forward",
    "Inspection",
    "Inspector",
    "Reply",
    "attributes",
]
