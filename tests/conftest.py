"""
Marks by folder, so that nobody has to remember them: what lies in these folders is plain Python and runs anywhere.

`python3 dev.py test --light` runs what is marked light. A file elsewhere may say `pytestmark = pytest.mark.light` itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
LIGHT_FOLDERS = {"domain", "prepare", "journeys", "dev"}  # no network, no local cloud


def pytest_collection_modifyitems(items: Iterable[pytest.Item]) -> None:
    for item in items:
        if item.path.relative_to(HERE).parts[0] in LIGHT_FOLDERS and "slow" not in item.keywords:
            item.add_marker(pytest.mark.light)
