"""
What a preparation ends with: files that training can use, or a sentence that the owner can act on.

Reports hold counts, line numbers, hashes and our own sentences; never a word of the data set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.domain.conversation import RULES_VERSION, Code
from shared.prepare.options import Options
from shared.prepare.split import SIDES, Side


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    bytes_read: int
    bytes_total: int
    rows: int  # accepted so far


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedFile:
    path: Path
    sha256: str  # hex
    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    files: Mapping[Side, PreparedFile]
    content_sha256: str  # hex; over the three files, see `content_sha256`
    report: dict[str, Any]
    samples: tuple[dict[str, Any], ...]  # held-out rows: {"messages": up to the last user turn, "reference": the answer}


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    sentence: str  # what to fix, for the owner
    code: Code  # of the main fault
    report: dict[str, Any]


def manifest(prepared: Prepared, options: Options) -> dict[str, Any]:
    """What has to be known to use the files and to make the same ones again; it is written after them."""
    return {
        "content_sha256": prepared.content_sha256,
        "files": {side: {"name": file.path.name, **_facts(file)} for side, file in prepared.files.items()},
        "split": {"salt": options.salt, "validation_share": options.validation_share, "test_share": options.test_share},
        "rules_version": RULES_VERSION,
    }


def splits(files: Mapping[Side, PreparedFile]) -> dict[str, Any]:
    return {side: _facts(files[side]) for side in SIDES}


def _facts(file: PreparedFile) -> dict[str, Any]:
    return {"rows": file.rows, "bytes": file.bytes, "sha256": file.sha256}
