"""E-mail addresses, post codes and street addresses."""

from __future__ import annotations

import re

from milecastle.detect.candidate import Candidate, Evidence
from milecastle.detect.pii_numbers import tail
from milecastle.detect.vocabulary import vocabulary

RESERVED = re.compile(
    r"(?:^|[.@-])(?:example|acme-?corp|your-?(?:company|domain|org|site)|mycompany|mydomain|domain"
    r"|company|email|somewhere|test|yoursite|foo|bar|foobar|contoso|fabrikam|tailspintoys)"
    r"\.(?:com|org|net|edu|io|co|de|fr|tld|local)$"
    r"|\.(?:example|test|invalid|localhost|local|internal|lan|corp|home|arpa|onion|localdomain)$",
    re.IGNORECASE,
)
"""RFC 2606 and 6762, and the names that documentation invents."""
NOBODY = vocabulary(
    """
    noreply no-reply no_reply donotreply do-not-reply git hg svn postmaster mailer-daemon daemon
    bounce bounces notification notifications hostmaster root user username name email mail someone
    somebody your.name yourname your.email youremail your-email your_email you me example
    firstname.lastname first.last name.surname test x xxx foo bar foo.bar
    """
)
"""Local parts behind which no person stands."""
FILES = vocabulary(
    "png jpg jpeg gif svg webp js ts jsx tsx mjs cjs css scss py rb go rs java kt php html htm "
    "json yaml yml toml xml md txt sh so dll exe zip gz tar whl jar lock conf cfg ini log "
    "service target timer socket mount slice scope git"
)
"""What stands behind an @ and a dot, and is no domain: ``icon@2x.png``, ``getty@tty1.service``."""


OF_DOCUMENTS = re.compile(r"example\.(?:com|org|net)")
"""RFC 2606: test data puts invented persons there, who stand for real ones, and manuals nobody."""
FULL_NAME = re.compile(r"[a-z]{2,}[._-]?[a-z]{2,}\d{0,4}")
STOCK = re.compile(
    r"(?:john|jane|joe|alice|bob|carol|max|erika)[._-]?(?:doe|roe|smith|public|muster\w*)?\d?$"
    r"|(?:foo|bar|first|last|your|my|some|any|the|user|test|demo|admin|sales|support|info|contact"
    r"|help|service|billing|security|press|team|office|customer|client|marketing|news|subscri"
    r"|recipient|sender|author|owner|member|employee|develop|student|account|webmaster|feedback"
    r"|alerts?|jobs|career|legal|privacy|abuse|orders?|example)"
)
"""How the local parts of manuals begin."""


def named(local: str, domain: str) -> bool:
    """Tell ``marianne.falkenberg@example.org`` of a data set from ``jane@example.org``."""
    plain = len(local) >= 6 and FULL_NAME.fullmatch(local) and not STOCK.match(local)
    return bool(plain and OF_DOCUMENTS.fullmatch(domain))


def email(candidate: Candidate, _: str) -> Evidence | None:
    """Judge an e-mail address: somebody's, not an example, a remote, a URL's or a file's."""
    address = candidate.secret.lower()
    local, _at, domain = address.rpartition("@")
    if local.strip(".") in NOBODY or (RESERVED.search("@" + domain) and not named(local, domain)):
        return None
    if domain.rpartition(".")[2] in FILES or ".." in domain or domain[:1] in ("", ".", "-"):
        return None
    if re.search(r"://\S*\Z", candidate.before) or tail(candidate) or candidate.after[:1] == "@":
        return None
    return Evidence("an address of a person or a desk")


AREAS = vocabulary(
    "AB AL B BA BB BD BH BL BN BR BS BT BX CA CB CF CH CM CO CR CT CV CW DA DD DE DG DH DL DN "
    "DT DY E EC EH EN EX FK FY G GL GU GY HA HD HG HP HR HS HU HX IG IM IP IV JE KA KT KW KY L "
    "LA LD LE LL LN LS LU M ME MK ML N NE NG NN NP NR NW OL OX PA PE PH PL PO PR RG RH RM S SA "
    "SE SG SK SL SM SN SO SP SR SS ST SW SY TA TD TF TN TQ TR TS TW UB W WA WC WD WF WN WR WS "
    "WV YO ZE"
)
"""Post code areas of the United Kingdom (Royal Mail)."""
STATES = vocabulary(
    "AL AK AZ AR CA CO CT DE FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH NJ "
    "NM NY NC ND OH OK OR PA RI SC SD TN TX UT VT VA WA WV WI WY DC PR VI GU AS MP AA AE AP FM "
    "MH PW"
)


def post_code(candidate: Candidate, country: str) -> Evidence | None:
    """Ask for an area that exists: ``gb`` by its letters, ``us`` by the state before the ZIP."""
    if country == "gb":
        area = re.match(r"[A-Z]{1,2}", candidate.secret)
        return Evidence("a post code") if area and area.group() in AREAS else None
    state = re.search(r"\b([A-Z]{2})[ ,]+\d{5}(?:-\d{4})?\Z", candidate.secret)
    if state is None or state.group(1) not in STATES or FOUNDATION.search(candidate.secret):
        return None
    return Evidence("state and ZIP code")


PUBLIC = re.compile(
    r"(?:Hard|Disk|Solid State|Flash|Test|Thumb|Tape|Food) Drives?\b"
    r"|\b(?:10 Downing|1600 Pennsylvania|221B Baker|1600 Amphitheatre|1 Infinite Loop|350 Fifth"
    r"|1 Microsoft Way|742 Evergreen|4 Privet|123 Main|123 Any|123 Fake|1234 Main|123 Example"
    r"|123 Sesame|42 Wallaby|51 Franklin|59 Temple|675 Mass(?:achusetts)?)\b",
    re.IGNORECASE,
)
"""Addresses of public places and of nobody."""
COPYRIGHT = re.compile(r"(?:19[89]|20[0-3])\d(?:-\d{4})?,? [A-Z]")
"""A year and a name, as licences have them: 2021 Iain Lane."""
FOUNDATION = re.compile(r"0211[01]-1301|02111-1307|02139")
"""Where the Free Software Foundation had its office: every licence says so."""


def address(candidate: Candidate, _: str) -> Evidence | None:
    """Judge a street address: not a famous or an invented one."""
    text = candidate.secret
    if PUBLIC.search(text) or (COPYRIGHT.match(text) and "," not in text):
        return None
    return Evidence("street and number")
