"""The kernel room: BPF programs, their maps and their events. Nothing here parses a packet."""

from milecastle.kernel.flows import Flow, Packet
from milecastle.kernel.kernel import Kernel
from milecastle.kernel.launch import KernelUnavailable
from milecastle.kernel.layout import LifeKind, Outcome, PacketKind, Reason
from milecastle.kernel.lives import Life, Program
from milecastle.kernel.restrictions import Restriction

__all__ = [
    "Flow",
    "Kernel",
    "KernelUnavailable",
    "Life",
    "LifeKind",
    "Outcome",
    "Packet",
    "PacketKind",
    "Program",
    "Reason",
    "Restriction",
]
