"""How every test runs: the same examples each time, unless somebody looks for new ones.

``pytest --hypothesis-profile=explore`` draws new examples, ten times as many.
"""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, database=None, print_blob=True)
settings.register_profile("explore", max_examples=1000, print_blob=True)
settings.load_profile("repeatable")
