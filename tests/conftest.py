"""
Marks by folder, so that nobody has to remember them: what lies in these folders is plain Python and runs anywhere.

`python3 dev.py test --light` runs what is marked light. A file elsewhere may say `pytestmark = pytest.mark.light` itself. And one folder
for the traffic that the tests of this session record; what is said about all of it is said last.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import recordings as recorded
from tests.canaries import Listener

HERE = Path(__file__).parent
LAST = "test_recorded_traffic.py"  # looks at what all others recorded
LIGHT_FOLDERS = {"domain", "prepare", "journeys", "dev"}  # no network, no local cloud


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Listener(), "canaries")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.path.name == LAST)
    for item in items:
        if item.path.relative_to(HERE).parts[0] in LIGHT_FOLDERS and "slow" not in item.keywords:
            item.add_marker(pytest.mark.light)


@pytest.fixture(scope="session")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of this session's recordings."""
    return recorded.folder_of_session(tmp_path_factory.getbasetemp() / "traffic")


@pytest.fixture(scope="session")
def recording(recordings: Path) -> Callable[[str], Path]:
    """Give a file for the traffic of one emulator: recording("loop") is loop-<number>.jsonl."""
    numbers: dict[str, int] = {}

    def file(name: str) -> Path:
        numbers[name] = numbers.get(name, 0) + 1
        return recordings / f"{name}-{numbers[name]}.jsonl"

    return file
