"""docs/RULES.md: every rule in a table, made from the rule files; a test holds the page to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from milecastle.detect.rules import Rule
from milecastle.detect.validators import CHECKS

HEAD = """\
# Rules

Made from the files under config/rules by `.venv/bin/python -m tests.detect.rules_page`; a test
fails where a rule is missing here. `milecastle rules test` runs every rule against the texts that
stand beside it.

## Writing one

A file has a `category`, a `severity` for all of its rules, and a list of `rules`:

```yaml
category: secret
severity: high
rules:
  - id: acme-token                  # lower-case letters, digits, hyphens; unique
    title: ACME API token
    source: https://docs.acme.example/tokens
    token: 'acme_[A-Za-z0-9]{32}'   # recognisable by itself
    checks: [{entropy: 3.2}]
    matches: ['use acme_‖k3J9xQ2mV7tR4wZ8bN5cL1dF6gH0pSyT']   # ‖ is dropped
    ignores: ['acme_short']
```

| key | meaning |
|---|---|
| `token` | the secret's form; word boundaries are added |
| `names`, `value` | the form of a value assigned to one of these names; a blank is any joint |
| `pattern` | a whole RE2 expression; its group `secret` (or `secret2`, ...) is the finding |
| `trigger` | a cheaper expression that stands in every match; made from the pattern if missing |
| `reach` | bytes that a match is long at most, for a pattern without an end of its own |
| `needs` | injection: meanings of `config/models/lexicon.yaml`, one of each entry has to occur |
| `checks` | what a match has to pass, see below |
| `generic` | yields to any other rule at the same place |
| `certain` | is not asked whether it is a placeholder |
| `keep` | how many leading characters are public format and may be shown |
| `severity` | for this rule alone |
| `source` | where the format is documented |
| `matches`, `ignores` | texts that it has to find and to leave alone |

RE2 has no look-around and no back-references, and is linear in the text whatever the expression.

Checks: {checks}.

## Rules of your own

Put them into `/etc/milecastle/rules.d`, or what the setting `rules` names: `.yaml` files of this
form, 500 files and 4 MB at most. The shipped files stay untouched, and an upgrade can't overwrite
yours. A rule with the id of a shipped one is left out, and so is one with a mistake; the rest is
used. Files are read again when they change; the workers go on with them within a second or two,
while they serve.

    milecastle rules check                      what is wrong with them, with file and line
    milecastle rules list --rules FOLDER        all that would be in force
    milecastle scan --rules FOLDER < texts      what they would find

A label of the house is a rule of the category `marking`:

```yaml
category: marking
severity: high
rules:
  - id: acme-internal
    title: ACME's label for internal papers
    source: https://intranet.acme.example/labels
    pattern: '(?i)\bacme internal use\b'
    matches: ['ACME internal use']
    ignores: ['for internal use']
```

Canaries are such rules too; `milecastle canary add NAME` writes one and prints the word to plant.

## Found without a rule file

| rule | category | finds | severity |
|---|---|---|---|
{without}
"""

WITHOUT: tuple[tuple[str, str, str, str], ...] = (
    ("own-document", "document", "A passage of a file that was indexed", "medium, high"),
    ("system-prompt-leak", "document", "A passage of the instructions in the answer", "medium"),
    ("reads-then-sends", "tool", "A call that sends, after one that read a key file", "medium"),
    ("tool-definition-changed", "tool", "A server's tool is not what it was first", "medium"),
    ("tool-name-twice", "tool", "Two tools of one name with different definitions", "medium"),
    ("tool-name-alike", "tool", "A tool's name looks like another one's", "high"),
    ("unusual-volume", "usage", "Many times a program's usual calls in an hour", "medium"),
    ("unusual-spend", "usage", "Many times its usual tokens on a day", "medium"),
    ("unusual-hour", "usage", "Calls at an hour at which it never made any", "low"),
    ("first-use", "usage", "A program's first use of a service", "low"),
    ("loop", "usage", "The same request, or tool call, again and again", "medium"),
)
"""Rules that need more than one text, or a file of the host's own."""


def page(rules: Iterable[Rule]) -> str:
    """Return the page as Markdown."""
    ordered = sorted(rules, key=lambda rule: (rule.category, rule.file, rule.id))
    without = "\n".join(f"| `{rule}` | {' | '.join(rest)} |" for rule, *rest in WITHOUT)
    head = HEAD.replace("{checks}", ", ".join(f"`{name}`" for name in sorted(CHECKS)))
    parts = [head.replace("{without}", without)]
    parts.append(f"## All {len(ordered)} rules\n")
    for file, group in groupby(ordered, key=lambda rule: rule.file):
        parts.append(f"\n### {file}\n\n" + table(list(group)))
    return "".join(parts)


def table(rules: Sequence[Rule]) -> str:
    rows = ["| rule | finds | severity | source |\n|---|---|---|---|\n"]
    for rule in rules:
        where = rule.source.removeprefix("https://").rstrip("/")
        source = f"[{where.partition('/')[0]}]({rule.source})" if where else ""
        title = rule.title.replace("|", "\\|")
        rows.append(f"| `{rule.id}` | {title} | {rule.severity} | {source} |\n")
    return "".join(rows)
