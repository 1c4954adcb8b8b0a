"""
Tables in the docs follow from the code and the configuration: `python -m cli.docs` writes them, `--check` says which drifted.

A table stands between `<!-- table: NAME -->` and `<!-- end -->` and is never edited by hand. The words around it are. A number
of host.json without a reason, or a reason without its number, is a fault and not an empty cell.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from cli import demo
from localcloud import faults, switches
from localcloud.azureml.cloud import OWN, Cloud
from localcloud.azureml.routes import MANAGEMENT, WORKSPACE, Route
from localcloud.azureml.site import Site
from localcloud.clocks import system
from shared import prepare, settings
from shared.domain import conversation
from shared.prepare import report_shape

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = "local.settings.json.example"
BUGS = "tests/simulation/bugs.json"
OK, DRIFT = 0, 1
BLOCK = re.compile(r"<!-- table: (?P<name>[a-z-]+) -->\n(?P<body>.*?)<!-- end -->", re.DOTALL)

# Settings that are read by the host, by a binding or by an SDK, so they are no fields of `shared.settings.Settings`.
CONNECTIONS: Mapping[str, str] = {
    "AzureWebJobsStorage": "the host's own storage account, and the queue of turns on it",
    "DATASETS": "the account of the datasets, prepared and ledger containers, and the connection of the blob trigger",
}
HOST: Mapping[str, str] = {
    "FUNCTIONS_WORKER_RUNTIME": "`python`; on Flex Consumption it must not be set (Azure docs page flex-consumption-plan)",
    "PYTHON_ISOLATE_WORKER_DEPENDENCIES": "`1`: the app's azure-functions wins over the worker's own; needed on Python 3.11 and 3.12",
}
CLIENTS: Mapping[str, str] = {
    "ARM_CLOUD_METADATA_URL": "where azure-ai-ml learns which cloud it talks to; local cloud only",
    "REGISTRY_DISCOVERY_ENDPOINT_URL": "where azure-ai-ml looks for registries, with a slash at the end; local cloud only",
    "REQUESTS_CA_BUNDLE": "certificate authorities that clients trust: the public ones and the laptop's own; local cloud only",
    "IDENTITY_ENDPOINT": "where azure-identity asks for a managed identity's token; Azure sets it by itself",
    "IDENTITY_HEADER": "what it sends along; Azure sets it by itself",
    "AZURE_TOKEN_CREDENTIALS": "which credential DefaultAzureCredential tries; shortens its chain",
}
BESIDE_THE_CLASS: Mapping[str, str] = {**CONNECTIONS, **HOST, **CLIENTS}

HOST_JSON_WHY: Mapping[str, str] = {
    "functionTimeout": "a turn takes seconds, preparing a large dataset minutes. Must be finite: the lease of a step and the rest of a "
    "deleted endpoint's name are this plus 2 minutes. Flex Consumption's default is 30 minutes, Consumption allows 10 at most",
    "extensionBundle.version": "the 4.x bundle; Flex Consumption asks for `[4.0.0, 5.0.0)` or later",
    "extensions.queues.batchSize": "turns taken from the queue at once; default 16. Preparing needs memory, so few "
    "(a guess for 1 to 2 cores)",
    "extensions.queues.newBatchThreshold": "fetch again when this few are running, so up to 6 turns run at once on one instance",
    "extensions.queues.maxDequeueCount": "tries of one message before it goes to the poison queue. A step that fails does not raise, "
    "so only an unreachable ledger or queue, or a dying host, counts here",
    "extensions.queues.visibilityTimeout": "rest of a message whose function raised. The host's default is 0: five tries within a second",
    "extensions.queues.messageEncoding": "the app sends base64; both sides have to agree",
    "extensions.blobs.maxDegreeOfParallelism": "blob door calls at once on one instance; default 8 for each core. A call is one HEAD "
    "and two small writes, so this is caution",
    "extensions.blobs.poisonBlobThreshold": "tries of one blob message; after it `look_again` finds the upload by listing",
    "logging.logLevel.default": "one line a step stays readable",
    "logging.logLevel.Host.Aggregator": "the host's own counters are noise here",
    "logging.applicationInsights.samplingSettings.isEnabled": "traces may be dropped under load; the ledger has the history",
    "logging.applicationInsights.samplingSettings.excludedTypes": "requests and exceptions are never dropped",
}
HOST_JSON_PLAIN = frozenset({"version", "extensionBundle.id"})  # nothing to choose


OPTIONS_WITHOUT_SETTING: Mapping[str, str] = {
    "salt": "changes which prompts are held out; in the app it is the installation's own id",
    "samples_max": "held-out rows that travel with the result",
    "sample_bytes_max": "bytes of one such row",
    "unpack.ratio_max": "bytes that come out of a packed file for one that goes in",
    "unpack.seconds_max": "time that the child process which unpacks may take",
    "unpack.rows_max": "rows of a table",
    "unpack.columns_max": "columns of a table",
    "unpack.row_groups_max": "row groups of a parquet file",
    "unpack.row_group_bytes_max": "bytes of one row group in memory",
}


PROVIDER = "/providers/Microsoft.MachineLearningServices"
SHORTER: Mapping[str, str] = {  # the beginning of a path -> how the emulator's table calls it
    f"/mferp/managementfrontend/subscriptions/{{subscription}}/resourceGroups/{{group}}{PROVIDER}/registries/{{registry}}": "{registry}",
    f"/subscriptions/{{subscription}}{PROVIDER}/locations/{{location}}": "{location}",
}


class Drift(Exception):
    """A table cannot be made or does not stand where it should; the text names the file."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the tables, or with --check only say where one drifted. 0 ok, 1 drift."""
    parser = argparse.ArgumentParser(prog="python -m cli.docs", description="Write the tables in docs/ from code and configuration.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name each file that drifted")
    check = parser.parse_args(arguments).check
    try:
        stale = [path for path in pages() if written(path.read_text("utf-8"), path) != path.read_text("utf-8")]
    except Drift as error:
        sys.stderr.write(f"{error}\n")
        return DRIFT
    for path in stale:
        name = path.relative_to(ROOT)
        if check:
            sys.stderr.write(f"{name} is not what the code says. Write it anew: python -m cli.docs\n")
        else:
            path.write_text(written(path.read_text("utf-8"), path), "utf-8")
            sys.stdout.write(f"{name} written.\n")
    return DRIFT if check and stale else OK


def pages() -> list[Path]:
    """Return the pages that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]


def written(text: str, path: Path) -> str:
    """Return the page with every table as it should be."""

    def table(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in TABLES:
            raise Drift(f"{path.relative_to(ROOT)} asks for the table {name!r}; there are: {', '.join(TABLES)}.")
        return f"<!-- table: {name} -->\n{TABLES[name]()}<!-- end -->"

    return BLOCK.sub(table, text)


def example_values() -> dict[str, str]:
    """Return what the example settings file sets."""
    values: dict[str, str] = json.loads((ROOT / EXAMPLE).read_text("utf-8"))["Values"]
    return values


def host_json_numbers() -> dict[str, Any]:
    """Return every value of host.json by its dotted path."""
    return dict(_leaves(json.loads((ROOT / "host.json").read_text("utf-8"))))


def _beside_the_class() -> str:
    example = example_values()
    rows = ((f"`{name}`", _code(example.get(name, "")), meaning) for name, meaning in BESIDE_THE_CLASS.items())
    return _table(("setting", "in the example", "meaning"), rows)


def _demo() -> str:
    fields = settings.Settings.model_fields
    rows = ((f"`{name}`", _code(value), str(fields[name].description)) for name, value in demo.SETTINGS.items())
    return _table(("setting", "in the demo", "meaning"), rows)


def _options() -> str:
    """How a dataset is prepared: what a file of options calls it, and the app's setting where there is one."""
    defaults = dict(_leaves(msgspec.to_builtins(prepare.Options())))
    by_option = {option: name for name, option in settings.OPTIONS.items()}
    if defaults.keys() != by_option.keys() | OPTIONS_WITHOUT_SETTING.keys():
        differing = ", ".join(sorted(defaults.keys() ^ (by_option.keys() | OPTIONS_WITHOUT_SETTING.keys())))
        raise Drift(f"docs/preparing.md: the options of preparation and their meanings in cli/docs.py differ in {differing}.")
    rows = []
    for option, default in defaults.items():
        name = by_option.get(option)
        meaning = settings.Settings.model_fields[name].description if name else OPTIONS_WITHOUT_SETTING[option]
        rows.append((f"`{option}`", _code(json.dumps(default).strip('"')), f"`{name}`" if name else "", _plain(str(meaning))))
    return _table(("option", "default", "setting of the app", "meaning"), iter(rows))


def _codes() -> str:
    """Every code of a row, gravest first."""
    limits = prepare.Options().limits
    order = list(conversation.Severity)
    found = sorted(conversation.row_codes(limits), key=lambda row: order.index(conversation.severity(row[0])))
    rows = []
    for code, what, remedy in found:
        counts = " (bad)" if conversation.is_bad(code) else ""
        rows.append((_code(code), f"{conversation.severity(code)}{counts}", _plain(what), _plain(remedy)))
    return _table(("code", "severity", "a line that", "its owner reads"), iter(rows))


def _host_json() -> str:
    numbers = {path: value for path, value in host_json_numbers().items() if path not in HOST_JSON_PLAIN}
    if numbers.keys() != HOST_JSON_WHY.keys():
        differing = ", ".join(sorted(numbers.keys() ^ HOST_JSON_WHY.keys()))
        raise Drift(f"docs/operating.md: host.json and its reasons in cli/docs.py differ in {differing}.")
    rows = ((f"`{path}`", _code(json.dumps(value).strip('"')), HOST_JSON_WHY[path]) for path, value in numbers.items())
    return _table(("value of host.json", "is", "why"), rows)


def _operations() -> str:
    """The coverage of the emulator, from its own table of routes."""
    rows = [
        (
            f"`{route.method}` `{_short(route.path)}`",
            _plain(route.does),
            _versions(route.versions),
            _plain(route.differs) or ("Azure has none" if route.path.startswith(OWN) else "none known"),
        )
        for route in _routes()
    ]
    nameless = [row[0] for row in rows if not row[1]]
    if nameless:
        raise Drift(f"docs/emulator.md: say in their Route what these are for (`does`): {', '.join(nameless)}.")
    return _table(("operation", "what for", "api-versions", "differs from Azure"), iter(rows))


def _routes() -> tuple[Route, ...]:
    """Return what an emulator would answer; none is started, nothing is written."""
    nowhere = Site(folder=ROOT / "nowhere", base="https://localhost", clock=system)
    return Cloud(nowhere, _NoStorage(), "no key").table.routes


class _NoStorage:
    """Where nothing is ever read."""

    def fetch(self, container: str, blob: str, target: Path) -> bool:
        raise AssertionError(f"nobody asks for {container}/{blob} here, into {target}")

    def names(self, container: str, prefix: str) -> list[str]:
        raise AssertionError(f"nobody lists {container}/{prefix} here")

    def put(self, container: str, blob: str, source: Path) -> None:
        raise AssertionError(f"nobody writes {container}/{blob} here, from {source}")


def _report(part: type) -> str:
    """Return the fields of one part of report.json or of a row of quarantine.jsonl, from the struct that it is held to."""
    info = msgspec.inspect.type_info(part)
    assert isinstance(info, msgspec.inspect.StructType)
    rows = []
    for field in info.fields:
        assert isinstance(field.type, msgspec.inspect.Metadata), field.name  # each has a meaning: a type checker cannot ask for it
        extra = field.type.extra or {}
        meaning = (field.type.extra_json_schema or {})["description"]
        kind = _type(field.type.type) + ("" if field.required else ", may be absent")
        rows.append((f"`{field.encode_name}`", kind, extra["unit"], _plain(meaning)))
    return _table(("field", "type", "unit", "meaning"), iter(rows))


def _type(of: msgspec.inspect.Type) -> str:
    """Return the type in JSON's words."""
    known = msgspec.inspect
    match of:
        case known.Metadata():
            return _type(of.type)
        case known.LiteralType():
            return " or ".join(f"`{json.dumps(value)}`" for value in of.values)
        case known.UnionType():
            return " or ".join(_type(one) for one in of.types)
        case known.ListType():
            return f"list of {_type(of.item_type)}"
        case known.TupleType():
            return f"[{', '.join(map(_type, of.item_types))}]"
        case known.DictType():
            return f"object of {_type(of.value_type)}"
        case known.StructType():
            return "object"
        case _:
            return JSON_NAMES[type(of)]


JSON_NAMES: Mapping[type, str] = {
    msgspec.inspect.StrType: "text",
    msgspec.inspect.IntType: "whole number",
    msgspec.inspect.FloatType: "number",
    msgspec.inspect.BoolType: "true or false",
    msgspec.inspect.NoneType: "null",
}


def _short(path: str) -> str:
    for whole, name in ((WORKSPACE, "{workspace}"), *SHORTER.items()):
        path = path.replace(whole, name)
    return path


def _versions(versions: frozenset[str] | None) -> str:
    if versions is None:
        return "has none"
    return "management" if versions == MANAGEMENT else ", ".join(f"`{one}`" for one in sorted(versions))


def _management() -> str:
    return ", ".join(f"`{one}`" for one in sorted(MANAGEMENT)) + "\n"


def _switches() -> str:
    rows = (
        (f"`{name}`", ", ".join(f"`{side}`" for side in sides), _plain(switches.questions()[name]))
        for name, sides in switches.sides().items()
    )
    return _table(("switch", "sides, the default first", "what is not known of Azure"), rows)


def _faults() -> str:
    rows = (
        (f"`{name}`", ", ".join(f"`{one}`" for one in kind.match), _parameters(kind), _often(kind), _plain(kind.does))
        for name, kind in faults.KINDS.items()
    )
    return _table(("fault", "`match` may name", "parameters", "`times`", "what happens"), rows)


def _bugs() -> str:
    """What notices each deliberate bug: as `python3 dev.py mutants` found it at last."""
    found: dict[str, dict[str, Any]] = json.loads((ROOT / BUGS).read_text("utf-8"))
    rows = ((f"`{name}`", _plain(one["what"]), _plain(_noticed_by(one)), _plain(one["says"])) for name, one in found.items())
    return _table(("bug", "what is wrong", "noticed by", "what the simulation says"), rows)


def _noticed_by(one: Mapping[str, Any]) -> str:
    if "seed" in one:
        return f"seed {one['seed']}"
    plan = ", ".join(f"`{fault}` at call {call}" for call, fault in one["plan"].items())
    return f'script "{one["script"]}"' + (f" with {plan}" if plan else "")


def _parameters(kind: faults.Kind) -> str:
    return "<br>".join(f"`{name}`: {_plain(json.dumps(value))}" for name, value in kind.parameters.items())


def _often(kind: faults.Kind) -> str:
    return "always" if kind.times == 0 else str(kind.times)


def _plain(text: str) -> str:
    return text.replace("|", "\\|")


def _leaves(document: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in document.items():
        path = f"{above}{name}"
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}.")
        else:
            yield path, value


def _table(head: Sequence[str], rows: Iterator[tuple[str, ...]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows)]
    return "\n".join(lines) + "\n"


def _code(text: str) -> str:
    return f"`{text}`" if text else "(not set)"


TABLES: Mapping[str, Callable[[], str]] = {
    "settings": settings.table,
    "codes": _codes,
    "beside-the-class": _beside_the_class,
    "demo": _demo,
    "options": _options,
    "host-json": _host_json,
    "operations": _operations,
    "management-versions": _management,
    "switches": _switches,
    "faults": _faults,
    "bugs": _bugs,
    **{name: partial(_report, part) for name, part in report_shape.PARTS.items()},
}


if __name__ == "__main__":
    sys.exit(main())
