"""
Drawn histories of one folder: owners replace, add and remove files, calls fail and workers die, jobs show late, limits change.

Whatever is drawn: a manifest stands for whole files of exactly the versions that it names, no tuning has two jobs alive, and each one ends.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared.domain import tuning
from shared.domain.record import Kind
from tests.journeys import fakes
from tests.journeys.stories import Story

pytestmark = pytest.mark.light

HISTORIES = 150  # 5,000 were drawn once
TOKENIZER = (Path(__file__).parents[2] / "localcloud" / "trainer" / "base" / "tokenizer.json").read_bytes()
HELD_OUT = fakes.ROWS.replace(b"Where is order", b"When comes order")
SET = json.dumps({"train": "_members/train.jsonl", "test": "_members/test.jsonl"}).encode()
LIMITS = (0, 1000, 1 << 30)  # bytes that are prepared here: nothing, a set's own file, everything
FAULTS = ("before", "after", "kill_before", "kill_after")


class History:
    """One folder and what was drawn for it."""

    def __init__(self, seed: int, workdir: Path) -> None:
        self.draw = random.Random(seed)
        self.story = Story(workdir)
        self.world = self.story.world
        self.versions: dict[str, bytes] = {}  # by ETag
        self.limit()
        self.world.faults = {self.draw.randrange(90): self.draw.choice(FAULTS) for _ in range(self.draw.randrange(6))}
        self.is_set = self.draw.random() < 0.5
        if self.is_set:
            self.put("_members/train.jsonl", fakes.ROWS)
            self.put("_members/test.jsonl", HELD_OUT)
        self.upload()

    def put(self, path: str, content: bytes) -> None:
        """Write a file of which no event tells."""
        self.versions[self.world.upload(f"shop/{path}", content).etag] = content

    def upload(self) -> None:
        path, content = ("shop/_dataset.json", SET) if self.is_set else ("shop/a.jsonl", fakes.ROWS)
        self.story.uploaded(path, content)
        self.versions[self.world.blobs[path][1].etag] = content

    def replace_a_file(self) -> None:
        there = [path for path in self.world.blobs if path.endswith(".jsonl")]
        if there:
            path = self.draw.choice(there)
            other = self.world.blobs[path][0].replace(b"hall", self.draw.choice([b"yard", b"dock", b"hall"]))  # as long as before
            self.put(path.removeprefix("shop/"), other)

    def remove(self) -> None:
        self.world.blobs.pop(self.draw.choice(["shop/a.jsonl", "shop/_tokenizer.json"]), None)

    def lay_a_tokenizer_beside_it(self) -> None:
        self.put("_tokenizer.json", TOKENIZER)

    def limit(self) -> None:
        limit = self.draw.choice(LIMITS)
        self.story.loop = replace(self.story.loop, policy=msgspec.structs.replace(self.story.loop.policy, prepare_here_bytes_max=limit))

    def hide_jobs(self) -> None:
        self.world.looks_until_jobs_show = 2

    def go_on(self) -> None:
        for _ in range(self.draw.randrange(6)):
            self.story.run(timedelta(minutes=self.draw.choice([0, 1, 2, 3, 4, 6, 8])))
            self.draw.choice(
                [
                    self.replace_a_file,
                    self.replace_a_file,
                    self.upload,
                    self.remove,
                    self.lay_a_tokenizer_beside_it,
                    self.limit,
                    self.hide_jobs,
                ]
            )()
            alive = Counter(name.rpartition("-a")[0] for name, job in self.world.jobs.items() if job["status"] == "Running")
            assert set(alive.values()) <= {1}
        self.story.run(timedelta(hours=4))

    def published(self) -> list[dict[str, Any]]:
        return [document for path, document in self.world.prepared.items() if path.endswith("/manifest.json")]


@pytest.mark.parametrize("first", range(0, HISTORIES, HISTORIES // 3))
def test_whatever_happens_nothing_is_mixed_or_half_published_and_everything_ends(first: int, tmp_path: Path) -> None:
    ends: Counter[str] = Counter()
    for seed in range(first, first + HISTORIES // 3):
        history = History(seed, tmp_path)
        history.go_on()
        for manifest in history.published():
            rows = set(b"".join(history.versions[source["etag"]] for source in manifest["sources"]).splitlines())
            for file in manifest["files"].values():
                content = history.world.prepared[f"{manifest['folder']}/{file['name']}"]
                assert hashlib.sha256(content).hexdigest() == file["sha256"], seed
                assert rows.issuperset(content.splitlines()), seed
            assert f"{manifest['folder']}/samples.json" in history.world.prepared, seed
        for found in fakes.all_of(history.world, Kind.TUNING):
            assert found.stage in tuning.ENDED, (seed, found)
            assert found.stage != tuning.Stage.STOPPED, (seed, found.reason)
            ends[found.stage] += 1
        assert all(job["status"] != "Running" for job in history.world.jobs.values()), seed
    assert ends[tuning.Stage.OFFERED]
    assert ends[tuning.Stage.SUPERSEDED]
