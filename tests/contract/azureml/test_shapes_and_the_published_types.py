"""
Our shapes are held against Microsoft's published types, where those lie beside this repository (../shared/oracle).

Method: one body with every field is built from the types for each kind that is played, then broken in one place at a time, in every place.
Whatever the types refuse, ours must refuse (400, or 501 by name); whatever they take, ours must take. Where the types are not at hand,
each test runs once and states that; the tables of test_shapes.py hold everywhere.

Not compared, because the types of a deployment language cannot say it: null (the swagger marks optional fields nullable), read-only
fields that a client sends back, and words of open enumerations (the types let any text pass).
"""

from __future__ import annotations

import copy
import importlib.util
import json
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localcloud.azureml.shapes import codes, computes, datastores, deployments, endpoints, environments, jobs, models
from localcloud.azureml.wire import Refused

ORACLE = Path(__file__).parents[3].parent / "shared" / "oracle"
TYPES = sorted((ORACLE / "azureml_types").glob("*.json"))
VERSIONS = [path.stem for path in TYPES] or ["the published types are not here"]
PROVIDER = "Microsoft.MachineLearningServices/"
SHAPES: dict[str, Any] = {
    "workspaces/jobs": jobs.JOB,
    "workspaces/codes/versions": codes.VERSION,
    "workspaces/environments/versions": environments.VERSION,
    "workspaces/models": models.CONTAINER,
    "workspaces/models/versions": models.VERSION,
    "workspaces/onlineEndpoints": endpoints.ENDPOINT,
    "workspaces/onlineEndpoints/deployments": deployments.DEPLOYMENT,
    "workspaces/computes": computes.COMPUTE,
    "workspaces/datastores": datastores.DATASTORE,
}
PLAYED = {"Pipeline", "Command", "AmlCompute", "AzureBlob", "Managed"}
READ_ONLY, DEPLOY_TIME, REQUIRED = 2, 8, 1  # flags of a property
DEEP = 8  # levels; no played kind goes deeper
GUID = "0f8fad5b-d9cb-469f-a165-70867728950e"
NODE = {"name": "n", "type": "pipeline", "componentId": "azureml://registries/r/components/c/versions/1", "inputs": {}, "outputs": {}}
# What an "any value" of the types is for us; of a property bag anything goes.
OPAQUE: dict[str, Any] = {"jobs": NODE, "settings": {"force_rerun": True}, "propertyBag": {}, "info": {}}
WRONG: dict[type, list[Any]] = {
    str: [7, True, [], {}, ""],
    bool: ["true", 1, {}],
    int: ["1", True, 1.5, []],
    dict: ["x", [], 3, True],
    list: ["x", {}, 3],
}

pytestmark = pytest.mark.parametrize("version", VERSIONS)
here = bool(TYPES)


@pytest.mark.parametrize("resource", SHAPES)
def test_what_the_published_types_take_is_taken(version: str, resource: str) -> None:
    """Every kind, with every field that a client may write, at every api-version."""
    if not here:
        return
    for body in _full_bodies(version, resource):
        assert _types_refuse(version, resource, body) is None, "the body that was built is not a good one"

        refusal = _ours(version, resource, body)
        assert refusal is None or refusal.status == 501, refusal


@pytest.mark.parametrize("resource", SHAPES)
def test_any_body_that_the_published_types_allow_is_taken(version: str, resource: str) -> None:
    if not here:
        return

    @settings(max_examples=25, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(body=_strategy(version, resource))
    def holds(body: Any) -> None:
        refusal = _ours(version, resource, body)

        assert refusal is None or refusal.status == 501, (refusal, body)

    holds()


@pytest.mark.parametrize("resource", SHAPES)
def test_a_body_that_is_broken_in_one_place_is_refused_where_the_published_types_refuse_it(version: str, resource: str) -> None:
    if not here:
        return
    for body in _played(version, resource):
        mutants, taken, wrongly = 0, 0, []
        for what, mutant in _mutants(body):
            mutants += 1
            refusal = _ours(version, resource, mutant)
            assert refusal is None or refusal.target, f"{what}: the refusal names no field: {refusal}"
            if refusal is None:
                taken += 1
                wrongly += [what] if _types_refuse(version, resource, mutant) else []

        assert mutants - taken > 20
        assert not wrongly


@pytest.mark.parametrize("resource", SHAPES)
def test_a_field_of_another_api_version_is_refused(version: str, resource: str) -> None:
    """What the same body has at other versions is put in, field by field."""
    if not here:
        return
    wrongly = []
    for other in VERSIONS:
        for mine, theirs in zip(_played(version, resource), _played(other, resource), strict=True):
            for path, mutant in _grafts(mine, theirs):
                if _ours(version, resource, mutant) is None and _types_refuse(version, resource, mutant):
                    wrongly.append((other, path))

    assert not [one for one in wrongly if not _read_only(version, resource, one[1])]


# ------------------------------------------------------------------------------------------------------------------ two judges


def _ours(version: str, resource: str, body: Any) -> Refused | None:
    try:
        SHAPES[resource].read(body, version=version)
    except Refused as refusal:
        return refusal
    return None


def _types_refuse(version: str, resource: str, body: Any) -> str | None:
    whole = {"name": "name1", "type": PROVIDER + resource, **body, "apiVersion": version}
    error = next(_judge(version, resource).iter_errors(whole), None)
    return error.message if error else None


@cache
def _judge(version: str, resource: str) -> Any:
    spec = importlib.util.spec_from_file_location("check_traffic", ORACLE / "check_traffic.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    definitions, resources = module._load(version, False)
    schema = {"definitions": definitions, "$ref": "#/definitions/" + resources[(PROVIDER + resource).lower()]}
    return jsonschema.Draft7Validator(schema)


# --------------------------------------------------------------------------------------------------------- bodies from the types


@cache
def _types(version: str) -> Any:
    return json.loads((ORACLE / "azureml_types" / f"{version}.json").read_text())


def _node(version: str, reference: Any) -> Any:
    return _types(version)[int(reference["$ref"][2:])]


def _root(version: str, resource: str) -> Any:
    name = f"{PROVIDER}{resource}@{version}".lower()
    found = next(one for one in _types(version) if one["$type"] == "ResourceType" and one["name"].lower() == name)
    return _node(version, found["body"])


def _written(properties: Any) -> dict[str, Any]:
    """Return the properties that a client may write in a body."""
    return {name: one for name, one in properties.items() if not one.get("flags", 0) & (READ_ONLY | DEPLOY_TIME)}


@cache
def _full_bodies(version: str, resource: str) -> list[Any]:
    """Return a body for each word of the outermost discriminator: with every field if that kind is played, else with the least."""
    root = _written(_root(version, resource)["properties"])
    inner = root.pop("properties")
    common = {name: _full(version, one["type"], name) for name, one in root.items()}
    outer = _node(version, inner["type"])
    if outer["$type"] == "ObjectType":
        return [{**common, "properties": _full(version, inner["type"], "properties")}]
    return [{**common, "properties": _branch(version, outer, word, 0 if word in PLAYED else DEEP)} for word in outer["elements"]]


def _played(version: str, resource: str) -> list[Any]:
    """Return the full body of each kind that is played; the others are refused whatever else is wrong with them."""
    return [body for body in _full_bodies(version, resource) if _ours(version, resource, body) is None]


def _branch(version: str, node: Any, word: str, depth: int = 0) -> Any:
    own = _node(version, node["elements"][word])["properties"]
    return _all(version, node["baseProperties"] | own, depth)


def _all(version: str, properties: Any, depth: int) -> dict[str, Any]:
    """Return a value for every property; deep down only for those that must be there, since some types hold themselves."""
    written = _written(properties).items()
    wanted = [(name, one) for name, one in written if depth < DEEP or one.get("flags", 0) & REQUIRED]
    return {name: _full(version, one["type"], name, depth + 1) for name, one in wanted}


def _full(version: str, reference: Any, name: str, depth: int = 0) -> Any:
    node = _node(version, reference)
    kind = node["$type"]
    if kind == "DiscriminatedObjectType":
        return _branch(version, node, next(iter(node["elements"])), depth)
    if kind == "ObjectType":
        item = {"a": _full_item(version, node, name, depth)} if "additionalProperties" in node and depth < DEEP else {}
        return _all(version, node["properties"], depth) | item
    if kind == "ArrayType":
        return [_full(version, node["itemType"], name, depth + 1)]
    if kind == "UnionType":
        return _full(version, node["elements"][0], name, depth)
    if kind == "StringLiteralType":
        return node["value"]
    if kind == "AnyType":
        return copy.deepcopy(OPAQUE.get(name, {}))
    return {"IntegerType": 1, "BooleanType": True, "StringType": _text(node)}[kind]


def _text(node: Any) -> str:
    """Return a text that fits the pattern, if there is one: a GUID, or the address of a machine or network."""
    return next(text for text in (GUID, "10.0.0.1", "10.0.0.0/16") if re.search(node.get("pattern", ""), text))


def _full_item(version: str, node: Any, name: str, depth: int) -> Any:
    """Of a map whose values may be of several kinds, the first kind that has a uri: a literal has next to nothing to break."""
    item = _node(version, node["additionalProperties"])
    if item["$type"] == "DiscriminatedObjectType" and len(item["elements"]) > 1:
        return _branch(version, item, next(word for word in item["elements"] if word.lower() != "literal"), depth)
    return _full(version, node["additionalProperties"], name, depth + 1)


def _strategy(version: str, resource: str) -> st.SearchStrategy[Any]:
    return _any_object(version, _root(version, resource)["properties"])


def _any_object(version: str, properties: Any) -> st.SearchStrategy[Any]:
    """Built when it is drawn from: some types hold themselves."""

    def build() -> st.SearchStrategy[Any]:
        written = _written(properties)
        needed = {name: _any(version, one["type"], name) for name, one in written.items() if one.get("flags", 0) & REQUIRED}
        free = {name: _any(version, one["type"], name) for name, one in written.items() if name not in needed}
        return st.fixed_dictionaries(needed, optional=free)

    return st.deferred(build)


def _any(version: str, reference: Any, name: str) -> st.SearchStrategy[Any]:
    node = _node(version, reference)
    kind = node["$type"]
    if kind == "DiscriminatedObjectType":
        branches = [_node(version, one)["properties"] for one in node["elements"].values()]
        return st.one_of(*(_any_object(version, node["baseProperties"] | one) for one in branches))
    if kind == "ObjectType":
        if "additionalProperties" not in node:
            return _any_object(version, node["properties"])
        return st.dictionaries(st.sampled_from(["a", "b-1", "c.d"]), _any(version, node["additionalProperties"], name), max_size=2)
    if kind == "ArrayType":
        return st.lists(_any(version, node["itemType"], name), max_size=2)
    if kind == "UnionType":
        known = [one for one in node["elements"] if _node(version, one)["$type"] == "StringLiteralType"]
        return st.sampled_from([_node(version, one)["value"] for one in known])
    if kind == "StringLiteralType":
        return st.just(node["value"])
    if kind == "StringType":
        return st.just(_text(node)) if "pattern" in node else st.text(max_size=20)
    if kind == "AnyType":
        return st.builds(lambda: copy.deepcopy(OPAQUE.get(name, {})))
    return st.integers(0, 1000) if kind == "IntegerType" else st.booleans()


# ----------------------------------------------------------------------------------------------------------------- broken bodies


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a body but its top; what the types do not look into is left out."""
    if path:
        yield path
    if path[-2:-1] == ("jobs",) or path[-1:] in {("settings",), ("propertyBag",)}:
        return
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from _places(item, (*path, key))


def _mutants(body: Any) -> Iterator[tuple[str, Any]]:
    """Break the body in one place: take out, put in, another type, a word that nobody knows, a text that is too long."""
    yield "(top) + surprise", body | {"surprise": 1}
    for path in list(_places(body)):
        where = "/".join(map(str, path))
        value = _at(body, path)
        yield f"{where} taken out", _changed(body, path, None, take_out=True)
        if isinstance(value, dict):
            yield f"{where} + surprise", _changed(body, path, value | {"surprise": 1})
        if isinstance(value, str):
            yield f"{where} unknown", _changed(body, path, "no such word")
            yield f"{where} too long", _changed(body, path, GUID * 20)
            yield f"{where} only dots", _changed(body, path, "...")
        for wrong in WRONG[type(value)]:
            yield f"{where} = {wrong!r}", _changed(body, path, wrong)


def _grafts(mine: Any, theirs: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Put what only the other body has into ours, one field at a time."""
    if path[-2:-1] == ("jobs",) or not isinstance(_at(mine, path), dict) or not isinstance(_at(theirs, path), dict):
        return
    for key, value in _at(theirs, path).items():
        if key not in _at(mine, path) or (isinstance(value, str) and _at(mine, path)[key] != value):
            yield (*path, key), _changed(mine, (*path, key), value)
        else:
            yield from _grafts(mine, theirs, (*path, key))


def _at(body: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        body = body[key]
    return body


def _changed(body: Any, path: tuple[Any, ...], value: Any, *, take_out: bool = False) -> Any:
    fresh = copy.deepcopy(body)
    parent = _at(fresh, path[:-1])
    if take_out:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return fresh


def _read_only(version: str, resource: str, path: tuple[Any, ...]) -> bool:
    """Say whether the version has the field, but only in answers."""
    node = _root(version, resource)
    found: Any = None
    for key in path:
        properties = node.get("properties", {}) | node.get("baseProperties", {})
        if key not in properties:
            return False
        found = properties[key]
        node = _node(version, found["type"])
    return bool(found["flags"] & READ_ONLY)
