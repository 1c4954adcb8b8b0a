"""
Which adapter stands behind which port, built at the first call and kept for the life of the process.

Nothing here runs at import, because the doors' module is indexed within seconds and must not wait for an SDK.
"""

from __future__ import annotations

import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shared.reconcile.turn import Lives, Loop
    from shared.settings import Settings


@cache
def settings() -> Settings:
    """Read the settings of this process; raise WrongSettings that names every fault."""
    from shared import settings as app_settings
    from shared import telemetry

    telemetry.set_up()
    return app_settings.read(os.environ)


@cache
def loop() -> Loop:
    """Return the loop over Azure's adapters, or over the local cloud's addresses: the code is the same."""
    from datetime import UTC, datetime

    from shared import settings as app_settings
    from shared.cloud import (
        announcer,
        clients,
        datasets,
        endpoints,
        jobs,
        ledger,
        metrics,
        preparations,
        storage,
        trainings,
        turns,
        undelivered,
    )
    from shared.ports import Ports
    from shared.reconcile.turn import Loop

    chosen, credential = settings(), clients.credential()
    datasets_account = app_settings.connection(os.environ, "DATASETS")
    uploads = storage.Account(datasets_account, credential, local=chosen.TUNELOOP_LOCAL)
    workspace_jobs = jobs.Jobs(chosen, credential)
    workspace_endpoints = endpoints.AzureMlEndpoints(chosen, credential)
    host = storage.Account(app_settings.connection(os.environ, "AzureWebJobsStorage"), credential, local=chosen.TUNELOOP_LOCAL)
    poison_queues = [one.queue(undelivered.BLOB_TRIGGER_POISON) for one in ([uploads, host] if datasets_account.has_queues else [host])]
    dead_letters = uploads.container(chosen.DEAD_LETTER_CONTAINER) if chosen.DEAD_LETTER_CONTAINER else None
    return Loop(
        ports=Ports(
            ledger=ledger.BlobLedger(uploads.container(chosen.LEDGER_CONTAINER)),
            datasets=datasets.BlobDatasets(
                uploads.container(chosen.DATASETS_CONTAINER),
                uploads.container(chosen.PREPARED_CONTAINER),
                datastore=chosen.PREPARED_DATASTORE,
                uploads_datastore=chosen.DATASETS_DATASTORE,
            ),
            preparations=preparations.AzureMlPreparations(chosen, workspace_jobs),
            trainings=trainings.AzureMlTrainings(chosen, credential, workspace_jobs),
            endpoints=workspace_endpoints,
            inventory=workspace_endpoints,
            undelivered=undelivered.StorageUndelivered(poison_queues, dead_letters),
            metrics=metrics.MonitorMetrics(chosen, credential),
            turns=turns.QueueTurns(host.queue(chosen.TURNS_QUEUE)),
            announcer=announcer.announcer(
                chosen.ANNOUNCE_TOPIC_ENDPOINT, credential, source=chosen.workspace_id, local=chosen.TUNELOOP_LOCAL
            ),
        ),
        policy=chosen.policy(function_timeout=app_settings.function_timeout()),
        clock=lambda: datetime.now(UTC),
        workdir=Path(tempfile.gettempdir()),
        options=chosen.options(),
        serving_instance_type=chosen.SERVING_INSTANCE_TYPE,
        experiment_name=chosen.EXPERIMENT_NAME,
        paused=lambda: app_settings.paused(os.environ),
    )


@cache
def lives() -> Lives:
    from shared.domain.record import Kind
    from shared.reconcile.services import ServiceLife
    from shared.reconcile.trainings import TrainingLife
    from shared.reconcile.tunings import TuningLife
    from shared.reconcile.turn import Lives

    by_kind: dict[Kind, Any] = {Kind.TUNING: TuningLife(), Kind.TRAINING: TrainingLife(), Kind.SERVICE: ServiceLife()}
    return Lives(by_kind=by_kind)
