"""A tuning's hands: how its world is read and its steps are done. What to do stands in `shared.domain.tuning`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from shared import errors
from shared.domain import members, names, preflight, recipe, service, training, tuning
from shared.domain.conversation import RULES_VERSION
from shared.domain.policy import Policy
from shared.domain.record import Key, Kind
from shared.domain.upload import folder_of, is_set
from shared.place import FOLDER_KEY, Place
from shared.reconcile.turn import Desk, Loop, Outcome, opened

if TYPE_CHECKING:
    from shared import prepare

SAMPLES_FILE = "samples.json"  # of prepare.SAMPLES, which is imported where it is needed
FIX_AND_UPLOAD = "Correct the file and upload it again; nothing was spent."
UPDATE_ATTEMPTS_MAX = 5  # compare-and-set rounds against other tunings of the same service; more is a later turn's

T = TypeVar("T", bound=msgspec.Struct)


class TuningLife:
    """Reads and acts for tunings."""

    record_type = tuning.Tuning

    def observe(self, record: tuning.Tuning, loop: Loop) -> tuning.World:
        current = True
        if record.prepared is None:
            now_there = loop.ports.datasets.head(record.upload.path)
            current = now_there is not None and now_there.etag == record.upload.etag
        key = Key(kind=Kind.SERVICE, id=names.service_id(record.owner, record.service))
        offered = read(loop, key, service.Service)
        joined = read(loop, Key(kind=Kind.TRAINING, id=record.training), training.Training) if record.training else None
        later = service.later_offered(offered, record.upload.order)
        return tuning.World(upload_is_current=current, later_offered=later, training=joined)

    def decide(self, record: tuning.Tuning, world: tuning.World, policy: Policy, now: datetime) -> tuning.Step:
        return tuning.decide(record, world, policy, now)

    def act(self, step: tuning.Step, desk: Desk[tuning.Tuning]) -> Outcome[tuning.Tuning]:
        match step:
            case tuning.Prepare():
                return _prepare(desk)
            case tuning.Plan():
                return _plan(desk)
            case tuning.Join():
                return _join(desk, step.training)
            case tuning.Offer():
                return _offer(desk)
            case tuning.Finish():
                return _ended(desk, step.stage, step.reason, step.next_action)
            case _:
                raise AssertionError(f"{step} is no effect")

    def stop(self, desk: Desk[tuning.Tuning], error: errors.Stop) -> Outcome[tuning.Tuning]:
        return _ended(desk, tuning.Stage.STOPPED, str(error), error.next_action)

    def attempts_max(self, step: tuning.Step, policy: Policy) -> int | None:
        if isinstance(step, tuning.Finish):
            return None
        return policy.prepare_attempts_max if isinstance(step, tuning.Prepare) else policy.step_attempts_max


def read(loop: Loop, key: Key, record_type: type[T]) -> T | None:
    stored = loop.ports.ledger.read(key)
    return msgspec.convert(stored.body, record_type) if stored else None


def _prepare(desk: Desk[tuning.Tuning]) -> Outcome[tuning.Tuning]:
    """Stream the upload through the rules of a row into published files, or into a report of what is wrong with it."""
    from shared import prepare
    from shared.reconcile import sets

    record, datasets = desk.record, desk.loop.ports.datasets
    # The salt is the installation's and not the service's: the same bytes elsewhere must join the same training.
    options = msgspec.structs.replace(desk.loop.options, salt=record.owner)
    try:
        sources = sets.sources(datasets, record.upload, now=desk.now)
        folder, place = _place(desk, options, *(source.etag for source in sources))
        with tempfile.TemporaryDirectory(dir=desk.loop.workdir, prefix=f"{record.id}-") as workdir:
            result = prepare.prepare(sources, place, options=options, workdir=Path(workdir))
    except sets.NotAllThere as missing:
        waiting = desk.change(reason=str(missing))
        look_at = desk.now + desk.loop.policy.look_every
        return Outcome(record=waiting, what="waits", why=waiting.reason, look_at=look_at, quiet=waiting.reason == record.reason)
    except members.WrongSet as wrong:
        folder, place = _place(desk, options)
        result = prepare.refused(wrong.what, wrong.remedy, place, options=options)
    except errors.UploadChanged as changed:
        return _ended(desk, tuning.Stage.SUPERSEDED, str(changed), sets.ANOTHER_VERSION if is_set(record.upload.path) else "")
    except prepare.StreamEndedEarly as early:
        raise errors.TryLater(str(early)) from early
    report = f"{folder}/{prepare.REPORT}"
    if isinstance(result, prepare.Refused):
        refused = _ended(desk, tuning.Stage.REJECTED, result.sentence, FIX_AND_UPLOAD)
        return Outcome(record=msgspec.structs.replace(refused.record, report=report), what=refused.what, why=refused.why)
    return _prepared(desk, result, report)


def _place(desk: Desk[tuning.Tuning], options: prepare.Options, *versions: str) -> tuple[str, Place]:
    """Return where the outputs go. `versions`: ETags of what is read, as a set may name files without one."""
    record = desk.record
    folder = names.prepared_folder(record.owner, record.service, record.id, options.sha256, str(RULES_VERSION), *versions)
    return folder, desk.loop.ports.datasets.place(folder, names.manifests(record.owner, record.service))


def _prepared(desk: Desk[tuning.Tuning], result: prepare.Prepared, report: str) -> Outcome[tuning.Tuning]:
    folder = result.manifest[FOLDER_KEY]  # of an earlier upload, when that one had the same content
    prepared = tuning.Prepared(
        folder=folder,
        dataset_sha256=result.content_sha256,
        uris={side: desk.loop.ports.datasets.uri(folder, file.name) for side, file in result.files.items()},
        rows={side: file.rows for side, file in result.files.items()},
    )
    return Outcome(
        record=desk.change(stage=tuning.Stage.PREPARED, prepared=prepared, report=report, reason=""),
        what="prepared",
        why=result.report["sentence"],
    )


def _plan(desk: Desk[tuning.Tuning]) -> Outcome[tuning.Tuning]:
    record, loop = desk.record, desk.loop
    catalogue = loop.ports.trainings.catalogue()
    faults = preflight.faults(catalogue, serving_instance_type=loop.serving_instance_type)
    if faults:
        raise errors.Stop(" ".join(faults), next_action="Correct the app's settings, then upload the file again.")
    try:
        wishes = loop.ports.datasets.wishes(folder_of(record.upload.path))
        plan = recipe.resolve(catalogue, wishes=wishes, service=names.slug(record.service), experiment_name=loop.experiment_name)
    except errors.Rejected as refused:
        return _ended(desk, tuning.Stage.REJECTED, str(refused), FIX_AND_UPLOAD)
    why = " ".join((f"{plan.display_name}.", *plan.notes))
    return Outcome(record=desk.change(stage=tuning.Stage.PLANNED, recipe=plan, reason=""), what="planned", why=why)


def _join(desk: Desk[tuning.Tuning], training_id: str) -> Outcome[tuning.Tuning]:
    record, loop = desk.record, desk.loop
    assert record.prepared is not None
    assert record.recipe is not None
    key = Key(kind=Kind.TRAINING, id=training_id)
    fresh = training.opened(
        training_id,
        owner=record.owner,
        tuning=record.id,
        service=record.service,
        dataset_sha256=record.prepared.dataset_sha256,
        uris=record.prepared.uris,
        recipe=record.recipe,
        now=desk.now,
    )
    who = f"tuning {record.id}"
    created = opened(loop, fresh, who=who, why="The first upload of these bytes with this recipe.")
    if not created:
        update(loop, key, training.Training, lambda found: training.joined(found, record.id))
    joined = desk.change(stage=tuning.Stage.TRAINING, training=training_id, reason="")
    return Outcome(record=joined, what="joined_training", why=f"Training {training_id}, {'new' if created else 'found'}.", ring=(key,))


def _offer(desk: Desk[tuning.Tuning]) -> Outcome[tuning.Tuning]:
    """Write the candidate into the service's record first, then end as offered; a crash in between offers it once."""
    record, loop = desk.record, desk.loop
    assert record.training is not None
    assert record.prepared is not None
    good = read(loop, Key(kind=Kind.TRAINING, id=record.training), training.Training)
    assert good is not None
    candidate = service.Candidate(
        tuning=record.id,
        uploaded_at=record.upload.last_modified,
        training=good.id,
        model=good.model,
        model_version=good.id,
        sample=f"{record.prepared.folder}/{SAMPLES_FILE}",
    )
    fresh = service.offered(service.opened(record.service, owner=record.owner, now=desk.now), candidate)
    if not opened(loop, fresh, who=f"tuning {record.id}", why=f"The first upload to {record.service}."):
        loop.ports.ledger.activate(fresh.key)
        update(loop, fresh.key, service.Service, lambda found: service.offered(found, candidate))
    offered = desk.change(stage=tuning.Stage.OFFERED, reason="")
    return Outcome(record=offered, what="offered", why=f"Training {good.id} is a candidate of {record.service}.", ring=(fresh.key,))


def update(loop: Loop, key: Key, record_type: type[T], change: Callable[[T], T]) -> None:
    """Change another record by compare-and-set; raise TryLater when others keep winning."""
    for _ in range(UPDATE_ATTEMPTS_MAX):
        stored = loop.ports.ledger.read(key)
        if stored is None:
            raise errors.TryLater(f"{key} was there and is gone.")
        found = msgspec.convert(stored.body, record_type)
        changed = change(found)
        if changed == found:
            return
        try:
            loop.ports.ledger.replace(key, {**stored.body, **msgspec.to_builtins(changed)}, stored.version)
        except errors.LostRace:
            continue
        loop.ports.ledger.activate(key)
        return
    raise errors.TryLater(f"{key} is being written by others all the time.")


def _ended(desk: Desk[tuning.Tuning], stage: tuning.Stage, reason: str, next_action: str) -> Outcome[tuning.Tuning]:
    return Outcome(record=desk.change(stage=stage, reason=reason, next_action=next_action), what=stage.value, why=reason)
