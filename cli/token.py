"""Print a token with which an endpoint of the running local cloud can be called; nothing else, so that `$(…)` takes it."""

from __future__ import annotations

import sys

from cli.cloud import clean_environment, running


def main() -> int:
    clean_environment()
    found = running()
    if found is None:
        sys.stderr.write("No local cloud is running. Start one with `python3 dev.py up`, or `python3 dev.py demo --keep`.\n")
        return 1
    sys.stdout.write(found.token())
    return 0


if __name__ == "__main__":
    sys.exit(main())
