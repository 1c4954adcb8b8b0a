"""The same conversations in every format that can carry them, and a child that unpacks them, for the tests of both."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.prepare import unpacking
from shared.prepare.formats import UnpackLimits, format_of

LINE_BYTES_MAX = 64 << 10


@dataclass
class Upload:
    """Bytes that come in chunks of `step`."""

    content: bytes
    step: int = 1 << 20
    taken: int = 0  # chunks

    @property
    def size(self) -> int:
        return len(self.content)

    def chunks(self) -> Iterator[bytes]:
        for at in range(0, len(self.content), self.step):
            self.taken += 1
            yield self.content[at : at + self.step]


def blocks(name: str, content: bytes | Upload, workdir: Path, *, line_bytes_max: int = LINE_BYTES_MAX, **limits: int) -> Iterator[bytes]:
    """What the child gives."""
    upload = content if isinstance(content, Upload) else Upload(content)
    form = format_of(name, upload.content)
    assert form, name
    return unpacking.unpacked(upload, form, workdir=workdir, limits=UnpackLimits(**limits), line_bytes_max=line_bytes_max)


def lines(name: str, content: bytes | Upload, workdir: Path, **how: Any) -> dict[int, bytes]:
    """1-based number → line, without the blank ones."""
    whole = b"".join(blocks(name, content, workdir, **how))
    return {number: line for number, line in enumerate(whole.split(b"\n"), start=1) if line.strip()}


def chats(count: int, *, texts: str = "é “quoted” \\ \n\t\u2028 \U0001f600 ] } , [ {") -> list[dict[str, Any]]:
    return [
        {
            "prompt": f"question {number}",
            "prompt_id": str(number),
            "messages": [
                {"content": f"question {number}", "role": "user"},
                {"content": f'answer {number} "so": {texts}', "role": "assistant"},
            ],
        }
        for number in range(count)
    ]


def as_lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def as_csv(rows: list[dict[str, Any]], *, delimiter: str = ",") -> bytes:
    sink = io.StringIO(newline="")
    writer = csv.writer(sink, delimiter=delimiter)
    writer.writerow(rows[0])
    for row in rows:
        writer.writerow([value if isinstance(value, str) else json.dumps(value, indent=1) for value in row.values()])
    return sink.getvalue().encode()


def as_parquet(rows: list[dict[str, Any]] | Any, **how: Any) -> bytes:
    import pyarrow
    from pyarrow import parquet

    sink = io.BytesIO()
    table = pyarrow.Table.from_pylist(rows) if isinstance(rows, list) else rows
    parquet.write_table(table, sink, **how)
    return sink.getvalue()


def as_saved_dataset(rows: list[dict[str, Any]], folder: Path) -> bytes:
    """The shard that `save_to_disk` writes."""
    from datasets import Dataset

    Dataset.from_list(rows).save_to_disk(folder)
    (shard,) = folder.glob("*.arrow")
    return shard.read_bytes()


def as_arrow_file(rows: list[dict[str, Any]] | Any) -> bytes:
    import pyarrow

    sink = io.BytesIO()
    table = pyarrow.Table.from_pylist(rows) if isinstance(rows, list) else rows
    with pyarrow.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=7)
    return sink.getvalue()


Writing = Callable[[list[dict[str, Any]], Path], bytes]

WAYS: dict[str, Writing] = {  # name of the file → how the same rows are written
    "chats.jsonl.gz": lambda rows, _: gzip.compress(as_lines(rows)),
    "CHATS.NDJSON.GZ": lambda rows, _: gzip.compress(as_lines(rows[:3])) + gzip.compress(as_lines(rows[3:])),
    "chats.json": lambda rows, _: json.dumps(rows).encode(),
    "spread.json": lambda rows, _: b"\xef\xbb\xbf \r\n" + json.dumps(rows, indent=2, ensure_ascii=False).replace("\n", "\r\n").encode(),
    "chats.json.gz": lambda rows, _: gzip.compress(json.dumps(rows).encode()),
    "lines.json.gz": lambda rows, _: gzip.compress(as_lines(rows)),
    "chats.csv": lambda rows, _: as_csv(rows),
    "excel.csv": lambda rows, _: b"\xef\xbb\xbf" + as_csv(rows, delimiter=";"),
    "chats.tsv.gz": lambda rows, _: gzip.compress(as_csv(rows, delimiter="\t")),
}
TABLE_WAYS: dict[str, Writing] = {  # those that need pyarrow
    "chats.parquet": lambda rows, _: as_parquet(rows, row_group_size=7),
    "chats.arrow": lambda rows, folder: as_saved_dataset(rows, folder / "saved"),
    "indexed.arrow": lambda rows, _: as_arrow_file(rows),
}
