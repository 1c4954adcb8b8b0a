"""A body that no store, event or answer could carry on is refused before anything happens; whatever comes, its exchange is counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

BODIES = {
    "half a character": b'{"properties": {"tags": {"a": "\\ud800"}}}',
    "half a character in a name": b'{"properties": {"\\udfff": 1}}',
    "a number beyond every number": b'{"properties": {"tags": 1e999}}',
    "NaN": b'{"properties": NaN}',
    "another encoding": json.dumps({"properties": {}}).encode("utf-16"),
    "bytes of no encoding": b'{"a": "\xff"}',
    "something behind": b"{} x",
    "a hundred thousand lists": b"[" * 100_000,
    "a hundred thousand objects": b'{"properties":' * 100_000,
    "deeper than a reader of Azure's": b'{"properties":' * 65 + b"1" + b"}" * 65,
    "a list": b"[]",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize(("method", "path"), [("PUT", "jobs/ft-a1"), ("PUT", "onlineEndpoints/bot-1"), ("PUT", "models/m/versions/1")])
def test_such_a_body_is_a_400_that_says_what_is_wrong(world: Any, kit: Any, method: str, path: str, body: bytes) -> None:
    answered = world.ask(method, path, body)

    assert (answered.status, kit.error(answered)["code"]) == (400, "InvalidRequestContent")
    assert kit.error(answered)["message"].startswith("The body ")


def test_the_cloud_goes_on_after_all_of_them(world: Any) -> None:
    for body in BODIES.values():
        world.ask("PUT", "jobs/bad-1", body)
    world.trained("ft-a1")

    assert [job.name for job in world.cloud.jobs.all.values()] == ["ft-a1"]


def test_every_one_of_them_is_a_line_of_the_traffic(world: Any) -> None:
    for body in BODIES.values():
        world.ask("PUT", "jobs/bad-1", body)

    assert world.cloud.traffic.shown(0)["by_method"] == dict(world.cloud.requests) == {"PUT": len(BODIES)}


def test_a_whole_character_written_in_two_halves_is_taken(world: Any) -> None:
    body = b'{"location": "eastus2", "tags": {"a": "\\ud83d\\ude00"}, "properties": {"authMode": "Key"}}'

    answered = world.ask("PUT", "onlineEndpoints/bot-1", body)

    assert json.loads(answered.body)["tags"] == {"a": "😀"}
