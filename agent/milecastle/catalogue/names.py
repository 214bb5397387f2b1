"""Host names: normalise, expand, compare. Nothing here knows what a service is.

A pattern is an exact name (``api.openai.com``) or a suffix: ``.openai.azure.com`` stands for
every name below it, at any depth, and not for ``openai.azure.com`` itself. Both are what the
kernel's trie can match, on label boundaries; ``{list}`` is a gap that is filled from a list of
regions before anybody sees the pattern.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from itertools import product
from math import prod

LONGEST_NAME = 253
"""RFC 1035, 2.3.4: 255 octets on the wire, without the first length and the root."""

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_GAP = re.compile(r"\{([a-z][a-z0-9_]*)\}")

# fmt: off
SHARED = frozenset({
    "amazonaws.com", "amazonaws.com.cn", "api.aws", "vpce.amazonaws.com", "cloudfront.net",
    "azure.com", "azure.net", "azureedge.net", "azurewebsites.net", "windows.net", "microsoft.com",
    "cloud.microsoft", "office.com", "live.com", "googleapis.com", "google.com",
    "googleusercontent.com", "gstatic.com", "appspot.com", "run.app", "web.app", "cloudflare.com",
    "workers.dev", "pages.dev", "github.com", "github.io", "githubusercontent.com", "ghe.com",
    "aliyuncs.com", "aliyun.com", "tencent.com", "myqcloud.com", "volces.com", "baidubce.com",
    "baidu.com", "cloud.ibm.com", "yandex.net", "oraclecloud.com", "vercel.app", "netlify.app",
    "herokuapp.com", "fly.dev", "onrender.com", "railway.app", "ngrok.io", "ngrok.app",
    "akamaized.net", "akamaiedge.net", "fastly.net", "livekit.cloud", "imgix.net", "intellij.net",
    "bing.com", "x.com", "co.uk", "org.uk", "com.cn", "net.cn", "org.cn", "com.au", "co.jp",
    "co.kr", "com.br", "co.in", "com.tw", "com.hk", "com.sg", "co.za",
})
# fmt: on
"""Names under which strangers have names of their own, AI or not: never a suffix by themselves."""


def normal(host: str) -> str | None:
    """Return the lower-case name without its trailing dot, or None where it is no host name.

    Hosts come from packets and headers: the text may be anything. Letters outside ASCII are
    refused before lower-casing, which would turn some of them into ASCII letters (U+212A).
    """
    if not 0 < len(host) <= LONGEST_NAME + 1 or not host.isascii():
        return None
    name = host.lower().removesuffix(".")
    return name if len(name) <= LONGEST_NAME and _HOST.fullmatch(name) else None


def parents(name: str) -> Iterable[str]:
    """Yield what stands behind each dot of ``name``, longest first."""
    dot = name.find(".")
    while dot >= 0:
        yield name[dot + 1 :]
        dot = name.find(".", dot + 1)


def gaps(template: str) -> list[str]:
    """Return the names of the lists that a template asks for."""
    return _GAP.findall(template)


def count(template: str, lists: Mapping[str, Collection[str]]) -> int:
    """Return how many patterns `expand` would make."""
    return prod(len(lists[each]) for each in gaps(template))


def expand(template: str, lists: Mapping[str, Collection[str]]) -> list[str]:
    """Return the patterns that a template stands for. KeyError where a list is unknown."""
    wanted = gaps(template)
    fixed = _GAP.split(template)[::2]
    return [
        "".join(part for pair in zip(fixed, (*chosen, ""), strict=True) for part in pair)
        for chosen in product(*(lists[each] for each in wanted))
    ]


def fault(pattern: str, regions: Collection[str]) -> str:
    """Return what is wrong with a pattern whose gaps are filled, or nothing."""
    name = pattern.removeprefix(".")
    if normal(name) != name:
        return "not a host name (lower case, no port, no path)"
    if re.fullmatch(r"[0-9.]+", name):
        return "an address; services are known by their names"
    if not pattern.startswith("."):
        return ""
    if "." not in name or name in SHARED:
        return f"{name} belongs to everybody; name the hosts below it"
    if name.split(".")[0] in regions and any(each in SHARED for each in parents(name)):
        return f"{name} is a whole region of a provider; name the hosts below it"
    return ""


def subtrees(patterns: Iterable[str]) -> tuple[str, ...]:
    """Return the fewest DNS subtrees that hold all patterns, sorted.

    As in a certificate's name constraints (RFC 5280, 4.2.1.10), ``x.y`` stands for itself and
    for all below it; so a name is dropped where one of its parents is there already.
    """
    names = {pattern.removeprefix(".") for pattern in patterns}
    return tuple(sorted(name for name in names if not any(up in names for up in parents(name))))
