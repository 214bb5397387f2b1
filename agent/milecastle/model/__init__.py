"""The nouns that every room shares. Values only: nothing here reads, writes, waits or decides.

Attribution answers *who talks to which service*; Exchange answers *what was said*; Finding and
Verdict answer *what is wrong with it and what is done about it*.
"""

from milecastle.model.attribution import (
    Ancestor,
    Attribution,
    Connection,
    Endpoint,
    Grade,
    Owner,
    Pod,
    Process,
    Service,
    Standing,
)
from milecastle.model.exchange import (
    Attributes,
    Edit,
    Exchange,
    Leaf,
    Message,
    Part,
    PartKind,
    RequestHead,
    ResponseHead,
    Role,
    ToolDefinition,
    Usage,
)
from milecastle.model.findings import Finding, Provenance, Segment, Severity
from milecastle.model.problems import Json, ParseError, Problem
from milecastle.model.verdicts import (
    ALLOWED,
    Action,
    Direction,
    Mode,
    OnFailure,
    Style,
    Subject,
    Verdict,
)

__all__ = [
    "ALLOWED",
    "Action",
    "Ancestor",
    "Attributes",
    "Attribution",
    "Connection",
    "Direction",
    "Edit",
    "Endpoint",
    "Exchange",
    "Finding",
    "Grade",
    "Json",
    "Leaf",
    "Message",
    "Mode",
    "OnFailure",
    "Owner",
    "ParseError",
    "Part",
    "PartKind",
    "Pod",
    "Problem",
    "Process",
    "Provenance",
    "RequestHead",
    "ResponseHead",
    "Role",
    "Segment",
    "Service",
    "Severity",
    "Standing",
    "Style",
    "Subject",
    "ToolDefinition",
    "Usage",
    "Verdict",
]
