"""
Secrets that nobody may tell, and one who listens to the whole test run.

Every test that needs a secret takes a canary; the session's environment holds some more, which every child inherits; and the key by which
all local storage is opened is well known and still a secret. `Listener` is a plugin of pytest: each line of a log, each record that is
written (an announcement repeats what stands in it) and what each test and its children print is searched. Who tells one fails.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, Final

import pytest

CANARY: Final = "c4n4ryKeyOf64Base64Characters+/0123456789=="
ENVIRONMENT: Final = {  # nobody reads these
    "CANARY_STORAGE": f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={CANARY};EndpointSuffix=core.windows.net",
    "CANARY_SIGNED": f"https://acc.blob.core.windows.net/c?sv=2024-11-04&sig={CANARY}",
    "HF_TOKEN": CANARY,
}
STORAGE_KEY: Final = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq"  # how the key of every Azurite begins
SECRETS: Final = (CANARY, STORAGE_KEY)
LOGS: Final = frozenset({"log", "log.txt", "stdout", "stderr", "std_out.txt", "std_err.txt", "std_log.txt"})
LOG_BYTES_MAX: Final = 64 << 20


def told(text: str) -> bool:
    return any(secret in text for secret in SECRETS)


class Listener(logging.Handler):
    """Hears all; `pytest_configure` registers it."""

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []  # since the last report: where a secret was told, and never the secret

    # ------------------------------------------------------------------------------------------------- what is listened to

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
        except (TypeError, ValueError):  # whoever formats it says so himself
            return
        if told(text) or (record.exc_info and told(logging.Formatter().formatException(record.exc_info))):
            self.heard.append(f"a line of the log {record.name}")

    def pytest_sessionstart(self) -> None:
        from shared.reconcile import turn

        os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
        logging.getLogger().addHandler(self)
        written = turn._body

        def body(record: Any) -> dict[str, Any]:
            found = written(record)
            if told(str(found)):
                self.heard.append(f"the record {record.key}")
            return found

        turn._body = body

    # ------------------------------------------------------------------------------------------------------ who is told of it

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        heard = self.heard + [f"its {name.lower()}" for name, text in report.sections if told(text)]
        self.heard = []
        if heard:
            report.outcome = "failed"
            report.longrepr = f"{item.nodeid}, {call.when}: a secret stands in {', '.join(sorted(set(heard)))}."
        return report

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """What children wrote into files lies in the folders of the tests, which are called after them."""
        logging.getLogger().removeHandler(self)
        factory = getattr(session.config, "_tmp_path_factory", None)
        if factory is None or factory._basetemp is None:
            return
        for file in telling(factory._basetemp):
            session.config.get_terminal_writer().line(f"\nA secret stands in {file}.", red=True)
            session.exitstatus = pytest.ExitCode.TESTS_FAILED


def telling(folder: Path) -> list[Path]:
    """Return the logs below the folder that hold a secret."""
    found = []
    for file in folder.rglob("*"):
        is_log = file.name in LOGS or file.suffix == ".log"
        if is_log and file.is_file() and file.stat().st_size <= LOG_BYTES_MAX and told(file.read_text("utf-8", "replace")):
            found.append(file)
    return found
