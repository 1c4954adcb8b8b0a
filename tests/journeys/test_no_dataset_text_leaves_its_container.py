"""A dataset's text is in its reports and quarantine, and in no log, record, message or announcement, whatever is wrong with it."""

from __future__ import annotations

import gzip
import io
import json
import logging
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.journeys import fakes
from tests.journeys.stories import Story

pytestmark = pytest.mark.light

SECRET = "my doctor, Ms. Canary, says"  # no name of a column looks like it


def _row(number: int, **more: Any) -> str:
    turns = [{"role": "user", "content": f"{SECRET} {number}?"}, {"role": "assistant", "content": f"{SECRET} {number}."}]
    return json.dumps({"messages": turns, **more})


def _lines(*rows: str) -> bytes:
    return "\n".join(rows).encode()


def _parquet(**columns: list[Any]) -> bytes:
    import pyarrow as pa
    from pyarrow import parquet

    file = io.BytesIO()
    parquet.write_table(pa.table(columns), file)
    return file.getvalue()


GOOD = [_row(number) for number in range(30)]
FILES = {
    "good.jsonl": _lines(*GOOD),
    "text.jsonl": f"{SECRET}\n".encode() * 30,
    "page.jsonl": f"<html><title>{SECRET}</title>".encode() * 30,
    "json.jsonl": _lines(*GOOD, '{"messages": ' + SECRET),
    "role.jsonl": _lines(*GOOD, json.dumps({"messages": [{"role": SECRET, "content": SECRET}]})),
    "key.jsonl": _lines(*GOOD, f'{{"{SECRET}": 1, "{SECRET}": 2}}'),
    "keys.jsonl": _lines(*(_row(number, **{SECRET: SECRET}) for number in range(30))),
    "few.jsonl": _lines(GOOD[0]),
    "cut.jsonl.gz": gzip.compress(_lines(*GOOD))[:-9],
    "array.json": f'[{GOOD[0]}, {{"{SECRET}": {SECRET}}}]'.encode(),
    "no-header.csv": _lines(*(f'"{SECRET} {number}?","{SECRET}."' for number in range(30))),
    "cells.csv": _lines("messages", *(f'"{SECRET} {number}"' for number in range(30))),
    "quote.csv": f'prompt,completion\n"{SECRET}'.encode(),
    "types.parquet": _parquet(prompt=[SECRET] * 30, completion=[1] * 30),
    "column.parquet": _parquet(**{SECRET: [SECRET] * 30}),
    "damaged.parquet": SECRET.encode() * 30,
}
SETS = {
    "rows": json.dumps({"train": [json.loads(row) for row in GOOD]}),
    "array": f"[{', '.join(GOOD)}]",
    "json": f'{{"train": {SECRET}',
}
BESIDE = {"_tokenizer.json": SECRET.encode(), "_recipe.json": f'{{"num_train_epochs": {SECRET}'.encode()}


@pytest.mark.parametrize("limit", [1 << 30, 0], ids=["here", "by a job"])
def test_no_word_of_a_dataset_is_in_a_log_a_record_a_message_or_an_announcement(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, limit: int
) -> None:
    caplog.set_level(logging.DEBUG)
    story = Story(tmp_path)
    story.loop = replace(story.loop, policy=msgspec.structs.replace(story.loop.policy, prepare_here_bytes_max=limit))
    messages: list[object] = []
    push = story.world.push

    def written_down(at: Any, message: Any) -> None:
        messages.append(message)
        push(at, message)

    story.world.push = written_down  # type: ignore[method-assign]
    for name, content in FILES.items():
        story.uploaded(f"{name.replace('.', '-')}/{name}", content)
    for name, text in SETS.items():
        story.uploaded(f"set-{name}/_dataset.json", text.encode())
    for name, content in BESIDE.items():
        story.world.upload(f"{name}/{name}", content)
        story.uploaded(f"{name}/chats.jsonl", FILES["good.jsonl"])
    story.run(timedelta(hours=3))

    said = [*map(str, messages), *map(str, story.world.changes), caplog.text]
    kept = [fakes.record(story.world, key) for key in story.world.records]
    assert len(messages) > len(FILES)
    assert len(kept) > len(FILES)
    assert "Canary" not in "".join([*said, *map(str, kept)])
    assert "Canary" in str(story.world.prepared)  # it was read
