"""
One bad function leaves the whole app without functions: the worker's indexing rules.

Written after azure_functions_runtime's loader (MIT), which runs on 3.13 only; these rules run on every Python that we support
and on both azure-functions lines. The texts of the errors are the worker's where an operator may search for them.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import time
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import GenericAlias, ModuleType, UnionType
from typing import Any

from localcloud.functions import worker

APP_FILE = "function_app.py"
RETRY_DELAY_S_MAX = 2147483647  # what the worker puts where a policy names no longest delay (azure-functions-runtime 1.3.0)


@dataclass(frozen=True, kw_only=True)
class Indexed:
    """A function with what is needed to call it."""

    function: worker.Function
    call: Callable[..., Any]
    trigger_type: Any  # the annotation of the trigger's parameter; None: there is none
    wants_context: bool
    returns: str | None  # the type of the $return binding; None: the function must return None

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.call)


def index(app: Path, file_name: str = APP_FILE) -> list[Indexed]:
    """Import the app and check every function; any fault means that there are none."""
    if not (app / file_name).exists():
        raise worker.IndexingFailed(f"There is no {file_name} in {app}; name the folder of a v2 app with --app.")
    _put_last_on_path(app)
    try:
        module = importlib.import_module(Path(file_name).stem)
        return [_checked(built) for built in _only_app(module).get_functions()]
    except worker.IndexingFailed:
        raise
    except BaseException as error:  # whatever the module of a user does at import: sys.exit() too
        if isinstance(error, KeyboardInterrupt):
            raise
        raise worker.IndexingFailed(f"{file_name} cannot be indexed: {type(error).__name__}: {error}") from error


def registry() -> Any:
    """The library's converters, by the type of the binding."""
    import azure.functions

    return azure.functions.get_binding_registry()  # type: ignore[no-untyped-call]


def deferred_registry() -> Any:
    """The registry of SDK types; None when the app imported no binding extension."""
    base = sys.modules.get("azurefunctions.extensions.base")
    return base.get_binding_registry() if base else None


def _put_last_on_path(app: Path) -> None:
    """
    The worker puts the app last on the path, so a package of the environment shadows a folder of the app.

    The project that this host comes from follows even later: its own function_app must not hide the app's.
    """
    ours = Path(__file__).resolve().parents[2]
    sys.path[:] = [entry for entry in sys.path if Path(entry or ".").resolve() not in (app, ours)] + [str(app), str(ours)]
    importlib.invalidate_caches()


def _only_app(module: ModuleType) -> Any:
    import azure.functions

    apps = [value for value in vars(module).values() if isinstance(value, azure.functions.FunctionRegister)]
    if len(apps) > 1:
        raise worker.IndexingFailed(f"More than one {type(apps[0]).__name__} or other top level function app instances are defined.")
    if not apps:
        raise worker.IndexingFailed(f"Could not find top level function app instances in {module.__name__}.py.")
    return apps[0]


def _checked(built: Any) -> Indexed:
    """Apply the rules to one function."""
    call, name = built.get_user_function(), built.get_function_name()
    parameters = set(inspect.signature(call).parameters)
    hints = typing.get_type_hints(call)
    bindings = {binding.name: binding for binding in built.get_bindings()}
    _check_directions(name, bindings)
    wants_context = "context" in parameters and "context" not in bindings
    if wants_context:
        parameters.discard("context")
        _check_context(name, hints)
    bound = set(bindings) - {"$return"}
    undeclared, absent = parameters - bound, bound - parameters
    _refuse(
        name,
        undeclared,
        "the following parameters are declared in Python but not in the function definition (function.json or function decorators):  "
        f"{undeclared!r}",
    )
    _refuse(
        name,
        absent,
        "Extra parameters in binding definition — the following parameters are declared as bindings but are not present in Python: "
        f"{absent!r}",
    )
    for parameter in sorted(bound):
        if parameter in hints:
            _check_annotation(name, parameter, hints[parameter], bindings[parameter])
    if "$return" in bindings and "return" in hints:
        _check_return(name, hints["return"], bindings["$return"].type)
    return _indexed(built, call, hints, wants_context)


def _indexed(built: Any, call: Callable[..., Any], hints: Mapping[str, Any], wants_context: bool) -> Indexed:
    name = built.get_function_name()
    raw = _raw_bindings(built, hints)
    triggers = [binding for binding in raw if str(binding["type"]).lower().endswith("trigger")]
    _refuse(name, len(triggers) != 1, f"it has {len(triggers)} triggers; a function has one")
    trigger = triggers[0]
    function = worker.Function(
        name=name,
        trigger=trigger,
        outputs=[binding for binding in raw if binding["direction"] == "OUT"],
        deferred=_is_sdk_type(hints.get(trigger["name"])),
        text=hints.get(trigger["name"]) in (str, bytes),
        retry=_retry(built),
    )
    return Indexed(
        function=function,
        call=call,
        trigger_type=hints.get(trigger["name"]),
        wants_context=wants_context,
        returns=next((str(binding["type"]) for binding in raw if binding["name"] == "$return"), None),
    )


def _check_directions(name: str, bindings: Mapping[str, Any]) -> None:
    for binding in bindings.values():
        _refuse(name, binding.direction == 2, '"inout" bindings are not supported')
        wrong = binding.name == "$return" and binding.direction != 1
        _refuse(name, wrong, '"$return" binding must have direction set to "out"')


def _check_context(name: str, hints: Mapping[str, Any]) -> None:
    given = hints.get("context")
    wrong = given is not None and (not isinstance(given, type) or given.__name__ != "Context")
    _refuse(name, wrong, f'the "context" parameter is expected to be of type azure.functions.Context, got "{given!r}"')


def _check_annotation(name: str, parameter: str, annotation: Any, binding: Any) -> None:
    """An annotation must be a type that the converter of the binding takes."""
    outwards = binding.direction == 1
    is_out = getattr(typing.get_origin(annotation) or annotation, "__name__", "") == "Out"
    arguments = typing.get_args(annotation)
    _refuse(name, is_out and len(arguments) != 1, f"binding {parameter} has invalid Out annotation {annotation!r}")
    inner = arguments[0] if is_out else annotation
    generic = isinstance(inner, GenericAlias) or _is_typing_generic(inner)
    _refuse(name, not isinstance(inner, type) and not generic, f"binding {parameter} has invalid non-type annotation {annotation!r}")
    said = f"binding {parameter} is declared to have the"
    _refuse(
        name,
        outwards and not is_out,
        f'{said} "out" direction, but its annotation in Python is not a subclass of azure.functions.Out',
    )
    _refuse(
        name,
        is_out and not outwards,
        f'{said} "in" direction in the binding decorator, but its annotation is azure.functions.Out in Python',
    )
    if inner in (str, bytes):
        return  # the generic converter takes both
    converter = _converter(binding.type, inner)
    check = getattr(converter, "check_output_type_annotation" if is_out else "check_input_type_annotation", None)
    fits = check is not None and not (generic and not is_out) and check(inner)
    shown = getattr(inner, "__name__", repr(inner))
    _refuse(
        name,
        not fits,
        f'binding type "{parameter!r}" and dataType "{binding.type}" in the binding decorator do not match the corresponding '
        f"function parameter's Python type annotation {shown}",
    )


def _check_return(name: str, annotation: Any, binding_type: str) -> None:
    is_out = getattr(typing.get_origin(annotation), "__name__", "") == "Out"
    _refuse(name, is_out, "return annotation should not be azure.functions.Out")
    _refuse(name, not isinstance(annotation, type), f"has invalid non-type return annotation {annotation!r}")
    check = getattr(registry().get(binding_type), "check_output_type_annotation", None)
    fits = annotation in (str, bytes) if check is None else check(annotation)
    _refuse(name, not fits, f'Python return annotation "{annotation.__name__}" does not match binding type "{binding_type}"')


def _retry(built: Any) -> worker.Retry | None:
    """The policy that @app.retry wrote down, read as the worker reads it."""
    given = built.get_settings_dict("retry_policy")
    if not given:
        return None
    if given["strategy"] == "fixed_delay":
        first = last = _seconds(given["delay_interval"])
    else:
        first = _seconds(given.get("minimum_interval") or "00:00:00")
        last = _seconds(given["maximum_interval"]) if given.get("maximum_interval") else RETRY_DELAY_S_MAX
    count = int(given["max_retry_count"])
    return worker.Retry(strategy=given["strategy"], max_retry_count=count, first_delay_s=first, last_delay_s=last)


def _seconds(text: str) -> int:
    read = time.strptime(text, "%H:%M:%S")
    return 3600 * read.tm_hour + 60 * read.tm_min + read.tm_sec


def _is_typing_generic(annotation: Any) -> bool:
    origin = typing.get_origin(annotation)
    return isinstance(origin, type) and origin not in (tuple, UnionType)


def _converter(binding_type: str, annotation: Any) -> Any:
    return (deferred_registry() if _is_sdk_type(annotation) else registry()).get(binding_type)


def _is_sdk_type(annotation: Any) -> bool:
    sdk_types = deferred_registry()
    return annotation is not None and sdk_types is not None and bool(sdk_types.check_supported_type(annotation))


class _TypeInfo(typing.NamedTuple):
    """What the binding extension asks of the worker's ParamTypeInfo."""

    pytype: Any


def _raw_bindings(built: Any, hints: Mapping[str, Any]) -> Sequence[dict[str, Any]]:
    if any(_is_sdk_type(hints.get(binding.name)) for binding in built.get_bindings()):
        types = {binding.name: _TypeInfo(hints.get(binding.name)) for binding in built.get_bindings()}
        texts, _ = deferred_registry().get_raw_bindings(built, types)
    else:
        texts = built.get_raw_bindings()
    return [json.loads(text) for text in texts]


def _refuse(name: str, wrong: object, why: str) -> None:
    if wrong:
        raise worker.IndexingFailed(f"cannot load the {name} function: {why}")
