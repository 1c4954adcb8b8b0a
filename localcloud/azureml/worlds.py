"""
What Azure offers at one time, as data: base models with their tags, the component's version, the sizes that a region accepts.

Two worlds have names. `today` is the public registry in the summer of 2026: Phi-3 is archived, its defaults name keys that the
component does not declare, allow-lists are in the system metadata, V100 sizes are gone. `seed` is the time of Microsoft's tutorial on
chat fine-tuning: the defaults name declared keys only, allow-lists are tags, V100 sizes are accepted. A JSON file changes any of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args

from localcloud.azureml.sizes import KNOWN, SIZES, Size

Json = dict[str, Any]
Place = Literal["tags", "properties", "system_metadata"]
PLACES: tuple[Place, ...] = get_args(Place)
Spelling = Literal["python", "json"]


class WrongWorld(Exception):
    """A world cannot exist; the text names the field, the value seen and what is wanted."""


@dataclass(frozen=True, kw_only=True)
class BaseModel:
    """One version of a base model in the registry."""

    defaults: Mapping[str, str | int]  # the tag model_specific_defaults
    finetune: tuple[str, ...]  # sizes for fine-tuning, as the registry spells them
    inference: tuple[str, ...]  # sizes for serving
    allow_lists: tuple[Place, ...]  # where the two lists stand; (): nowhere
    finetune_minimum: str = "24|1|220|64"  # cores|GPUs|memory|disk, as the registry encodes it
    inference_minimum: str = "24|1|220|64"
    defaults_spelling: Spelling = "python"  # how the defaults are written into their tag; JSON breaks ast.literal_eval on true and null
    archived: bool = False  # is shown as archived; whether Azure still lets a job use it is not known, here it may
    retired: bool = False  # a job that names it is refused
    dates: Mapping[str, str] = field(default_factory=dict)  # more tags: the dates on which it is deprecated and retired
    license: str = "mit"


@dataclass(frozen=True, kw_only=True)
class World:
    """One time of Azure."""

    models: Mapping[tuple[str, str], BaseModel]  # by name and version
    component_version: str
    sizes: tuple[Size, ...]  # what the region lists and accepts
    cluster_size: str  # of the cluster that is there from the start
    archived_is_listed: bool = True  # the registry lists archived versions when no view is asked for; not known of Azure
    any_last_role: bool = False  # a served model also continues a conversation that ends with the assistant

    def size(self, name: str) -> Size | None:
        """Return the size of that name in any case; None: this region does not have it."""
        return next((one for one in self.sizes if one.name.lower() == name.lower()), None)


_A100 = tuple(f"Standard_{size}" for size in ("NC24ads_A100_v4", "NC48ads_A100_v4", "NC96ads_A100_v4", "ND96asr_v4", "ND96amsr_A100_v4"))
_H100 = tuple(f"Standard_{size}" for size in ("NC40ads_H100_v5", "NC80adis_H100_v5", "ND96isr_H100_v5"))
_V100 = tuple(f"Standard_{size}" for size in ("NC6s_v3", "NC12s_v3", "NC24s_v3", "ND40rs_v2"))
# Numbers such as 5e-6 are text in the defaults, because YAML 1.1 reads them so (azureml-assets, 2026-07).
_DEFAULTS: Mapping[str, str | int] = {
    "apply_deepspeed": "true",
    "apply_lora": "true",
    "apply_ort": "false",
    "precision": 16,
    "ignore_mismatched_sizes": "false",
    "num_train_epochs": 1,
    "per_device_train_batch_size": 1,
    "per_device_eval_batch_size": 1,
    "gradient_accumulation_steps": 1,
    "learning_rate": "5e-6",
    "lr_scheduler_type": "cosine",
    "logging_strategy": "steps",
    "logging_steps": 10,
    "save_total_limit": 1,
}
_PHI_3, _PHI_4 = ("Phi-3-mini-4k-instruct", "15"), ("Phi-4", "8")
_PHI_3_OF_THE_SEED = BaseModel(
    defaults={**_DEFAULTS, "deepspeed_stage": 2},
    finetune=(*_A100, "Standard_ND40rs_v2"),  # the last is a guess: the tutorial takes it "from the above list", version 15 had it not
    inference=_A100 + _V100,
    inference_minimum="6|1|112|64",
    allow_lists=("tags", "properties"),
)
_PHI_3_TODAY = replace(
    _PHI_3_OF_THE_SEED,
    defaults={**_DEFAULTS, "deepspeed_stage": 2, "learning_rate_min": "5e-7", "learning_rate_max": "5e-5"},
    finetune=_A100,
    allow_lists=("system_metadata",),
    archived=True,
    dates={
        "InferenceDeprecationDate": "2025-06-30",
        "InferenceRetirementDate": "2025-08-30",
        "FinetuneDeprecationDate": "2025-06-30",
        "FinetuneRetirementDate": "2025-08-30",
    },
)
_PHI_4_TODAY = BaseModel(
    defaults={**_DEFAULTS, "deepspeed_stage": 3}, finetune=_A100 + _H100, inference=_A100 + _H100, allow_lists=("system_metadata",)
)

TODAY = World(
    models={_PHI_3: _PHI_3_TODAY, _PHI_4: _PHI_4_TODAY},
    component_version="0.0.82",
    sizes=tuple(size for size in SIZES if not size.retired),
    cluster_size="Standard_NC24ads_A100_v4",
)
SEED = World(
    models={_PHI_3: _PHI_3_OF_THE_SEED},  # the version is a guess: the tutorial asks for the latest
    component_version="0.0.67",  # a guess: before 0.0.68, which evaluated for a while; its inputs are taken to be those of 0.0.82
    sizes=SIZES,
    cluster_size="Standard_NC24ads_A100_v4",
    any_last_role=True,  # the tutorial sends a whole conversation of the test split
)
NAMED = {"today": TODAY, "seed": SEED}


def load(given: str) -> World:
    """
    Return the world of that name, or the one in that JSON file, which changes a named one.

    File: `{"world": "today", "component_version": …, "sizes": […], "models": {"Phi-4:8": {…} or null}}` with the fields of World
    and BaseModel. A model that the named world has keeps what the file leaves out; null takes it away.
    """
    if given in NAMED:
        return NAMED[given]
    path = Path(given)
    if not path.is_file():
        raise WrongWorld(f"There is no world '{given}': write {' or '.join(NAMED)}, or the path of a JSON file.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise WrongWorld(f"The world in {path.name} is not JSON ({error}).") from None
    return changed(content)


def changed(content: object) -> World:
    """Return the named world that `content` builds on (today, if it names none), with its changes."""
    if not isinstance(content, dict):
        raise WrongWorld(f"A world is a JSON object, and this is a {type(content).__name__}.")
    basis = content.get("world", "today")
    if basis not in NAMED:
        raise WrongWorld(f"A world builds on {' or '.join(NAMED)}, and this one on {basis!r}.")
    world = NAMED[basis]
    given = {name: value for name, value in content.items() if name != "world"}
    _known(given, World, "A world")
    values: Json = {name: _typed(f"A world: {name}", getattr(world, name), value) for name, value in given.items() if name not in _PARSED}
    if "sizes" in given:
        values["sizes"] = tuple(_size(name) for name in _texts("A world: sizes", given["sizes"]))
    if "models" in given:
        values["models"] = _models(world, given["models"])
    made = replace(world, **values)
    if made.size(made.cluster_size) is None:
        raise WrongWorld(f"A world: cluster_size is {made.cluster_size}, which its sizes lack.")
    return made


_PARSED = frozenset({"sizes", "models"})


def _models(world: World, given: object) -> dict[tuple[str, str], BaseModel]:
    if not isinstance(given, dict):
        raise WrongWorld('A world: models is an object from "name:version" to the fields of a base model.')
    models = dict(world.models)
    for label, changes in given.items():
        name, colon, version = label.rpartition(":")
        if not colon or not name or not version:
            raise WrongWorld(f'A world: the model {label!r} has no version; write "name:version".')
        if changes is None:
            models.pop((name, version), None)
        else:
            models[name, version] = _model(label, models.get((name, version), _PHI_4_TODAY), changes)
    return models


def _model(label: str, before: BaseModel, changes: object) -> BaseModel:
    what = f"The model {label}"
    if not isinstance(changes, dict):
        raise WrongWorld(f"{what} is {changes!r}; write an object of its fields, or null to take it away.")
    _known(changes, BaseModel, what)
    made = replace(before, **{name: _typed(f"{what}: {name}", getattr(before, name), value) for name, value in changes.items()})
    for place in made.allow_lists:
        if place not in PLACES:
            raise WrongWorld(f"{what}: allow_lists are in {', '.join(PLACES)} or [] for nowhere, and not in {place!r}.")
    if made.defaults_spelling not in get_args(Spelling):
        raise WrongWorld(f"{what}: defaults_spelling is python or json, and not {made.defaults_spelling!r}.")
    return made


def _known(given: Mapping[str, Any], kind: type[World | BaseModel], what: str) -> None:
    names = [one.name for one in fields(kind)]
    unknown = sorted(set(given) - set(names))
    if unknown:
        raise WrongWorld(f"{what} has no field {', '.join(unknown)}; it has {', '.join(names)}.")


def _typed(what: str, before: object, value: object) -> Any:
    """Return `value` in the type of what it replaces; JSON knows no tuples."""
    if isinstance(before, tuple):
        return _texts(what, value)
    wanted = dict if isinstance(before, Mapping) else type(before)
    if type(value) is not wanted:
        raise WrongWorld(f"{what} must be {_WORDS[wanted]}, and is {value!r}.")
    return value


_WORDS: Mapping[type, str] = {bool: "true or false", str: "text", dict: "an object"}


def _texts(what: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise WrongWorld(f"{what} must be a list of texts, and is {value!r}.")
    return tuple(value)


def _size(name: str) -> Size:
    if name.lower() not in KNOWN:
        raise WrongWorld(f"A world: the size {name} is not known; known are {', '.join(size.name for size in SIZES)}.")
    return KNOWN[name.lower()]
