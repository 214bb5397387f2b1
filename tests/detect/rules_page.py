"""Write docs/RULES.md anew: python -m tests.detect.rules_page"""

from pathlib import Path

from tests.detect import shipped_rules

from milecastle.detect import check
from milecastle.detect.rulebook import page

PAGE = Path(__file__).parents[2] / "docs" / "RULES.md"


def text() -> str:
    rules, _ = check(shipped_rules.files())
    return page(rules)


if __name__ == "__main__":
    PAGE.write_text(text())
