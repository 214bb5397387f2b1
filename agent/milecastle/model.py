"""The nouns that every room shares. Values only: nothing here reads, writes, waits or decides.

Attribution answers *who talks to which service*; Exchange answers *what was said*; Finding and
Verdict answer *what is wrong with it and what is done about it*. Messages follow the
OpenTelemetry GenAI semantic conventions (parts ``text``, ``reasoning``, ``tool_call``, ...).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None


class ParseError(ValueError):
    """A peer, a provider or a file sent something that is not what it claims to be."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong in a file that an operator wrote; collected and reported together."""

    file: str
    line: int
    """1-based; 0 where the problem belongs to the file as a whole."""
    what: str
    hint: str = ""
    column: int = 0
    """1-based; 0 where unknown."""

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" + (f":{self.column}" if self.column else "")
        return f"{where}: {self.what}" + (f" ({self.hint})" if self.hint else "")


# --- who -----------------------------------------------------------------------------------


class Grade(StrEnum):
    """How an attribution is known, best first."""

    EXACT = "exact"
    """The kernel recorded the process inside its own connect()."""
    TUPLE = "tuple"
    """The socket's inode led to its owners; it existed before the agent did."""
    PARTIAL = "partial"
    """The kernel recorded pid, uid and comm, but /proc no longer had that process."""
    UNKNOWN = "unknown"


class Standing(StrEnum):
    """What the organisation thinks of a service."""

    SANCTIONED = "sanctioned"
    TOLERATED = "tolerated"
    UNSANCTIONED = "unsanctioned"


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One step towards pid 1."""

    pid: int
    comm: str
    exe: str | None = None


@dataclass(frozen=True, slots=True)
class Pod:
    """The Kubernetes pod that a process is in; the cgroup's path tells its uid and QoS class."""

    uid: str
    qos: str = ""
    """``guaranteed``, ``burstable`` or ``besteffort``."""
    namespace: str | None = None
    name: str | None = None
    """None, as all that follows, where neither kubelet nor API server told of the pod."""
    labels: Mapping[str, str] = field(default_factory=dict, hash=False)
    container: str | None = None
    """The container's name in the pod's specification."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process as it was when it connected."""

    pid: int
    comm: str
    uid: int
    exe: str | None = None
    argv: tuple[str, ...] = ()
    cwd: str | None = None
    user: str | None = None
    groups: tuple[str | int, ...] = ()
    """Numbers and, where known, names of its groups, the effective one first."""
    loginuid: int | None = None
    """The audit login uid: who logged in, also behind sudo and su. None where never set."""
    started: float | None = None
    """Unix time in seconds."""
    sha256: str | None = None
    """Of the executable's file, hexadecimal."""
    ancestry: tuple[Ancestor, ...] = ()
    """Parent first, pid 1 last."""
    cgroup: str = ""
    container: str | None = None
    """The container's id."""
    runtime: str | None = None
    """What runs the container: ``docker``, ``containerd``, ``cri-o`` or ``podman``."""
    pod: Pod | None = None
    marks: tuple[str, ...] = ()
    """What a reader should know: ``deleted``, ``memfd``, ``env:LD_PRELOAD``, ..."""
    script: str | None = None
    """Of an interpreter, what it runs: a path, ``-m module``, ``-c`` for a program as text."""
    client: str | None = None
    """The AI client that it was recognised as, by its id in config/clients.yaml."""
    client_evidence: str = ""
    """What decided that: ``script /opt/claude-code/cli.js``."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An IP address in text form and a port."""

    address: str
    port: int


@dataclass(frozen=True, slots=True)
class Connection:
    """One connect(), as the kernel saw it."""

    cookie: int
    """The kernel's socket cookie (SO_COOKIE); never reused while the host is up."""
    destination: Endpoint
    """Where the application wanted to go, before any redirect."""
    netns: int
    """Network namespace cookie (SO_NETNS_COOKIE)."""
    cgroup_id: int
    tid: int
    opened_ns: int
    """CLOCK_MONOTONIC, nanoseconds."""


@dataclass(frozen=True, slots=True)
class Service:
    """One AI service of the catalogue."""

    id: str
    """Lower-case slug, stable: ``openai``."""
    name: str
    vendor: str
    category: str
    """``model_api``, ``coding_assistant``, ``consumer_chat``, ``mcp``, ``local_server``, ..."""
    decrypt: bool = True
    """Whether the catalogue lets its traffic be decrypted; False: attributed by name only."""


@dataclass(frozen=True, slots=True)
class Owner:
    """A process that holds a connection's socket."""

    pid: int
    comm: str
    uid: int
    user: str | None = None
    exe: str | None = None


@dataclass(frozen=True, slots=True)
class Attribution:
    """Who opened a connection to which service, and how sure that is."""

    connection: Connection
    process: Process
    service: str | None
    """A service's id by the destination address; the ClientHello's name may refine it."""
    grade: Grade
    why: str
    """The evidence in a few words."""
    owners: tuple[Owner, ...] = ()
    """Every process that holds the socket, where that was looked for and is not `process` alone."""
    local: bool = False
    """Whether the service runs on this host."""
    server: Process | None = None
    """The process that listens there, where it runs on this host and is in sight."""


# --- what was said ---------------------------------------------------------------------------

type Role = Literal["system", "developer", "user", "assistant", "tool"]
type PartKind = Literal[
    "text", "reasoning", "tool_call", "tool_call_response", "blob", "uri", "file"
]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One string inside a structured value, with its own place."""

    place: str
    text: str


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a message (OTel GenAI message part).

    ``place`` is a JSON Pointer (RFC 6901) into the body; ``#`` enters a JSON document that is
    itself held in a string: ``/messages/1/tool_calls/0/function/arguments#/command``.
    """

    kind: PartKind
    text: str = ""
    """text and reasoning: the content; tool_call: its arguments as JSON text;
    tool_call_response: the result as text."""
    place: str = ""
    name: str | None = None
    """tool_call: the tool's name; file: the file's name."""
    call_id: str | None = None
    leaves: tuple[Leaf, ...] = ()
    """Where ``text`` is a rendering of a structured value: its strings. Empty where ``text`` is
    exactly the string at ``place``."""
    mime_type: str | None = None
    uri: str | None = None
    size: int | None = None
    """blob and file: length in bytes, decoded."""
    digest: str | None = None
    """blob and file: SHA-256, hexadecimal."""


@dataclass(frozen=True, slots=True)
class Message:
    role: Role
    parts: tuple[Part, ...]
    finish_reason: str | None = None


@dataclass(frozen=True, slots=True)
class ToolDefinition:
    """A tool offered to the model."""

    name: str
    description: str = ""
    type: str = "function"
    parameters: str = ""
    """The JSON schema, as JSON text."""
    place: str = ""
    leaves: tuple[Leaf, ...] = ()
    """Every string of the definition that a model may read, with its own place."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as the provider billed them; None where it did not say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_creation_tokens: int | None = None
    reasoning_tokens: int | None = None

    @property
    def total(self) -> int | None:
        """Tokens asked and answered; None where neither is told."""
        if self.input_tokens is None and self.output_tokens is None:
            return None
        return (self.input_tokens or 0) + (self.output_tokens or 0)


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The head of an HTTP request, as far as recognition needs it."""

    method: str
    host: str
    path: str
    """Path and query, undecoded."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names."""


@dataclass(frozen=True, slots=True)
class ResponseHead:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """Lower-case names."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request to a model and its answer, whatever the provider's wire format."""

    format: str
    """The wire format that was recognised: ``openai-chat``, ``anthropic-messages``, ..."""
    operation: str
    """``gen_ai.operation.name``: chat, text_completion, embeddings, ..."""
    provider: str
    """``gen_ai.provider.name``: openai, anthropic, aws.bedrock, ..."""
    request_model: str | None = None
    response_model: str | None = None
    system_instructions: tuple[Part, ...] = ()
    input_messages: tuple[Message, ...] = ()
    output_messages: tuple[Message, ...] = ()
    tool_definitions: tuple[ToolDefinition, ...] = ()
    parameters: Mapping[str, Json] = field(default_factory=dict)
    """Request parameters under their gen_ai.request.* short names: max_tokens, temperature."""
    finish_reasons: tuple[str, ...] = ()
    usage: Usage = Usage()
    response_id: str | None = None
    conversation_id: str | None = None
    stream: bool = False
    error: str | None = None
    """The provider's own error type, where it answered with one."""
    unclaimed: tuple[Leaf, ...] = ()
    """Strings of the request that no message, instruction or tool definition holds: metadata,
    names, fields that the format does not know. They are inspected like user text."""
    unclaimed_output: tuple[Leaf, ...] = ()
    """The same of the answer, prose only."""


# --- what is wrong with it ---------------------------------------------------------------------

type Provenance = Literal[
    "user",
    "system",
    "assistant",
    "reasoning",
    "tool_call",
    "tool_result",
    "tool_definition",
    "file",
    "web",
]


class Severity(StrEnum):
    """How bad a finding is; ``rank`` orders them."""

    INFO = "info"
    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        return list(Severity).index(self)


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of text that detectors read, and where it came from.

    ``text`` is exactly the decoded string at ``place``, so offsets into it can be rewritten.
    """

    text: str
    role: Role
    provenance: Provenance
    place: str = ""
    label: str = ""
    """The key that the text stood under in a structured value (``password``, ``command``)."""
    tool: str = ""
    """tool_call and tool_result: the tool's name where known."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a detector found. Holds no secret: ``excerpt`` is masked."""

    category: str
    """secret, pii, injection, tool, document, marking, usage."""
    rule: str
    severity: Severity
    start: int
    """Offset of the match in the segment's text, in code points; ``end`` is exclusive."""
    end: int
    excerpt: str
    place: str = ""
    provenance: Provenance = "user"
    score: float = 1.0
    """Confidence, 0 to 1."""
    evidence: str = ""
    """Why it fired, in a few words: ``checksum valid``, ``entropy 4.3 bits``."""
    via: tuple[str, ...] = ()
    """Encodings that had to be undone to reach it, outermost first: ``base64``, ``percent``."""
    digest: str = ""
    """Keyed hash of the matched text, so that equal values can be recognised, not recovered."""
    owasp: tuple[str, ...] = ()
    atlas: tuple[str, ...] = ()
    count: int = 1
    """How many matches this finding stands for (dense tables are one finding)."""


# --- what is done about it ---------------------------------------------------------------------


class Action(StrEnum):
    """What can be done with a message, weakest first; ``rank`` orders them.

    The stronger an action, the less of a message gets through: all of it, all but the findings,
    the part of a stream before them, nothing, not even the connection.
    """

    ALLOW = "allow"
    ALERT = "alert"
    COACH = "coach"
    PSEUDONYMISE = "pseudonymise"
    REDACT = "redact"
    NEUTRALISE = "neutralise"
    CUT = "cut"
    LIMIT = "limit"
    BLOCK = "block"
    REFUSE = "refuse"

    @property
    def rank(self) -> int:
        return _RANKS[self]

    @property
    def edits(self) -> bool:
        """Whether the message goes on with something else in the place of findings."""
        return self in _EDITS

    @property
    def stops(self) -> bool:
        """Whether the message, or the rest of it, does not go on."""
        return self.rank >= Action.CUT.rank


_RANKS = {action: rank for rank, action in enumerate(Action)}
_EDITS = frozenset({Action.PSEUDONYMISE, Action.REDACT, Action.NEUTRALISE})

type Mode = Literal["monitor", "enforce"]
type OnFailure = Literal["open", "closed"]
type Direction = Literal["request", "response"]
type Style = Literal["error", "message"]
"""How a client is told of a stopped message: the provider's error, or an assistant's words."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the policy decided about one message, and which rule decided it."""

    action: Action
    rule: str | None
    """The id of the deciding rule; None where no rule matched."""
    reason: str
    mode: Mode = "enforce"
    style: Style = "error"
    """Of a verdict that stops a message."""

    @property
    def applied(self) -> Action:
        """What is really done: in monitor mode nothing stronger than an alert."""
        if self.mode == "monitor" and self.action.rank > Action.ALERT.rank:
            return Action.ALERT
        return self.action


ALLOWED = Verdict(Action.ALLOW, None, "no rule matched")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a policy rule can match on, beside the findings."""

    service: str | None
    category: str = ""
    standing: Standing = Standing.UNSANCTIONED
    operation: str = ""
    model: str = ""
    process: Process | None = None
    direction: Direction = "request"
    account: str = ""
    """The kind of account that is used, where it shows."""
    destination: str = ""
    """The host name that the request goes to."""
    host: str = ""
    """The name of this machine."""
    size: int | None = None
    """Bytes of the message."""
    tokens: int | None = None
    """Of the exchange as billed; of a request, about."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Replace ``start:end`` (code points) of the decoded string at ``place``."""

    place: str
    start: int
    end: int
    replacement: str


type Attributes = dict[str, Any]
"""OpenTelemetry attributes: JSON-able values under dotted names."""
