"""
Who may call what: the keys of the host, made once and kept in a file that only its owner can read.

One master key opens everything. Host keys and a function's own keys open HTTP functions of level `function`; a system key opens the
webhook of one extension and exists only once the app has a function of that extension, as in the real host. No key is ever logged.
"""

from __future__ import annotations

import enum
import hmac
from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from localcloud import processes
from localcloud.functions import settings

FILE = "host-keys.json"  # in the data folder
MASTER = "_master"
DEFAULT = "default"  # the name of the first key of the host and of each function
KEY_BYTES = 40  # 320 bits, as the real host draws
SYSTEM_KEYS = {"eventGridTrigger": "eventgrid_extension", "blobTrigger": "blobs_extension"}  # by the trigger that needs it


class Level(enum.Enum):
    """What a caller must show. The names are those of a binding's authLevel; SYSTEM is for webhooks."""

    ANONYMOUS = "anonymous"
    FUNCTION = "function"
    SYSTEM = "system"
    ADMIN = "admin"


@dataclass(kw_only=True)
class Keys:
    """All keys, by name."""

    master: str
    host: dict[str, str] = field(default_factory=dict)
    system: dict[str, str] = field(default_factory=dict)
    functions: dict[str, dict[str, str]] = field(default_factory=dict)  # by the name of the function

    def open(self, shown: str, level: Level, name: str = "") -> bool:
        """True if the key that is shown opens this level; `name` is a function's, or a system key's."""
        if level is Level.ANONYMOUS:
            return True
        fitting = [self.master]
        if level is Level.FUNCTION:
            fitting += [*self.host.values(), *self.functions.get(name, {}).values()]
        elif level is Level.SYSTEM:
            fitting += [self.system[name]] if name in self.system else []
        return any(hmac.compare_digest(shown.encode(), one.encode()) for one in fitting)


def kept(file: Path, functions: Mapping[str, Mapping[str, Any]], draw: Callable[[int], str]) -> Keys:
    """
    Read the file, add the keys that these functions (name -> trigger) lack, and keep the file where it changed.

    Raise WrongSettings for a file that holds something else, OSError for a folder that cannot be written.
    """
    found = _read(file)
    keys = deepcopy(found) or Keys(master=draw(KEY_BYTES))
    for name in _missing([DEFAULT], keys.host):
        keys.host[name] = draw(KEY_BYTES)
    for name in _missing(sorted({SYSTEM_KEYS[one["type"]] for one in functions.values() if one["type"] in SYSTEM_KEYS}), keys.system):
        keys.system[name] = draw(KEY_BYTES)
    for name in _missing([name for name, trigger in functions.items() if trigger["type"] == "httpTrigger"], keys.functions):
        keys.functions[name] = {DEFAULT: draw(KEY_BYTES)}
    if keys != found:
        processes.write_json(file, vars(keys), mode=0o600)
    return keys


def level_of(trigger: Mapping[str, Any]) -> Level:
    """The authLevel of an HTTP trigger; without one it is function. A level that is not for keys needs the master key."""
    given = str(trigger.get("authLevel") or Level.FUNCTION.value).lower()
    return next((level for level in (Level.ANONYMOUS, Level.FUNCTION) if level.value == given), Level.ADMIN)


def _missing(names: Iterable[str], present: Mapping[str, Any]) -> list[str]:
    return [name for name in names if name not in present]


def _read(file: Path) -> Keys | None:
    """What the file holds; None: there is none."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Keys)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as error:
        raise settings.WrongSettings(f"The keys in {file} cannot be read ({error}); delete the file, and new ones are made.") from None
