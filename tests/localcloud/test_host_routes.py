"""Routes of HTTP functions are ASP.NET templates: what they catch, and what their constraints keep out."""

from __future__ import annotations

import pytest

from localcloud.functions import routes

pytestmark = pytest.mark.light


@pytest.mark.parametrize(
    ("route", "path", "found"),
    [
        ("records", "records", {}),
        ("Records", "rECORDS", {}),
        ("records/{id}", "records/7", {"id": "7"}),
        ("records/{id}", "records/7/more", None),
        ("records/{id}", "records", None),
        ("records/{id:int}", "records/7", {"id": "7"}),
        ("records/{id:int}", "records/seven", None),
        ("records/{id:int}", "records/1_000", None),
        ("records/{id:int}", "records/99999999999", None),
        ("records/{id:long}", "records/99999999999", {"id": "99999999999"}),
        ("records/{id?}", "records", {}),
        ("records/{id:int?}", "records", {}),
        ("records/{id:int?}", "records/x", None),
        ("{kind=all}/{id?}", "", {"kind": "all"}),
        ("list/{kind=all}", "list", {"kind": "all"}),
        ("list/{kind=all}", "list/some", {"kind": "some"}),
        ("files/{*path}", "files/a/b", {"path": "a/b"}),
        ("files/{*path}", "files", {}),
        ("files/{**path}", "files/a/b", {"path": "a/b"}),
        ("{a}-{b}", "x-y-z", {"a": "x-y", "b": "z"}),
        ("v{major:int}.{minor:int}", "v1.2", {"major": "1", "minor": "2"}),
        ("on/{is:bool}", "on/TRUE", {"is": "TRUE"}),
        ("on/{is:bool}", "on/1", None),
        ("at/{day:datetime}", "at/2026-01-31", {"day": "2026-01-31"}),
        ("at/{day:datetime}", "at/yesterday", None),
        ("{n:double}", "1.5", {"n": "1.5"}),
        ("{id:guid}", "11111111-1111-1111-1111-111111111111", {"id": "11111111-1111-1111-1111-111111111111"}),
        ("{id:guid}", "1111", None),
        ("{name:alpha}", "abc", {"name": "abc"}),
        ("{name:alpha}", "ab1", None),
        ("{name:minlength(3)}", "ab", None),
        ("{name:maxlength(3)}", "abcd", None),
        ("{name:length(3)}", "abc", {"name": "abc"}),
        ("{name:length(2,3)}", "abcd", None),
        ("{n:min(5)}", "4", None),
        ("{n:max(5)}", "5", {"n": "5"}),
        ("{n:range(1,5)}", "6", None),
        ("{n:int:min(1)}", "0", None),
        ("{n:range(1,5)}", "x", None),
        (r"{code:regex(^\d{{3}}$)}", "123", {"code": "123"}),
        (r"{code:regex(^\d{{3}}$)}", "1234", None),
        ("{code:regex(^(a|b)$)}", "b", {"code": "b"}),
        ("{name:required}", "x", {"name": "x"}),
        ("a{{b}}", "a{b}", {}),
    ],
)
def test_a_route_names_parts_of_its_path(route: str, path: str, found: dict[str, str] | None) -> None:
    assert routes.parse(route).match(path) == found


@pytest.mark.parametrize(
    ("route", "why"),
    [
        ("{id:colour}", "the constraint reference 'colour' could not be resolved to a type"),
        ("{id", "opens a brace that it does not close"),
        ("{id:min(five)}", "has a constraint 'min"),
        ("{id:regex([)}", "cannot be read"),
        ("{a}/{a}", "cannot be read"),
        ("{}", "has a parameter {} that cannot be read"),
    ],
)
def test_a_route_that_cannot_be_read_is_refused_with_its_reason(route: str, why: str) -> None:
    with pytest.raises(routes.WrongRoute) as refused:
        routes.parse(route)

    assert why in str(refused.value)
