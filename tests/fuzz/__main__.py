"""Run atheris on one format: ``python -m tests.fuzz FORMAT [libFuzzer's options]``."""

from __future__ import annotations

import sys


def main() -> int:
    if sys.argv[1:] in ([], ["--list"]):
        from tests.fuzz.targets import NAMES

        print("\n".join(NAMES))
        return 0
    try:
        import atheris
    except ImportError:
        print("fuzzing needs atheris: pip install 'milecastle[fuzz]'", file=sys.stderr)
        return 2
    with atheris.instrument_imports(include=["milecastle"]):
        from tests.fuzz.targets import NAMES, target
    name = sys.argv.pop(1)
    if name not in NAMES:
        print(f"no format is called {name}", file=sys.stderr)
        return 2
    atheris.Setup(sys.argv, target(name))
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
