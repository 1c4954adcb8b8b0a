"""
Bytes of an upload become three files that Azure ML's pipeline cannot choke on, or a sentence that says what to fix.

Nothing here knows Azure. What a format can make explode is read in a child process that may die of it.
"""

from __future__ import annotations

from shared.domain.conversation import RULES_VERSION
from shared.prepare.formats import UnpackLimits
from shared.prepare.options import Options, Repairs, RowsMin, options_of
from shared.prepare.preparation import REPORT, SAMPLES, prepare, refused
from shared.prepare.result import TOOL_VERSION, Prepared, PreparedFile, Progress, Refused
from shared.prepare.source import SET_FILE, SIDES, Side, Source, StreamEndedEarly, source_of_file, sources_of_set
from shared.prepare.tokenizer import BadTokenizer, Tokenizer, read_tokenizer

__all__ = [
    "prepare",
    "refused",
    "Source",
    "Side",
    "SIDES",
    "SET_FILE",
    "source_of_file",
    "sources_of_set",
    "Options",
    "options_of",
    "RowsMin",
    "Repairs",
    "UnpackLimits",
    "Tokenizer",
    "read_tokenizer",
    "BadTokenizer",
    "Progress",
    "Prepared",
    "PreparedFile",
    "Refused",
    "StreamEndedEarly",
    "REPORT",
    "SAMPLES",
    "RULES_VERSION",
    "TOOL_VERSION",
]
