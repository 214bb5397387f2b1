import csv
import re
from collections import Counter
from pathlib import Path

import pytest

from milecastle.catalogue import shipped

CATALOGUE = shipped()
FACTS = Path(__file__).parents[2].parent / "shared" / "reference" / "ai_services.tsv"


def test_no_service_and_no_name_stands_in_two_files():
    patterns = [each for entry in CATALOGUE.entries.values() for each in entry.domains]
    assert [name for name, times in Counter(patterns).items() if times > 1] == []
    assert (
        len(CATALOGUE.services)
        == sum(
            file.read_text().count("\n  - id: ")
            for file in (Path(__file__).parents[2] / "config" / "catalogue").glob("*.yaml")
        )
        + 1
    )  # the self-test


def test_shared_names_are_never_a_subtree_of_the_ca():
    domains = CATALOGUE.domains()
    for shared in ("amazonaws.com", "googleapis.com", "azure.com", "github.com", "google.com"):
        assert shared not in domains
    for kept_out in ("api.github.com", "sentry.io", "huggingface.co", "substrate.office.com"):
        assert CATALOGUE.match(kept_out) is not None
        assert not any(kept_out == each or kept_out.endswith("." + each) for each in domains)


def test_a_name_that_is_known_but_not_decrypted_says_why():
    for entry in CATALOGUE.entries.values():
        if not entry.service.decrypt and entry.verified != "suffix":
            assert entry.note, entry.service.id


def test_every_entry_can_be_recognised_by_something():
    for entry in CATALOGUE.entries.values():
        assert entry.domains or entry.ports or entry.calls, entry.service.id


@pytest.mark.parametrize(
    ("host", "service"),
    [
        ("api.openai.com", "openai"),
        ("eu.api.openai.com", "openai"),
        ("api.anthropic.com", "anthropic"),
        ("generativelanguage.googleapis.com", "gemini"),
        ("europe-west4-aiplatform.googleapis.com", "vertex-ai"),
        ("bedrock-runtime.eu-central-1.amazonaws.com", "bedrock"),
        ("acme.openai.azure.com", "azure-openai"),
        ("api.individual.githubcopilot.com", "github-copilot"),
        ("chatgpt.com", "chatgpt"),
        ("claude.ai", "claude"),
        ("auth.openai.com", "openai-sites"),
        ("s3.us-east-1.amazonaws.com", None),
        ("storage.googleapis.com", None),
        ("github.com", None),
    ],
)
def test_well_known_hosts_belong_to_their_services(host, service):
    found = CATALOGUE.match(host)
    assert (found and found.id) == service


@pytest.mark.skipif(not FACTS.exists(), reason=f"the facts are not at {FACTS}")
def test_every_domain_and_port_of_the_collected_facts_is_known():
    with FACTS.open(newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) == 394
    missing = []
    for row in rows:
        domain = row["domain"]
        if port := re.match(r"localhost:(\d+)", domain):
            if not CATALOGUE.on_port(int(port[1])):
                missing.append(domain)
        elif re.search(r"[a-z]\.[a-z]", domain) and "*.ghe.com" not in domain:
            host = domain.replace("*-ai", "us-central1-ai").replace(".*.", ".eu-west-1.")
            if CATALOGUE.match(host.replace("*", "any")) is None:
                missing.append(domain)
    assert missing == []
