"""Lists longer than a page: nextLink leads through all of it, also while entries come and go."""

from __future__ import annotations

import json
from typing import Any

import pytest


@pytest.fixture
def page(world: Any) -> Any:
    """Fetches one page, by a path below the workspace or by the nextLink of another one; returns names and nextLink."""

    def fetch(link: str) -> tuple[list[str], str | None]:
        path = link.removeprefix(world.cloud.site.base)
        answered = world.ask("GET", path, version=None if "api-version" in path else "2024-04-01")
        assert answered.status == 200, answered.body
        body = json.loads(answered.body)
        return [one["name"] for one in body["value"]], body.get("nextLink")

    return fetch


@pytest.fixture
def endpoints(world: Any) -> Any:
    for number in range(5):
        world.endpoint(f"bot-{number}")
    return world


def test_pages_follow_one_another_to_the_end(endpoints: Any, page: Any) -> None:
    first, link = page("onlineEndpoints?count=2&tags=tuneloop-owner")
    second, after = page(link)
    third, end = page(after)

    assert (first, second, third, end) == (["bot-0", "bot-1"], ["bot-2", "bot-3"], ["bot-4"], None)
    assert "tags=tuneloop-owner" in link
    assert "$skip=" in link


@pytest.mark.parametrize(
    ("gone", "next_ones"), [("bot-0", ["bot-2", "bot-3"]), ("bot-1", ["bot-2", "bot-3"]), ("bot-2", ["bot-3", "bot-4"])]
)
def test_an_entry_that_goes_between_two_pages_hides_no_other(endpoints: Any, page: Any, gone: str, next_ones: list[str]) -> None:
    _, link = page("onlineEndpoints?count=2")
    assert endpoints.ask("DELETE", f"onlineEndpoints/{gone}").status == 202
    endpoints.until(lambda: gone not in endpoints.cloud.endpoints.all.all)

    assert page(link)[0] == next_ones


def test_a_job_that_comes_between_two_pages_shows_no_other_twice(make_world: Any) -> None:
    """Jobs are listed newest first."""
    world = make_world(site={"page_size": 2})
    for number in range(3):
        world.submit(f"ft-{number}", wish="wait")
    first = world.get("jobs")
    world.submit("ft-3", wish="wait")
    rest = json.loads(world.ask("GET", first["nextLink"].removeprefix(world.cloud.site.base), version=None).body)

    assert [job["name"] for job in first["value"]] == ["ft-2", "ft-1"]
    assert [job["name"] for job in rest["value"]] == ["ft-0"]


@pytest.mark.parametrize("query", ["count=0", "count=many", "count=-1"])
def test_a_page_of_no_length_is_refused(world: Any, query: str) -> None:
    assert world.ask("GET", f"onlineEndpoints?{query}").status == 400
