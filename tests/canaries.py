"""
Secrets that nobody may tell, and one who listens to the whole test run.

Every test that needs a secret takes a canary; the session's environment holds some more, which every child inherits; and the key by which
all local storage is opened is well known and still a secret. `Listener` is a plugin of pytest: each line of a log, each document of a
ledger, each announcement and what each test and its children print is searched, and at the end the logs and reports that lie in their
folders. Who tells one fails.
"""

from __future__ import annotations

import functools
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
REPORTS: Final = frozenset({"report.html", "report.json", "outcome.json", "manifest.json"})
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
        from shared.cloud.announcer import LogAnnouncer
        from shared.cloud.ledger import BlobLedger
        from shared.reconcile import turn
        from tests.journeys import fakes

        os.environ.update({name: value for name, value in ENVIRONMENT.items() if name not in os.environ})
        logging.getLogger().addHandler(self)
        logging.getLogger("tuneloop").setLevel(logging.INFO)  # as in Azure; nobody would format such a line else
        written = turn._body

        def body(record: Any) -> dict[str, Any]:
            found = written(record)
            if told(str(found)):
                self.heard.append(f"the record {record.key}")
            return found

        turn._body = body
        for ledger in (BlobLedger, fakes.FakeLedger):
            for method in ("create", "replace"):
                self._searched(ledger, method, "a document of the ledger")
        for announcer in (LogAnnouncer, fakes.FakeAnnouncer):
            self._searched(announcer, "announce", "an announcement")

    def _searched(self, where: type, method: str, what: str) -> None:
        """Look at what this method is called with, before it is."""
        called = getattr(where, method)

        @functools.wraps(called)
        def searched(port: Any, *given: Any) -> Any:
            if told(str(given)):
                self.heard.append(what)
            return called(port, *given)

        setattr(where, method, searched)

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
    """Return the logs and reports below the folder that hold a secret."""
    found = []
    for file in folder.rglob("*"):
        is_told = file.name in LOGS | REPORTS or file.suffix == ".log"
        if is_told and file.is_file() and file.stat().st_size <= LOG_BYTES_MAX and told(file.read_text("utf-8", "replace")):
            found.append(file)
    return found
