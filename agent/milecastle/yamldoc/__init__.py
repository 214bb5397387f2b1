"""Documents that operators write: YAML with places, and the tables that say what one may hold."""

from milecastle.yamldoc.shape import (
    Field,
    Report,
    Shape,
    choice,
    flag,
    mapping,
    nearest,
    number,
    one_or_many,
    record,
    sequence,
    text,
)
from milecastle.yamldoc.tree import Mapping, Node, Scalar, Sequence, compose, plain

__all__ = [
    "Field",
    "Mapping",
    "Node",
    "Report",
    "Scalar",
    "Sequence",
    "Shape",
    "choice",
    "compose",
    "flag",
    "mapping",
    "nearest",
    "number",
    "one_or_many",
    "plain",
    "record",
    "sequence",
    "text",
]
