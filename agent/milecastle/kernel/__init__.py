"""The kernel room: BPF programs, their maps and their events. Nothing here parses a packet."""

from milecastle.kernel.flows import Flow, Packet
from milecastle.kernel.kernel import Kernel
from milecastle.kernel.launch import KernelUnavailable
from milecastle.kernel.layout import Outcome, PacketKind, Reason

__all__ = ["Flow", "Kernel", "KernelUnavailable", "Outcome", "Packet", "PacketKind", "Reason"]
