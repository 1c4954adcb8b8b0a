"""What a preparation ends with: files that training can use, or a sentence that the owner can act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from shared.domain.conversation import RULES_VERSION
from shared.prepare.options import Options
from shared.prepare.source import Side, Source

TOOL_VERSION: Final = "0.1.0"  # of the project, whose pyproject.toml is not deployed; part of what files follow from
MANIFEST_SCHEMA: Final = 1


@dataclass(frozen=True, kw_only=True, slots=True)
class Progress:
    bytes_read: int
    bytes_total: int  # twice the size of the files when they have to be read again
    rows: int  # accepted so far


@dataclass(frozen=True, kw_only=True, slots=True)
class PreparedFile:
    name: str
    sha256: str  # hex
    rows: int
    bytes: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Prepared:
    files: Mapping[Side, PreparedFile]
    content_sha256: str  # hex; over the three files, see `outputs.content_sha256`
    manifest: dict[str, Any]  # the one that is published: of this preparation, or of an earlier one of the same content
    report: dict[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Refused:
    sentence: str  # what to fix, for the owner
    code: str  # of the main fault
    report: dict[str, Any]


def manifest(
    *, files: Mapping[Side, PreparedFile], content_sha256: str, sources: Sequence[Source], options: Options, method: str, tokenizer: str
) -> dict[str, Any]:
    """What has to be known to use the files and to make the same ones again."""
    return {
        "schema": MANIFEST_SCHEMA,
        "content_sha256": content_sha256,
        "files": {side: facts(file) | {"name": file.name} for side, file in files.items()},
        "sources": [{"name": one.name, "bytes": one.size, "etag": one.etag, "side": one.side} for one in sources],
        "split": {
            "method": method,
            "salt": options.salt,
            "validation_share": options.validation_share,
            "test_share": options.test_share,
        },
        "options_sha256": options.sha256,
        "tokenizer_sha256": tokenizer,  # "": none was given
        "rules_version": RULES_VERSION,
        "tool_version": TOOL_VERSION,
    }


def facts(file: PreparedFile) -> dict[str, Any]:
    return {"rows": file.rows, "bytes": file.bytes, "sha256": file.sha256}
