"""Encodings: what they hide is found, where it really stands, and plain text costs nothing."""

import base64
import codecs
import gzip
import html
import zlib

import pytest
from tests.detect.shipped_rules import engine, secrets
from tests.detect.test_secrets import GITHUB

from milecastle.detect import Unfinished
from milecastle.detect.confusables import FOLD
from milecastle.detect.encodings import INFLATED
from milecastle.detect.normalise import Decoder

SECRET = f'api_token = "{GITHUB}"'
LOOK_ALIKE = {plain: odd for odd, plain in FOLD.items() if plain in "apceoxyT"}


def squeezed(pack):
    return lambda text: base64.b64encode(pack((text + "\n").encode() * 3)).decode()


ENCODINGS = {
    "zero-width": lambda t: "\u200b".join(t),
    "soft hyphen": lambda t: "\u00ad".join(t),
    "word joiner": lambda t: t[:20] + "\u2060" + t[20:],
    "bidi": lambda t: t[:20] + "\u202d" + t[20:] + "\u202c",
    "tags": lambda t: "".join(chr(0xE0000 + ord(c)) for c in t),
    "fullwidth": lambda t: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in t),
    "mathematical": lambda t: "".join(chr(0x1D5BA + ord(c) - 97) if c.islower() else c for c in t),
    "look-alikes": lambda t: "".join(LOOK_ALIKE.get(c, c) for c in t),
    "html in part": lambda t: html.escape(t).replace("ghp_", "ghp&lowbar;"),
    "html decimal": lambda t: "".join(f"&#{ord(c)};" for c in t),
    "html hexadecimal": lambda t: "".join(f"&#x{ord(c):x};" for c in t),
    "percent": lambda t: "".join(f"%{byte:02X}" for byte in t.encode()),
    "percent in part": lambda t: t.replace("_", "%5F").replace('"', "%22"),
    "json escapes": lambda t: "".join(f"\\u{ord(c):04x}" for c in t),
    "c escapes": lambda t: "".join(f"\\x{ord(c):02x}" for c in t),
    "octal": lambda t: "".join(f"\\{ord(c):03o}" for c in t),
    "base64": lambda t: base64.b64encode(t.encode()).decode(),
    "base64 unpadded": lambda t: base64.b64encode(t.encode()).decode().rstrip("="),
    "base64url": lambda t: base64.urlsafe_b64encode(t.encode()).decode(),
    "base64 in lines": lambda t: base64.encodebytes(t.encode() * 3).decode(),
    "base64 of utf-16": lambda t: base64.b64encode(t.encode("utf-16-le")).decode(),
    "base64 of gzip": squeezed(gzip.compress),
    "base64 of zlib": squeezed(zlib.compress),
    "hexadecimal": lambda t: t.encode().hex(),
    "hexadecimal, capitals": lambda t: t.encode().hex().upper(),
    "hexadecimal, spaced": lambda t: t.encode().hex(" "),
    "hexadecimal, 0x": lambda t: ", ".join(f"0x{ord(c):02x}" for c in t),
    "rot13": lambda t: codecs.encode(t, "rot13"),
    "reversed": lambda t: t[::-1],
    "spaced out": lambda t: " ".join(t.replace(" ", "")),
    "spaced out, words apart": lambda t: " ".join(t),
    "dotted": lambda t: t.replace(GITHUB, ".".join(GITHUB)),
    "joined literals": lambda t: t.replace("ghp_k3J", 'ghp_" + "k3J'),
    "base64 among junk": lambda t: "Zx7" + base64.b64encode(t.encode()).decode()[:80] + "qK9" * 20,
    "base64 twice": lambda t: base64.b64encode(base64.b64encode(t.encode())).decode(),
    "hexadecimal of base64": lambda t: base64.b64encode(t.encode()).hex(),
    "percent of base64": lambda t: (
        base64.b64encode(t.encode() + b"??>").decode().replace("=", "%3D")
    ),
    "rot13 of base64": lambda t: base64.b64encode(codecs.encode(t, "rot13").encode()).decode(),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "around", ["{}", "please run this:\n{}\nand tell me", "grüße 🙂 {} 🙂 fin"]
)
def test_an_encoded_secret_is_found_and_covered_whole(encoding, around):
    encoded = ENCODINGS[encoding](SECRET)
    text = around.format(encoded)
    found = secrets(text)
    assert "github-pat" in {f.rule for f in found}, [(f.rule, f.via) for f in found]
    (finding,) = [f for f in found if f.rule == "github-pat"]
    assert 0 <= finding.start < finding.end <= len(text)
    rest = text[: finding.start] + text[finding.end :]
    assert "github-pat" not in {f.rule for f in secrets(rest)}
    assert finding.via


def test_a_finding_says_through_which_encodings_it_was_reached():
    text = base64.b64encode(base64.b64encode(GITHUB.encode())).decode()
    (finding,) = secrets(f"see {text} here")
    assert finding.via == ("base64", "base64")
    assert (finding.start, finding.end) == (4, 4 + len(text))


def test_what_stands_in_clear_is_not_found_a_second_time_through_an_encoding():
    (finding,) = secrets(f"https://acme.io/?q=a%20b&token={GITHUB}&x=%7Bfoo%7D")
    assert finding.via == ()


@pytest.mark.parametrize(
    "text",
    [
        "The quick brown fox jumps over the lazy dog. " * 40,
        "Привет, как дела? Это обычный русский текст. " * 20,
        "これは普通の日本語の文章です。秘密はありません。" * 20,
        "ελληνικό κείμενο χωρίς μυστικά, απλώς λέξεις. " * 20,
        "Ça a été très apprécié — où ça ? À l'œuvre… " * 20,
        "👩‍👩‍👧‍👦 family and ❤️ hearts 🏳️‍🌈 " * 20,
        "integrity sha512-Ux1JUNswg+EfUEmajJjyhIohKceitY/yzjRUpu04WXgvVz+fbhVC0p+R0JhvEu4ytw8z",
        "7902699be42c8a8e46fbbbb4501726517e86b22c56a189f7625a6da49081b2451",
    ],
)
def test_ordinary_text_is_not_decoded_at_all(text):
    assert list(Decoder(()).views(text)) == []


def test_a_compression_bomb_is_unfinished_and_not_clean():
    bomb = base64.b64encode(gzip.compress(b"a" * (INFLATED + 1))).decode()
    with pytest.raises(Unfinished):
        secrets(f"open {bomb} please")


def test_more_encoded_text_than_the_budget_is_unfinished():
    lines = (base64.b64encode(f"nothing to see in line {n:04d}".encode()) for n in range(2_500))
    text = "\n\n".join(f"{line.decode()} {'so it goes, ' * 40}" for line in lines)
    with pytest.raises(Unfinished):
        secrets(text)


def test_deep_nesting_ends():
    text = GITHUB
    for _ in range(9):
        text = base64.b64encode(text.encode()).decode()
    assert len(list(engine().decoder.views(text))) <= 5
