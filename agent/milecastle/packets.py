"""Captured packets -> names: DNS answers through scapy, ClientHellos by hand.

What the kernel's parser can't take comes here, as opaque bytes and in the unprivileged worker.
Everything is bounded before it is parsed; what is not what it claims to be raises ParseError.
"""

from __future__ import annotations

import ipaddress
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass

from milecastle.model import ParseError

logging.getLogger("scapy").setLevel(logging.CRITICAL)  # it reports every hostile packet

from scapy.layers.dns import DNS  # noqa: E402

DNS_LARGEST = 1 << 14
"""Bytes of a message. Over UDP there are not 4,096 in practice (RFC 9715); TCP has the signed."""
QUESTIONS = 4
ANSWERS = 96
HELLO_LARGEST = 1 << 16
A, AAAA = 1, 28

HOST_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")

RECORD_HEADER, HANDSHAKE_HEADER = 5, 4
HANDSHAKE, CLIENT_HELLO = 22, 1
SERVER_NAME, HOST_NAME_TYPE = 0, 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The addresses that one question was answered with."""

    name: str
    """Lower case, without the last dot."""
    addresses: tuple[str, ...]
    ttl: int
    """Seconds; the least of all records that led to the addresses."""


def dns_answers(data: bytes) -> list[Answer]:
    """Return what the UDP payload of a DNS answer says (RFC 1035); nothing for a query or error.

    Every address belongs to the question's name, also behind a chain of CNAMEs: that is the name
    that the application asked for and will put into its ClientHello.
    """
    if not 12 <= len(data) <= DNS_LARGEST:
        raise ParseError(f"a DNS message of {len(data)} bytes")
    questions, answers = int.from_bytes(data[4:6], "big"), int.from_bytes(data[6:8], "big")
    if questions > QUESTIONS or answers > ANSWERS:
        raise ParseError(f"a DNS message with {questions} questions and {answers} answers")
    try:
        return list(_answers(DNS(data)))
    except ParseError:
        raise
    except Exception as error:  # noqa: BLE001 - scapy raises whatever its fields raise
        raise ParseError(f"not a DNS message: {type(error).__name__}") from None


def _answers(message: DNS) -> Iterator[Answer]:
    if message.qr != 1 or message.opcode != 0 or message.rcode != 0:
        return
    addresses: list[str] = []
    ttls: list[int] = []
    for record in message.an or ():
        ttls.append(int(record.ttl))
        if record.type in (A, AAAA):
            addresses.append(str(ipaddress.ip_address(str(record.rdata))))
    if not addresses:
        return
    for question in message.qd or ():
        if question.qtype in (A, AAAA):
            name = host_name(bytes(question.qname))
            yield Answer(name, tuple(dict.fromkeys(addresses)), min(ttls))


def host_name(data: bytes) -> str:
    """Return a host name in lower case without its last dot, or raise ParseError."""
    try:
        name = data.decode("ascii").lower().removesuffix(".")
    except UnicodeDecodeError:
        raise ParseError("a host name is ASCII") from None
    if not HOST_NAME.fullmatch(name):
        raise ParseError("not a host name")
    return name


def server_name(data: bytes) -> str | None:
    """Return the SNI of a whole ClientHello as it was on the wire (RFC 8446 section 4.1.2).

    ``data`` is one or more TLS records. None: the hello names nobody. ParseError: it is no
    ClientHello, or not all of it is here.
    """
    if len(data) > HELLO_LARGEST:
        raise ParseError(f"a ClientHello of {len(data)} bytes")
    message = Reader(_handshake(data))
    if message.number(1) != CLIENT_HELLO:
        raise ParseError("not a ClientHello")
    hello = Reader(message.take(message.number(3)))
    hello.take(2 + 32)  # version, random
    hello.take(hello.number(1))  # session id
    hello.take(hello.number(2))  # cipher suites
    hello.take(hello.number(1))  # compression methods
    if not hello.left:
        return None
    extensions = Reader(hello.take(hello.number(2)))
    while extensions.left:
        kind, body = extensions.number(2), extensions.take(extensions.number(2))
        if kind == SERVER_NAME:
            names = Reader(body)
            names = Reader(names.take(names.number(2)))
            if names.number(1) != HOST_NAME_TYPE:
                raise ParseError("an SNI that is no host name")
            return host_name(names.take(names.number(2)))
    return None


def _handshake(data: bytes) -> bytes:
    """Join the handshake bytes of the records that hold the ClientHello."""
    records, handshake = Reader(data), bytearray()
    while True:
        if records.number(1) != HANDSHAKE:
            raise ParseError("not a TLS handshake record")
        records.take(2)
        fragment = records.take(records.number(2))
        if not fragment:
            raise ParseError("an empty TLS record")
        handshake += fragment
        if len(handshake) >= HANDSHAKE_HEADER:
            whole = HANDSHAKE_HEADER + int.from_bytes(handshake[1:4], "big")
            if len(handshake) >= whole:
                return bytes(handshake)


class Reader:
    """Take bytes from the front; ParseError where there are not as many."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def take(self, count: int) -> bytes:
        """Return the next ``count`` bytes."""
        if count > self.left:
            raise ParseError("cut off")
        self._at += count
        return self._data[self._at - count : self._at]

    def number(self, width: int) -> int:
        """Return the next unsigned big-endian integer of ``width`` bytes."""
        return int.from_bytes(self.take(width), "big")
