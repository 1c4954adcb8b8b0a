"""
How an upload becomes a published dataset: in this process, or by an Azure ML job when it is too large for a function.

The job runs the same modules over the same versions with the same options, and writes beside its files what it came to. It publishes
nothing: that is done here, by the same manifest through the same place. A job reads paths and not versions, so its result is taken only
if each file still has the version of the order: an ETag never comes back, so it had it all the time.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from shared import errors
from shared.domain import conversation, jobs, members, names, tuning
from shared.domain.conversation import RULES_VERSION, Complaint
from shared.domain.slots import OF_PREPARATIONS
from shared.domain.upload import is_set
from shared.place import CONTENT_KEY, FOLDER_KEY, Place
from shared.reconcile import slots
from shared.reconcile.turn import Desk, Outcome

if TYPE_CHECKING:
    from shared import prepare

FIX_AND_UPLOAD = "Correct the file and upload it again; nothing was spent."
FIX_AFTER_A_JOB = "Correct the file and upload it again; nothing was spent but the job that read it."

TuningDesk = Desk[tuning.Tuning]
TuningOutcome = Outcome[tuning.Tuning]


def prepared_here(desk: TuningDesk) -> TuningOutcome:
    """Stream the upload through the rules of a row into published files, or into a report of what is wrong with it."""
    from shared import prepare

    options = _options(desk)

    def done(sources: Sequence[prepare.Source], tokenizer: prepare.Source | None) -> TuningOutcome:
        total = sum(source.size for source in sources)
        weight = sum(tuning.weight(source.name, source.size) for source in sources)
        if is_set(desk.record.upload.path) and desk.loop.policy.prepare_here_bytes_max < weight and total <= options.source_bytes_max:
            return number_raised(desk)
        read = [*sources, tokenizer] if tokenizer else sources
        folder, place = _place(desk, options, *(source.etag for source in read))
        with _workdir(desk) as workdir, prepare.read_tokenizer(tokenizer, workdir, options.unpack) as counting:
            result = prepare.prepare(sources, place, options=options, workdir=workdir, tokenizer=counting)
        report = f"{folder}/{prepare.REPORT}"
        if isinstance(result, prepare.Refused):
            return _rejected(desk, result.sentence, report)
        return _prepared(desk, result.files, result.manifest, result.report["sentence"], report)

    return _with_sources(desk, options, done)


def number_raised(desk: TuningDesk) -> TuningOutcome:
    options, record = _options_of_a_job(desk), desk.record
    if record.upload.size > options.source_bytes_max and not is_set(record.upload.path):
        return prepared_here(desk)  # which rejects it and reads nothing
    _free_the_slot(desk)
    number = record.preparation.number + 1 if record.preparation else 1
    folder = names.prepared_by_a_job(_place(desk, options)[0], number)
    asked = tuning.Preparation(number=number, folder=folder)
    raised = desk.change(stage=tuning.Stage.PREPARING, preparation=asked, reason="")
    return Outcome(record=raised, what="preparation_numbered", why=raised.job)


def submitted(desk: TuningDesk, job: str) -> TuningOutcome:
    """
    Write the order where the job will read it, then ask for the job. The order of a number is written once: a job that was accepted and
    does not show yet may have read it.
    """
    from shared import prepare
    from shared.prepare import ordered

    options, asked, loop = _options_of_a_job(desk), desk.record.preparation, desk.loop
    assert asked is not None

    def done(sources: Sequence[prepare.Source], tokenizer: prepare.Source | None) -> TuningOutcome:
        datasets = loop.ports.datasets
        order, path = ordered.order(sources, options, tokenizer), f"{asked.folder}/{ordered.ORDER}"
        if written := datasets.read(path):
            if ordered.read_order(written).files != order.files:
                raise errors.UploadChanged("The files were replaced after the job was asked for.")
            order = ordered.read_order(written)
        else:
            with _workdir(desk) as workdir, prepare.read_tokenizer(tokenizer, workdir, options.unpack):
                pass  # it can be read, which is known before the job is paid for
            datasets.write(path, msgspec.to_builtins(order))
        loop.ports.preparations.submit(
            job,
            files=[datasets.upload_uri(file.name) for file in order.read],
            order=datasets.uri(asked.folder, ordered.ORDER),
            out=datasets.uri(asked.folder, ""),
            deadline=loop.policy.prepare_deadline,
            display_name=f"Prepare {names.slug(desk.record.service)}",
            tags=desk.record.tags,
        )
        record = desk.change(preparation=msgspec.structs.replace(asked, submitted_at=asked.submitted_at or desk.now), reason="")
        return Outcome(record=record, what="preparation_submitted", why=job, look_at=desk.now + loop.policy.look_every)

    return _with_sources(desk, options, done)


def seen_submitted(desk: TuningDesk, job: str) -> TuningOutcome:
    assert desk.record.preparation is not None
    record = desk.change(preparation=msgspec.structs.replace(desk.record.preparation, submitted_at=desk.now), reason="")
    return Outcome(record=record, what="preparation_submitted", why=job, look_at=desk.now + desk.loop.policy.look_every)


def cancelled(desk: TuningDesk, step: jobs.Cancel) -> TuningOutcome:
    """Ask for the job's end, after it was written down. Told at the first request, and then while people have to end it."""
    first, asked = desk.record, desk.record.preparation
    assert asked is not None
    if asked.left_at is None or not asked.cancelled_because:
        asked = msgspec.structs.replace(asked, cancelled_because=step.reason, cancelled_at=asked.cancelled_at or desk.now)
        desk.save(desk.change(preparation=asked))
    try:
        desk.loop.ports.preparations.cancel(step.job)
    except errors.Stop as refused:  # it may have ended since it was looked at, and then nobody has to cancel it
        if not step.told:
            raise errors.TryLater(str(refused)) from refused
    assert first.preparation is not None
    told = first.waits_for == step.told if step.told else bool(first.preparation.cancelled_because)
    why = step.told or f"{step.job}: {step.reason}"
    return Outcome(record=desk.record, what="preparation_cancelled", why=why, look_at=step.until, quiet=told, waits_for=step.told)


def settled(desk: TuningDesk, job: str, status: str) -> TuningOutcome:
    assert desk.record.preparation is not None
    _free_the_slot(desk)
    asked = msgspec.structs.replace(desk.record.preparation, left_at=None)
    return Outcome(record=desk.change(preparation=asked), what="left_job_ended", why=jobs.settled(job, status))


def collected(desk: TuningDesk, job: str) -> TuningOutcome:
    """Look at what the job has written, and publish it as if it had been prepared here."""
    from shared import prepare
    from shared.prepare import ordered

    record, datasets, asked = desk.record, desk.loop.ports.datasets, desk.record.preparation
    assert asked is not None

    def done(sources: Sequence[prepare.Source], _tokenizer: prepare.Source | None) -> TuningOutcome:
        try:
            outcome = ordered.read_outcome(datasets.read(f"{asked.folder}/{ordered.OUTCOME}"))
            if outcome.read != ordered.order(sources, _options(desk)).files:
                raise errors.UploadChanged("The files were replaced while the job read them.")
            ordered.check(outcome, datasets.files(asked.folder, hashed_bytes_max=ordered.CHECKED_BYTES_MAX))
        except (ValueError, RecursionError) as wrong:
            raise errors.TryLater(f"Job {job} left no outcome that can be used ({wrong}).") from None
        report = f"{asked.folder}/{prepare.REPORT}"
        if outcome.manifest is None:
            return _rejected(desk, outcome.sentence, report)
        place = datasets.place(asked.folder, names.manifests(record.owner, record.service))
        manifest = place.publish(outcome.content_sha256, outcome.manifest)
        return _prepared(desk, outcome.prepared_files, manifest, outcome.sentence, report)

    return _with_sources(desk, _options(desk), done)


def ended(desk: TuningDesk, stage: tuning.Stage, reason: str, next_action: str, *, leaves_job: bool = False) -> TuningOutcome:
    asked = desk.record.preparation
    if not leaves_job:
        _free_the_slot(desk)
    elif asked:
        asked = msgspec.structs.replace(asked, left_at=desk.now)
    record = desk.change(stage=stage, reason=reason, next_action=next_action, preparation=asked)
    return Outcome(record=record, what=stage.value, why=reason)


def _free_the_slot(desk: TuningDesk) -> None:
    """Give back the slot of the job that prepared, or was to prepare, this upload."""
    if desk.record.preparation and desk.record.prepared is None:
        slots.give_back(desk.loop, OF_PREPARATIONS, desk.record.job)


def _with_sources(
    desk: TuningDesk, options: prepare.Options, done: Callable[[Sequence[prepare.Source], prepare.Source | None], TuningOutcome]
) -> TuningOutcome:
    """Do it with what the upload stands for, or end as its state demands."""
    from shared import prepare
    from shared.reconcile import sets

    record = desk.record
    try:
        datasets = desk.loop.ports.datasets
        sources, tokenizer = sets.sources(datasets, record.upload, now=desk.now), sets.tokenizer(datasets, record.upload)
        return done(sources, tokenizer)
    except sets.NotAllThere as missing:
        look_at, told = desk.now + desk.loop.policy.look_every, record.waits_for == str(missing)
        return Outcome(record=record, what="waits", why=str(missing), look_at=look_at, quiet=told, waits_for=str(missing))
    except members.WrongSet as wrong:
        return _refused(desk, options, conversation.about_set(wrong.what, wrong.remedy))
    except prepare.BadTokenizer as wrong:
        return _refused(desk, options, conversation.about_tokenizer(str(wrong)))
    except errors.UploadChanged as changed:
        return ended(desk, tuning.Stage.SUPERSEDED, str(changed), sets.ANOTHER_VERSION if is_set(record.upload.path) else "")
    except prepare.StreamEndedEarly as early:
        raise errors.TryLater(str(early)) from early


@contextlib.contextmanager
def _workdir(desk: TuningDesk) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=desk.loop.workdir, prefix=f"{desk.record.id}-") as folder:
        yield Path(folder)


def _options(desk: TuningDesk) -> prepare.Options:
    # The salt is the installation's and not the service's: the same bytes elsewhere must join the same training.
    return msgspec.structs.replace(desk.loop.options, salt=desk.record.owner)


def _options_of_a_job(desk: TuningDesk) -> prepare.Options:
    """No function ends before it, so what is unpacked may take as long as the job."""
    options = _options(desk)
    unpack = msgspec.structs.replace(options.unpack, seconds_max=int(desk.loop.policy.prepare_deadline.total_seconds()))
    return msgspec.structs.replace(options, unpack=unpack)


def _place(desk: TuningDesk, options: prepare.Options, *versions: str) -> tuple[str, Place]:
    """Return where the outputs go. `versions`: ETags of what is read, as a set may name files without one."""
    from shared import prepare

    record = desk.record
    made_by = (str(RULES_VERSION), prepare.TOOL_VERSION)
    folder = names.prepared_folder(record.owner, record.service, record.id, options.sha256, *made_by, *versions)
    return folder, desk.loop.ports.datasets.place(folder, names.manifests(record.owner, record.service))


def _refused(desk: TuningDesk, options: prepare.Options, complaint: Complaint) -> TuningOutcome:
    from shared import prepare

    folder, place = _place(desk, options)
    refused = prepare.refused(complaint, place, options=options)
    return _rejected(desk, refused.sentence, f"{folder}/{prepare.REPORT}")


def _rejected(desk: TuningDesk, sentence: str, report: str) -> TuningOutcome:
    refused = ended(desk, tuning.Stage.REJECTED, sentence, FIX_AFTER_A_JOB if desk.record.preparation else FIX_AND_UPLOAD)
    return Outcome(record=msgspec.structs.replace(refused.record, report=report), what=refused.what, why=refused.why)


def _prepared(
    desk: TuningDesk,
    files: Mapping[prepare.Side, prepare.PreparedFile],
    manifest: Mapping[str, Any],
    sentence: str,
    report: str,
) -> TuningOutcome:
    folder = manifest[FOLDER_KEY]  # of an earlier upload, when that one had the same content
    prepared = tuning.Prepared(
        folder=folder,
        dataset_sha256=manifest[CONTENT_KEY],
        uris={side: desk.loop.ports.datasets.uri(folder, file.name) for side, file in files.items()},
        rows={side: file.rows for side, file in files.items()},
    )
    _free_the_slot(desk)
    record = desk.change(stage=tuning.Stage.PREPARED, prepared=prepared, report=report, reason="")
    return Outcome(record=record, what="prepared", why=sentence)
