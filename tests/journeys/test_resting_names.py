"""
A deleted endpoint's name rests for longer than a function may run, so that a delete which was held up somewhere cannot hit its successor.

Neither the ledger nor Azure could refuse the stalled delete itself; what is held here are the conditions under which it is harmless.
"""

from __future__ import annotations

import ast
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from shared import settings
from shared.cloud import clients
from shared.domain import service
from shared.domain.record import Kind
from tests.journeys import fakes
from tests.journeys.stories import Story

HOUR = timedelta(hours=1)
REST = fakes.POLICY.endpoint_rest
SHARED = Path(settings.__file__).parent
pytestmark = pytest.mark.light


class Watched(Story):
    """A story in which each creation and deletion of an endpoint is noted, with the record as it lay in the ledger at that moment."""

    def __init__(self, workdir: Path, patch: pytest.MonkeyPatch) -> None:
        super().__init__(workdir)
        self.deleted: list[tuple[datetime, service.Service]] = []
        self.created: list[tuple[datetime, service.Service]] = []
        for method, noted in (("delete_endpoint", self.deleted), ("create_endpoint", self.created)):
            real = getattr(fakes.FakeEndpoints, method)

            def watched(port, name, *, real=real, noted=noted, **given):
                noted.append((self.world.now, self.only()))
                return real(port, name, **given)

            patch.setattr(fakes.FakeEndpoints, method, watched)

    def only(self) -> service.Service:
        (found,) = fakes.all_of(self.world, Kind.SERVICE)
        assert isinstance(found, service.Service)
        return found


@pytest.fixture
def story(tmp_path, monkeypatch):
    return Watched(tmp_path, monkeypatch)


def failing_endpoints(story, times):
    """Let the first endpoints come out Failed."""
    advance = story.world._advance_endpoints
    failed: list[object] = []

    def worse():
        advance()
        for endpoint in story.world.endpoints.values():
            if endpoint["state"] == "Succeeded" and not endpoint["deployments"] and len(failed) < times:
                failed.append(endpoint)
                endpoint["state"] = "Failed"

    story.world._advance_endpoints = worse


@pytest.mark.parametrize("failures", [0, 1, 3])
def test_every_delete_has_written_the_rest_of_the_name_before_it_is_sent(story, failures):
    failing_endpoints(story, failures)
    story.uploaded("support-bot/a.jsonl")
    story.run(9 * HOUR)

    assert len(story.deleted) == failures + 1
    for at, written in story.deleted:
        assert written.deleting_endpoint
        assert written.rest_until == at + REST


@pytest.mark.parametrize("failures", [1, 3])
def test_no_endpoint_is_created_before_its_name_has_rested_since_it_was_seen_gone(story, failures):
    """Seen gone begins the rest anew: somebody may have read the intent just before, and be about to send his own delete."""
    failing_endpoints(story, failures)
    story.uploaded("support-bot/a.jsonl")
    story.run(2 * HOUR)

    gone = [line.at for line in story.only().history if line.what == "endpoint_gone"]
    assert len(gone) == failures
    assert [at for at, _ in story.created][1:] == [at + REST for at in gone]
    assert story.only().live


def test_a_service_that_is_wanted_while_its_name_rests_comes_back_after_it(story):
    story.uploaded("support-bot/a.jsonl")
    while not story.deleted:
        story.run(timedelta(minutes=1))
    story.uploaded("support-bot/b.jsonl")  # the same bytes: trained already
    story.run(HOUR)

    assert story.only().stage == service.Stage.LIVE
    assert story.created[1][0] >= story.deleted[0][0] + REST


def test_one_place_deletes_endpoints_and_it_is_the_one_that_writes_the_rest():
    places = [
        (path.name, around.name)
        for path in sorted((SHARED / "reconcile").glob("*.py"))
        for around in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(around, ast.FunctionDef)
        for node in ast.walk(around)
        if isinstance(node, ast.Attribute) and node.attr == "delete_endpoint"
    ]

    assert places == [("services.py", "_delete_endpoint")]


def test_the_margin_of_the_rest_is_longer_than_a_request_may_be_under_way():
    assert settings.FUNCTION_TIMEOUT_MARGIN.total_seconds() > clients.CONNECT_SECONDS + clients.READ_SECONDS
