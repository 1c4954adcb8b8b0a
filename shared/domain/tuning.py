"""
A tuning is one upload on its way to its service: prepare, freeze the recipe, join its training, offer what came out.

`decide` reads top to bottom as that life. It never learns which event woke it. A tuning spends nothing itself: the one
paid thing is its training, which it shares with every tuning of the same bytes and recipe.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

import msgspec

from shared.domain import names
from shared.domain.policy import Policy, Rest, Wait
from shared.domain.recipe import Recipe
from shared.domain.record import Header, Kind
from shared.domain.structs import learn
from shared.domain.training import Stage as TrainingStage
from shared.domain.training import Training
from shared.domain.upload import Upload, service_of


class Stage(StrEnum):
    SEEN = "seen"
    PREPARED = "prepared"
    PLANNED = "planned"
    TRAINING = "training"
    OFFERED = "offered"
    REJECTED = "rejected"
    SUPERSEDED = "superseded"
    STOPPED = "stopped"


ENDED = frozenset({Stage.OFFERED, Stage.REJECTED, Stage.SUPERSEDED, Stage.STOPPED})


class Prepared(msgspec.Struct, frozen=True, kw_only=True):
    """A published, split dataset; the manifest was written last, so it is whole."""

    folder: str  # in the prepared container
    dataset_sha256: str  # over the three files
    uris: dict[str, str]  # split -> azureml:// URI that the job reads
    rows: dict[str, int]  # split -> rows


class Tuning(Header, frozen=True, kw_only=True):
    """The record of one upload."""

    upload: Upload
    prepared: Prepared | None = None
    recipe: Recipe | None = None
    training: str | None = None  # id; None: not joined yet
    report: str | None = None  # path in the prepared container; None: nothing was refused

    @property
    def service(self) -> str:
        return service_of(self.upload.path)


learn(Tuning)


class World(msgspec.Struct, frozen=True, kw_only=True):
    """What storage and the ledger show, read at one moment."""

    upload_is_current: bool  # the blob still is the version that this tuning stands for
    later_offered: str | None = None  # tuning of a later upload of the same service that was offered; None: none
    training: Training | None = None


class Prepare(msgspec.Struct, frozen=True):
    """Read the upload, check and split it, publish the files."""


class Plan(msgspec.Struct, frozen=True):
    """Resolve component, base model, suggestions and wishes once, and freeze them."""


class Join(msgspec.Struct, frozen=True, kw_only=True):
    """Open the training, or find it and point at it."""

    training: str


class Offer(msgspec.Struct, frozen=True):
    """Add the good training to the service's candidates."""


class Finish(msgspec.Struct, frozen=True, kw_only=True):
    """End here, with a reason and what a person can do."""

    stage: Stage
    reason: str
    next_action: str = ""


Step = Prepare | Plan | Join | Offer | Finish | Wait | Rest


def opened(upload: Upload, *, owner: str, now: datetime) -> Tuning:
    return Tuning(kind=Kind.TUNING, id=upload.id, owner=owner, stage=Stage.SEEN, created_at=now, upload=upload)


def decide(record: Tuning, world: World, policy: Policy, now: datetime) -> Step:
    """Return the one next step of this tuning."""
    if record.stage in ENDED:
        return Rest()
    if world.later_offered:
        return Finish(stage=Stage.SUPERSEDED, reason=f"A later upload of this service was offered first (tuning {world.later_offered}).")
    if record.prepared is None:
        if not world.upload_is_current:
            return Finish(stage=Stage.SUPERSEDED, reason="The blob was replaced or deleted before it was read.")
        return Prepare()
    if record.recipe is None:
        return Plan()
    if record.training is None or world.training is None:
        return Join(training=names.training_id(record.owner, record.prepared.dataset_sha256, record.recipe.frozen))
    if world.training.stage == TrainingStage.GOOD:
        return Offer()
    if world.training.stage == TrainingStage.STOPPED:
        return Finish(stage=Stage.STOPPED, reason=world.training.reason, next_action=world.training.next_action)
    return Wait(until=now + policy.tick, why=f"Its training {record.training} is at work.")
