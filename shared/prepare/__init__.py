"""
Bytes of an upload become three files that Azure ML's pipeline cannot choke on, or a sentence that says what to fix.

Nothing here knows Azure. `pyarrow` and `datasets` load only when a parquet table is read.
"""

from __future__ import annotations

from shared.prepare.options import Options, ParquetLimits, RowsMin
from shared.prepare.preparation import prepare
from shared.prepare.result import Prepared, PreparedFile, Progress, Refused, manifest
from shared.prepare.source import Source, StreamEndedEarly, source_of_file

__all__ = [
    "prepare",
    "Source",
    "source_of_file",
    "Options",
    "RowsMin",
    "ParquetLimits",
    "Progress",
    "Prepared",
    "PreparedFile",
    "Refused",
    "manifest",
    "StreamEndedEarly",
]
