"""
Every setting of the app, typed, in one place, read once, with all faults named at once.

The names are the app settings of the Functions app. Connections follow the Functions convention: a plain value is a
connection string, `<NAME>__blobServiceUri` and `<NAME>__queueServiceUri` mean identity. `python -m shared.settings`
prints the table that stands in docs/settings.md.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from shared.domain.policy import Policy
from shared.errors import WrongSettings

if TYPE_CHECKING:
    from shared.prepare import Options

FUNCTION_TIMEOUT_MARGIN = timedelta(minutes=2)  # connection and read time limits of one call, and clock skew
HOST_JSON = Path(__file__).resolve().parent.parent / "host.json"

Duration = Annotated[timedelta, Field(ge=timedelta(0))]  # "02:00:00", "7 days", "P7D"
PositiveDuration = Annotated[timedelta, Field(gt=timedelta(0))]
Share = Annotated[float, Field(gt=0, lt=1)]
Size = Annotated[int, Field(ge=1)]
ContainerName = Annotated[str, Field(pattern=r"^[a-z0-9](?:-?[a-z0-9]){2,62}$")]
ResourceName = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9._()-]*$")]


class Connection(BaseModel):
    """Where a storage account is: a connection string, or service addresses that are used with identity."""

    connection_string: str | None = None
    blob_service_uri: str | None = None
    queue_service_uri: str | None = None

    @property
    def has_queues(self) -> bool:
        """Tell whether the account has queues: it names them, or (a connection string) names no service in particular."""
        text = (self.connection_string or "").lower()
        return bool(self.queue_service_uri) or "queueendpoint=" in text or (bool(text) and "endpoint=" not in text)


class Settings(BaseModel):
    """The app's settings. A field without a default must be set."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)

    DATASETS_CONTAINER: ContainerName = Field("datasets", description="container that owners upload to")
    PREPARED_CONTAINER: ContainerName = Field("prepared", description="container of split data, reports and smoke answers")
    LEDGER_CONTAINER: ContainerName = Field("ledger", description="container of the records")
    PREPARED_DATASTORE: ResourceName = Field("tuneloop_prepared", description="Azure ML datastore over PREPARED_CONTAINER")
    DATASETS_DATASTORE: ResourceName = Field(
        "tuneloop_datasets", description="Azure ML datastore over DATASETS_CONTAINER; read by jobs that prepare"
    )
    TURNS_QUEUE: ContainerName = Field("turns", description="queue of turns, on the storage account of AzureWebJobsStorage")

    DEAD_LETTER_CONTAINER: ContainerName | Literal[""] = Field(
        "", description="container of Event Grid's dead letters, on the account of DATASETS; each tick counts them. Empty: nobody looks"
    )

    AZURE_SUBSCRIPTION_ID: ResourceName = Field(description="subscription of the Azure ML workspace")
    AZURE_RESOURCE_GROUP: ResourceName = Field(description="resource group of the Azure ML workspace")
    AZUREML_WORKSPACE: ResourceName = Field(description="Azure ML workspace")
    AZUREML_REGISTRY: ResourceName = Field("azureml", description="registry of the component and the base model")

    FINETUNE_COMPONENT: ResourceName = Field("chat_completion_pipeline", description="registry component that fine-tunes")
    FINETUNE_COMPONENT_VERSION: str = Field("", description="its version; empty: the newest at the time of the upload")
    BASE_MODEL: ResourceName = Field("Phi-3-mini-4k-instruct", description="registry model that is fine-tuned")
    BASE_MODEL_VERSION: str = Field("", description="its version; empty: the newest at the time of the upload")
    COMPUTE: str = Field("", description="compute cluster of the job; empty: serverless compute of FINETUNE_INSTANCE_TYPE")
    FINETUNE_INSTANCE_TYPE: str = Field("Standard_NC24ads_A100_v4", description="VM size of serverless fine-tuning")
    SERVING_INSTANCE_TYPE: str = Field("Standard_NC24ads_A100_v4", description="VM size of a deployment")
    ENDPOINT_AUTH: Literal["aad_token", "key"] = Field("aad_token", description="how callers of an endpoint prove who they are")
    EXPERIMENT_NAME: ResourceName = Field("tuneloop", description="Azure ML experiment of the jobs")

    VALIDATION_SHARE: Share = Field(0.1, description="share of the rows that validate, where the owner gives no file for it")
    TEST_SHARE: Share = Field(0.1, description="share of the rows that test, where the owner gives no file for it")
    TRAIN_ROWS_MIN: int = Field(10, ge=10, description="usable rows to train on; with fewer than 10 the pipeline of Azure ML fails")
    VALIDATION_ROWS_MIN: int = Field(1, ge=1, description="usable rows to validate with")
    TEST_ROWS_MIN: int = Field(1, ge=1, description="usable rows to test with")
    BAD_ROWS_MAX_SHARE: float = Field(0.01, ge=0, lt=1, description="more bad rows than this share of all reject an upload")
    REPAIR_NUL: bool = Field(True, description="take the character NUL out of a text; otherwise the row is dropped")
    REPAIR_TRAILING_USER: bool = Field(False, description="leave out a last user message without an answer; otherwise the row is dropped")
    CONTEXT_TOKENS: Size = Field(4_096, description="tokens that the base model reads of a row")
    LINE_BYTES_MAX: int = Field(4 << 20, ge=1, le=64 << 20, description="bytes of one row; two of these are in memory at once")
    UPLOAD_BYTES_MAX: Size = Field(64 << 30, description="bytes of an upload, all files of a set together")
    UNPACKED_BYTES_MAX: Size = Field(20 << 30, description="bytes that one packed file or table may become")
    UNPACK_MEMORY_BYTES_MAX: int = Field(
        1 << 30, ge=256 << 20, le=1 << 40, description="address space of the child process that reads a table"
    )
    QUARANTINE_BYTES_MAX: int = Field(64 << 20, ge=0, description="bytes of dropped rows that are kept for their owner; more are counted")
    REPORT_EXCERPTS: bool = Field(True, description="show the first characters of a faulty row in its report")

    PREPARE_HERE_BYTES_MAX: int = Field(
        2 << 30,
        ge=0,
        description="larger uploads are prepared by an Azure ML job; formats that have to be unpacked from an eighth of it on",
    )
    PREPARE_COMPUTE: str = Field("", description="compute cluster of such a job; empty: serverless compute of PREPARE_INSTANCE_TYPE")
    PREPARE_INSTANCE_TYPE: ResourceName = Field(
        "Standard_D12_v2", description="VM size of serverless preparation: no GPU, memory for the hashes, a disk of twice the upload"
    )
    PREPARE_DEADLINE: timedelta = Field(
        timedelta(hours=6),
        ge=timedelta(minutes=1),
        le=timedelta(days=14),
        description="a job that prepares is canceled when it is not done by then",
    )

    LOOK_EVERY: PositiveDuration = Field(timedelta(minutes=1), description="time between two looks at what Azure is busy with")
    TICK: PositiveDuration = Field(timedelta(minutes=5), description="period of LOOK_AGAIN_SCHEDULE; a look missed by more is repaired")
    JOB_DEADLINE: PositiveDuration = Field(timedelta(hours=24), description="a job that is not done by then is canceled")
    CANCEL_DEADLINE: PositiveDuration = Field(
        timedelta(hours=2), description="a job that was asked to end and has not by then is told, left, and looked at hourly"
    )
    DEPLOYMENT_DEADLINE: PositiveDuration = Field(timedelta(hours=2), description="a deployment that is not ready by then is given up")
    PROBATION: Duration = Field(
        timedelta(hours=1),
        description="the deployment before the live one is kept, and billed, as a way back for so long; 00:00:00: not at all",
    )
    QUOTA_DEADLINE: Duration = Field(
        timedelta(days=3), description="a new model that Azure has no quota or machine for is given up after it; 00:00:00: at once"
    )
    JOB_ATTEMPTS_MAX: int = Field(1, ge=1, le=5, description="paid jobs for one training without a person's word")
    JOBS_AT_ONCE_MAX: int = Field(
        4, ge=0, description="training jobs at work at once, and as many that prepare; further uploads wait and say so"
    )
    JOBS_PER_DAY_MAX: int = Field(
        20, ge=0, description="training jobs that begin on one day (UTC), and as many that prepare; further ones wait"
    )
    STEP_ATTEMPTS_MAX: int = Field(5, ge=1, le=50, description="tries of one step before a record stops with a reason")

    IDLE_AFTER: PositiveDuration = Field(timedelta(hours=2), description="without a request for so long, an endpoint is idle")
    IDLE_GRACE: Duration = Field(timedelta(minutes=30), description="time between marking an idle endpoint and deleting its deployments")
    ENDPOINT_KEPT_FOR: Duration = Field(timedelta(days=7), description="time that a sleeping endpoint keeps its address; 00:00:00: none")
    DELETIONS_PER_TICK_MAX: int = Field(2, ge=0, description="services that one tick may put to sleep, a quarter of the live ones at most")
    TEAR_DOWN_DRY_RUN: bool = Field(False, description="mark idle endpoints but delete nothing")
    DELETE_ORPHANS_AFTER: Duration = Field(
        timedelta(0), description="delete an endpoint with our tag that no record names after being unused for so long; 00:00:00: never"
    )
    REFUSE_PICKLED_MODELS: bool = Field(
        False, description="refuse a model whose folder holds pickles, code or unknown files, or cannot be listed; else it is told"
    )
    PAUSED: bool = Field(False, description="kill switch: look and tell, but create, change and delete nothing in Azure ML")
    METRIC_GRAIN: PositiveDuration = Field(timedelta(minutes=1), description="width of one Azure Monitor point")
    METRIC_LAG: Duration = Field(timedelta(minutes=5), description="how late an Azure Monitor point may appear (an assumption)")

    ANNOUNCE_TOPIC_ENDPOINT: str = Field("", description="Event Grid topic (CloudEvents) that is told of every change; empty: the log only")
    LOOK_AGAIN_SCHEDULE: str = Field("0 */5 * * * *", description="NCRONTAB of the repairing timer")
    TEAR_DOWN_SCHEDULE: str = Field("0 */5 * * * *", description="NCRONTAB of the tear-down timer")
    TUNELOOP_LOCAL: bool = Field(False, description="local mode: every address must be on this machine, real Azure hosts are refused")

    def policy(self, *, function_timeout: timedelta) -> Policy:
        """Return what decisions may depend on; resting times follow from how long a function may run."""
        longest = function_timeout + FUNCTION_TIMEOUT_MARGIN
        return Policy(
            look_every=self.LOOK_EVERY,
            tick=self.TICK,
            step_attempts_max=self.STEP_ATTEMPTS_MAX,
            prepare_here_bytes_max=self.PREPARE_HERE_BYTES_MAX,
            prepare_deadline=self.PREPARE_DEADLINE,
            job_attempts_max=self.JOB_ATTEMPTS_MAX,
            jobs_at_once_max=self.JOBS_AT_ONCE_MAX,
            jobs_per_day_max=self.JOBS_PER_DAY_MAX,
            job_deadline=self.JOB_DEADLINE,
            cancel_deadline=self.CANCEL_DEADLINE,
            deployment_deadline=self.DEPLOYMENT_DEADLINE,
            quota_deadline=self.QUOTA_DEADLINE,
            probation=self.PROBATION,
            idle_after=self.IDLE_AFTER,
            idle_grace=self.IDLE_GRACE,
            endpoint_kept_for=self.ENDPOINT_KEPT_FOR,
            metric_grain=self.METRIC_GRAIN,
            metric_lag=self.METRIC_LAG,
            lease=longest,
            endpoint_rest=longest,
            deletions_per_tick_max=self.DELETIONS_PER_TICK_MAX,
            deletions_dry_run=self.TEAR_DOWN_DRY_RUN,
            orphans_deleted_after=self.DELETE_ORPHANS_AFTER,
            refuse_pickled_models=self.REFUSE_PICKLED_MODELS,
        )

    def options(self) -> Options:
        """Return how a dataset is prepared. The salt is not there: it is the installation's own."""
        from shared.prepare import options_of

        values: dict[str, Any] = {}
        for name, option in OPTIONS.items():
            *above, last = option.split(".")
            table = values
            for part in above:
                table = table.setdefault(part, {})
            table[last] = getattr(self, name)
        return options_of(values)

    @property
    def workspace_id(self) -> str:
        return (
            f"/subscriptions/{self.AZURE_SUBSCRIPTION_ID}/resourceGroups/{self.AZURE_RESOURCE_GROUP}"
            f"/providers/Microsoft.MachineLearningServices/workspaces/{self.AZUREML_WORKSPACE}"
        )


OPTIONS: Mapping[str, str] = {  # setting -> what `shared.prepare.Options` calls it
    "VALIDATION_SHARE": "validation_share",
    "TEST_SHARE": "test_share",
    "TRAIN_ROWS_MIN": "rows_min.train",
    "VALIDATION_ROWS_MIN": "rows_min.validation",
    "TEST_ROWS_MIN": "rows_min.test",
    "BAD_ROWS_MAX_SHARE": "bad_rows_max_share",
    "REPAIR_NUL": "repairs.nul",
    "REPAIR_TRAILING_USER": "repairs.trailing_user",
    "CONTEXT_TOKENS": "context_tokens",
    "LINE_BYTES_MAX": "line_bytes_max",
    "UPLOAD_BYTES_MAX": "source_bytes_max",
    "UNPACKED_BYTES_MAX": "unpack.bytes_max",
    "UNPACK_MEMORY_BYTES_MAX": "unpack.memory_bytes_max",
    "QUARANTINE_BYTES_MAX": "quarantine_bytes_max",
    "REPORT_EXCERPTS": "excerpts",
}


def read(environment: Mapping[str, str]) -> Settings:
    """Return the settings of this environment; raise WrongSettings with a sentence for every fault."""
    names = Settings.model_fields.keys()
    values: dict[str, Any] = {name: environment[name] for name in names if environment.get(name, "") != ""}
    faults = []
    try:
        settings = Settings.model_validate(values)
    except ValidationError as error:
        faults = [_sentence(fault["loc"], fault["msg"], fault.get("input")) for fault in error.errors()]
    else:
        faults = _together(settings)
        if not faults:
            return settings
    raise WrongSettings("\n".join(["These app settings are wrong:", *(f"  {fault}" for fault in faults)]))


def paused(environment: Mapping[str, str]) -> bool:
    """Tell whether the kill switch is on now. What cannot be read as yes or no is on: whoever wrote it wanted to stop something."""
    try:
        return TypeAdapter(bool).validate_python(environment.get("PAUSED", "") or False)
    except ValidationError:
        return True


def connection(environment: Mapping[str, str], name: str) -> Connection:
    """Return the connection of this name, by the Functions convention; raise WrongSettings if there is none."""
    if environment.get(name):
        return Connection(connection_string=environment[name])
    account = environment.get(f"{name}__accountName")
    blob = environment.get(f"{name}__blobServiceUri") or environment.get(f"{name}__serviceUri")
    queue = environment.get(f"{name}__queueServiceUri")
    if account:
        blob = blob or f"https://{account}.blob.core.windows.net"
        queue = queue or f"https://{account}.queue.core.windows.net"
    if not blob:
        raise WrongSettings(f"{name} is not set: give a connection string, or {name}__blobServiceUri and {name}__queueServiceUri.")
    return Connection(blob_service_uri=blob, queue_service_uri=queue)


def function_timeout(host_json: Path = HOST_JSON) -> timedelta:
    """Return host.json's functionTimeout; raise WrongSettings when it is missing or unlimited, since rests are made from it."""
    value = json.loads(host_json.read_text("utf-8")).get("functionTimeout")
    try:
        return TypeAdapter(PositiveDuration).validate_python(value)
    except ValidationError:
        raise WrongSettings(f"host.json: functionTimeout is {value!r}; write a finite one such as 00:10:00.") from None


def _together(settings: Settings) -> list[str]:
    """Return the faults that only show when several settings are read together."""
    faults = []
    if settings.IDLE_AFTER < settings.METRIC_GRAIN:
        faults.append(f"IDLE_AFTER is {settings.IDLE_AFTER}; it must be at least METRIC_GRAIN ({settings.METRIC_GRAIN}).")
    if settings.VALIDATION_SHARE + settings.TEST_SHARE >= 1:
        faults.append(
            f"VALIDATION_SHARE is {settings.VALIDATION_SHARE}; together with TEST_SHARE ({settings.TEST_SHARE}) it must be below 1, "
            "or nothing is left to train on."
        )
    if settings.LINE_BYTES_MAX < settings.CONTEXT_TOKENS:
        faults.append(
            f"LINE_BYTES_MAX is {settings.LINE_BYTES_MAX}; it must be at least CONTEXT_TOKENS ({settings.CONTEXT_TOKENS}), "
            "or rows that the model could read are refused."
        )
    containers = {settings.DATASETS_CONTAINER, settings.PREPARED_CONTAINER, settings.LEDGER_CONTAINER}
    if settings.DEAD_LETTER_CONTAINER in containers:
        faults.append("DEAD_LETTER_CONTAINER must be a container of its own, or uploads and records would be counted as dead letters.")
    if len(containers) < 3:
        faults.append(
            "DATASETS_CONTAINER, PREPARED_CONTAINER and LEDGER_CONTAINER must be three containers, or what the app writes would be taken "
            "for uploads."
        )
    return faults


def _sentence(where: tuple[int | str, ...], message: str, value: object) -> str:
    name = ".".join(str(part) for part in where)
    text = message.removeprefix("Value error, ")
    if text == "Field required":
        return f"{name} is not set."
    example = " Write 02:00:00 or 7 days." if "timedelta" in text else ""
    return f"{name} is {value!r}: {text}.{example}"


def table() -> str:
    """Return the settings as a Markdown table: name, default, meaning."""
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "(must be set)" if field.is_required() else _shown(field.default)
        rows.append(f"| `{name}` | {default} | {field.description} |")
    return "\n".join(rows) + "\n"


def _shown(value: object) -> str:
    if isinstance(value, timedelta):
        days, seconds = value.days, value.seconds
        clock = f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        return f"`{days} days`" if days and not seconds else f"`{clock}`"
    return f"`{value}`" if value != "" else "(empty)"


if __name__ == "__main__":
    print(table(), end="")
