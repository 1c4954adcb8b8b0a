"""What was given up before a door took it: what is news, what is remembered."""

from __future__ import annotations

import pytest

from shared.domain.undelivered import COUNTED_MAX, Undelivered, seen

pytestmark = pytest.mark.light


@pytest.mark.parametrize(
    ("before", "counts", "remembered", "told"),
    [
        ({}, {"queue a": 0}, {}, []),
        ({}, {"queue a": 2}, {"queue a": 2}, [True]),
        ({"queue a": 2}, {"queue a": 2}, {"queue a": 2}, []),
        ({"queue a": 2}, {"queue a": 3}, {"queue a": 3}, [True]),
        ({"queue a": 2}, {"queue a": 0}, {"queue a": 0}, [False]),
        ({"queue a": 2}, {"queue a": None}, {"queue a": 2}, []),
        ({"queue a": 2}, {}, {"queue a": 2}, []),
        ({"queue a": 2}, {"queue a": 1, "container b": 7}, {"queue a": 1, "container b": 7}, [True, False]),
    ],
    ids=["none", "the first", "as many", "one more", "taken away", "not to be seen", "nobody looks there any more", "two places"],
)
def test_what_is_news_about_messages_that_were_given_up(
    before: dict[str, int], counts: dict[str, int | None], remembered: dict[str, int], told: list[bool]
) -> None:
    found, news = seen(Undelivered(counts=before), counts)

    assert found.counts == remembered
    assert [one.is_more for one in news] == told
    assert all(one.place in one.why for one in news)


def test_more_than_one_page_is_said_to_be_or_more() -> None:
    _, (news,) = seen(Undelivered(), {"container b": COUNTED_MAX})

    assert "5000 or more lie in container b" in news.why
