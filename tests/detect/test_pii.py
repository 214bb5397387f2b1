"""Personal data: what has to be found, and what only looks like it."""

import contextlib
import random
import time
from importlib import import_module

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.detect.shipped_rules import personal, personal_rules

from milecastle.detect import Unfinished, try_rules
from milecastle.detect.candidate import Candidate
from milecastle.detect.pii_numbers import luhn_sum
from milecastle.detect.pii_wallets import keccak_256
from milecastle.model import Severity


@pytest.mark.parametrize("rule", personal_rules(), ids=lambda rule: rule.id)
def test_a_shipped_rule_finds_its_matches_and_leaves_its_ignores_alone(rule):
    assert try_rules([rule]) == []
    assert rule.matches and rule.ignores, "a rule without evidence is not done"
    assert rule.source.startswith("https://")


def test_identity_numbers_of_more_than_twenty_five_countries_are_known():
    countries = {
        rule.id.partition("-")[0] for rule in personal_rules() if rule.file.startswith("pii/nat")
    }
    assert len(countries) >= 45


def test_what_moves_money_or_identifies_is_grave_and_what_everybody_writes_is_not():
    grave = personal("card 5412 7534 8891 2341, SSN 384-72-6486, IBAN NL91ABNA0417164300")
    light = personal("mail anna.l@nordmail.se or call +44 20 7183 8750 from 84.201.133.17")
    assert {finding.severity for finding in grave} == {Severity.HIGH}
    assert {finding.severity for finding in light} == {Severity.LOW}
    assert (len(grave), len(light)) == (3, 3)


def test_a_finding_shows_none_of_what_it_found():
    (finding,) = personal("card 5412 7534 8891 2341")
    assert "5412" not in repr(finding)
    assert finding.excerpt == "…(19 chars)"
    assert finding.owasp == ("LLM02",)


def test_a_full_name_at_the_domain_of_examples_stands_for_a_person():
    (finding,) = personal("ask marianne.falkenberg@example.org, not sales@example.org")
    assert finding.rule == "email-address"


@pytest.mark.parametrize(
    "text",
    [
        "test card 4111 1111 1111 1111 or 4242424242424242",
        "mail jane.doe@example.com, no-reply@shop.de, git@github.com",
        "call (202) 555-0143 or 123-456-7890",
        "bind 127.0.0.1, 10.0.0.7, 192.0.2.14, fe80::1 and 2001:db8::1",
        "build 4539578763621487 of 2024-11-03T10:22:31.123456Z",
        "id 6f1c6d1e-4539-5787-9362-148653957876",
        "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "versions 1.2.3.4, 10.15.7 and Chrome/120.0.6099.109",
        "1700000000000 1712345678901 1690912345678",
        "from 2019-2021 page 123-456 ISBN 978-3-16-148410-0",
        "My card {{credit_card_number}} and {{phone_number}}",
        "MAC aa:bb:cc:dd:ee:ff and 00:11:22:33:44:55",
        "def passport_number(self) -> str: ...",
        "The driver's license is required; a passport renewal takes six weeks.",
        "In 1984 Wall Street fell; 3 Ways to Drive Sales",
        "Copyright 2021 Iain Lane, 51 Franklin Street, Boston, MA 02110-1301",
        "{{name}} was released on 2021-04-12",
    ],
)
def test_examples_versions_times_and_digests_belong_to_nobody(text):
    assert personal(text) == []


NATIONAL = {
    "nl.bsn": "BSN",
    "pl.pesel": "PESEL",
    "de.idnr": "Steuer-ID",
    "gb.nhs": "NHS number",
    "br.cpf": "CPF",
    "cn.ric": "",
    "es.nif": "",
    "fr.nir": "",
    "no.fodselsnummer": "",
    "tr.tckimlik": "",
    "in_.aadhaar": "Aadhaar",
    "za.idnr": "ID number",
    "ro.cnp": "CNP",
    "hr.oib": "OIB",
    "au.tfn": "TFN",
}
KNOWN = {
    "nl.bsn": "384729745",
    "pl.pesel": "84071211332",
    "de.idnr": "38472526011",
    "gb.nhs": "7354862614",
    "br.cpf": "38472394069",
    "cn.ric": "110105198407125921",
    "es.nif": "38472916B",
    "fr.nir": "184074647142237",
    "no.fodselsnummer": "12078445945",
    "tr.tckimlik": "38472294436",
    "in_.aadhaar": "384729258424",
    "za.idnr": "8407128151023",
    "ro.cnp": "1840712407222",
    "hr.oib": "38472430679",
    "au.tfn": "384720208",
}


@pytest.mark.parametrize("name", NATIONAL)
def test_one_wrong_digit_and_an_identity_number_is_none(name):
    right = KNOWN[name]
    wrong = [right[:5] + digit + right[6:] for digit in "0123456789" if digit != right[5]]
    wrong = [text for text in wrong if not import_module(f"stdnum.{name}").is_valid(text)]
    assert personal(f"{NATIONAL[name]} {right}")
    assert wrong
    found = {f.rule for text in wrong for f in personal(f"{NATIONAL[name]} {text}")}
    assert not any(rule.startswith(name[:2] + "-") for rule in found)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "my card is {}.",
        '{{"card": "{}"}}',
        "card={};",
        "<td>{}</td>",
        "card\n{}\nexpires",
        "卡号{}。",
        "(card {})",
    ],
)
def test_a_card_is_found_whole_in_any_carrier(text):
    text = text.format("4539578763621486")
    (finding,) = personal(text)
    assert text[finding.start : finding.end] == "4539578763621486"


def test_a_pasted_table_is_one_finding_with_its_count():
    rows = [f"Anna{i};anna{i}.k@nordmail.se;+44 20 7183 8{i:03}" for i in range(40)]
    text = "Please clean this up for me:\nname;email;phone\n" + "\n".join(rows) + "\nThanks!"
    (finding,) = personal(text)
    assert finding.rule == "personal-data-table"
    assert finding.severity is Severity.MEDIUM
    assert finding.count == 80
    assert text[finding.start : finding.end] == "\n".join(rows)
    assert "40 email-address" in finding.evidence


def test_people_named_in_prose_are_no_table():
    text = " Then we wrote to all of them, one by one, at ".join(
        f"person{i}.k@nordmail.se" for i in range(8)
    )
    assert len(personal(text)) == 8


def test_the_key_that_a_value_stands_under_says_what_it_is():
    (finding,) = personal("384726486", label="ssn")
    assert finding.rule == "us-ssn-plain"
    assert personal("384726486", label="rows") == []


def test_keccak_is_not_sha3():
    # the digests of the empty string and of "abc", Keccak team's test vectors
    assert keccak_256(b"").hex().startswith("c5d2460186f7233c")
    assert keccak_256(b"abc").hex().startswith("4e03657aea45a94f")


def test_luhn_agrees_with_the_standards_example():
    assert luhn_sum("79927398713") % 10 == 0


@given(st.text(alphabet="0123456789 -./+()@:ABCabc\n", max_size=300))
@settings(max_examples=150, deadline=None)
def test_offsets_fall_on_the_text_whatever_it_is(text):
    for finding in personal(text):
        assert 0 <= finding.start < finding.end <= len(text)


@given(st.text(min_size=1, max_size=40), st.text(max_size=80), st.text(max_size=1))
@settings(max_examples=150, deadline=None)
def test_no_candidate_makes_a_check_fail_otherwise_than_by_saying_no(secret, before, after):
    candidate = Candidate(secret=secret, before=before, after=after, context=secret)
    for check, argument in {pair for rule in personal_rules() for pair in rule.checks}:
        check(candidate, argument)


@pytest.mark.parametrize(
    "piece",
    [
        "0123456789 ",
        "a@b.",
        "+4420 ",
        "4539-",
        "address is 1 A ",
        "12 Aa Bb ",
        "1.2.3.",
        "AB12 CD34 ",
    ],
)
def test_no_text_takes_longer_than_its_length_allows(piece):
    text = piece * (200_000 // len(piece))
    began = time.process_time()
    with contextlib.suppress(Unfinished):
        personal(text)
    assert time.process_time() - began < 10


def test_random_digits_rarely_look_like_somebody():
    source = random.Random(7)
    texts = [f"value {source.randrange(10**n)} end" for n in range(5, 19) for _ in range(60)]
    assert sum(bool(personal(text)) for text in texts) / len(texts) < 0.03
