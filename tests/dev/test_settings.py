"""Settings: all faults named at once, durations as people write them, connections by the Functions convention, and the table."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

import dev
from shared import prepare, settings
from shared.domain.policy import Policy
from shared.errors import WrongSettings

pytestmark = pytest.mark.light

APP = Path(dev.__file__).resolve().parent
EXAMPLE: dict[str, str] = json.loads((APP / "local.settings.json.example").read_text(encoding="utf-8"))["Values"]
ENOUGH = {"AZURE_SUBSCRIPTION_ID": "s", "AZURE_RESOURCE_GROUP": "r", "AZUREML_WORKSPACE": "w"}


def faults(**values: str) -> list[str]:
    with pytest.raises(WrongSettings) as wrong:
        settings.read(ENOUGH | values)
    first, *others = str(wrong.value).splitlines()
    assert first == "These app settings are wrong:"
    return [fault.strip() for fault in others]


# --------------------------------------------------------------------------------------------------------------- reading


def test_three_names_are_enough_and_the_rest_has_defaults() -> None:
    found = settings.read(ENOUGH)

    assert ("datasets", False, timedelta(hours=2)) == (found.DATASETS_CONTAINER, found.TUNELOOP_LOCAL, found.IDLE_AFTER)


def test_every_fault_is_named_at_once() -> None:
    with pytest.raises(WrongSettings) as wrong:
        settings.read({"AZUREML_WORKSPACE": "w", "IDLE_AFTER": "2 hours or so", "JOB_ATTEMPTS_MAX": "0", "DATASETS_CONTAINER": "Data_Sets",
                       "ENDPOINT_AUTH": "none", "TUNELOOP_LOCAL": "perhaps"})  # fmt: skip
    text = str(wrong.value)

    assert len(text.splitlines()) == 8
    for name in ("AZURE_SUBSCRIPTION_ID", "AZURE_RESOURCE_GROUP", "IDLE_AFTER", "JOB_ATTEMPTS_MAX", "DATASETS_CONTAINER", "ENDPOINT_AUTH",
                 "TUNELOOP_LOCAL"):  # fmt: skip
        assert name in text
    assert "AZUREML_WORKSPACE" not in text


def test_a_fault_shows_the_value_that_was_seen_and_how_to_write_it() -> None:
    (fault,) = faults(IDLE_AFTER="2 hours or so")

    assert fault.startswith("IDLE_AFTER is '2 hours or so':")
    assert fault.endswith("Write 02:00:00 or 7 days.")


def test_an_empty_setting_is_a_setting_that_is_not_there() -> None:
    assert timedelta(hours=2) == settings.read(ENOUGH | {"IDLE_AFTER": "", "COMPUTE": ""}).IDLE_AFTER
    with pytest.raises(WrongSettings, match=r"AZUREML_WORKSPACE is not set\."):
        settings.read(ENOUGH | {"AZUREML_WORKSPACE": ""})


def test_what_else_is_in_the_environment_is_nobodys_business() -> None:
    assert settings.read(ENOUGH | {"PATH": "/bin", "WEBSITE_SITE_NAME": "x"}) == settings.read(ENOUGH)


def test_settings_cannot_be_changed_after_they_were_read() -> None:
    with pytest.raises(ValueError, match="frozen"):
        settings.read(ENOUGH).COMPUTE = "other"


def test_the_example_can_be_read_and_is_local() -> None:
    found = settings.read(EXAMPLE)

    assert found.TUNELOOP_LOCAL
    assert found.workspace_id == (
        "/subscriptions/11111111-1111-1111-1111-111111111111/resourceGroups/local-rg"
        "/providers/Microsoft.MachineLearningServices/workspaces/local-workspace"
    )


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("02:00:00", timedelta(hours=2)),
        ("00:00:30", timedelta(seconds=30)),
        ("7 days", timedelta(days=7)),
        ("1 day, 02:00:00", timedelta(days=1, hours=2)),
        ("P7D", timedelta(days=7)),
        ("PT90M", timedelta(minutes=90)),
    ],
)
def test_a_duration_is_read_as_people_write_it(text: str, duration: timedelta) -> None:
    assert duration == settings.read(ENOUGH | {"LOOK_EVERY": text}).LOOK_EVERY


@pytest.mark.parametrize("text", ["2 hours", "02.00.00", "soon", "-01:00:00", "-P1D", "00:00:00", "nan"])
def test_a_duration_that_is_none_or_not_positive_is_refused(text: str) -> None:
    assert [fault.startswith("IDLE_AFTER is ") for fault in faults(IDLE_AFTER=text)] == [True]


@pytest.mark.parametrize("name", ["IDLE_GRACE", "ENDPOINT_KEPT_FOR", "METRIC_LAG"])
def test_some_waits_may_be_nothing_but_none_is_negative(name: str) -> None:
    assert getattr(settings.read(ENOUGH | {name: "00:00:00"}), name) == timedelta(0)
    assert len(faults(**{name: "-00:00:01"})) == 1


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"DATASETS_CONTAINER": "ab"}, "DATASETS_CONTAINER"),
        ({"DATASETS_CONTAINER": "a--b"}, "DATASETS_CONTAINER"),
        ({"DATASETS_CONTAINER": "-abc"}, "DATASETS_CONTAINER"),
        ({"LEDGER_CONTAINER": "../x"}, "LEDGER_CONTAINER"),
        ({"TURNS_QUEUE": "x" * 64}, "TURNS_QUEUE"),
        ({"AZUREML_WORKSPACE": "w/../../x"}, "AZUREML_WORKSPACE"),
        ({"BASE_MODEL": "a b"}, "BASE_MODEL"),
        ({"JOB_ATTEMPTS_MAX": "6"}, "JOB_ATTEMPTS_MAX"),
        ({"JOB_ATTEMPTS_MAX": "1.5"}, "JOB_ATTEMPTS_MAX"),
        ({"DELETIONS_PER_TICK_MAX": "-1"}, "DELETIONS_PER_TICK_MAX"),
        ({"IDLE_AFTER": "00:00:30"}, "IDLE_AFTER"),
        ({"TEST_SHARE": "0"}, "TEST_SHARE"),
        ({"VALIDATION_SHARE": "1.0"}, "VALIDATION_SHARE"),
        ({"VALIDATION_SHARE": "0.5", "TEST_SHARE": "0.5"}, "VALIDATION_SHARE"),
        ({"BAD_ROWS_MAX_SHARE": "nan"}, "BAD_ROWS_MAX_SHARE"),
        ({"TRAIN_ROWS_MIN": "9"}, "TRAIN_ROWS_MIN"),
        ({"LINE_BYTES_MAX": "2000"}, "LINE_BYTES_MAX"),
        ({"LINE_BYTES_MAX": "1000000000"}, "LINE_BYTES_MAX"),
        ({"UPLOAD_BYTES_MAX": "64 GiB"}, "UPLOAD_BYTES_MAX"),
        ({"REPAIR_NUL": "maybe"}, "REPAIR_NUL"),
        ({"PREPARE_DEADLINE": "00:00:00.5"}, "PREPARE_DEADLINE"),
        ({"PREPARE_DEADLINE": "999999999 days"}, "PREPARE_DEADLINE"),
        ({"PREPARE_INSTANCE_TYPE": " "}, "PREPARE_INSTANCE_TYPE"),
        ({"UNPACK_MEMORY_BYTES_MAX": "9223372036854775808"}, "UNPACK_MEMORY_BYTES_MAX"),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_value_that_azure_or_the_loop_would_refuse_later_is_refused_now(values: dict[str, str], name: str) -> None:
    assert [fault.startswith(f"{name} is ") for fault in faults(**values)] == [True]


# ---------------------------------------------------------------------------------------------------------------- policy


def test_the_policy_is_made_of_the_settings_and_rests_longer_than_a_function_runs() -> None:
    timeout = timedelta(minutes=10)
    policy = settings.read(ENOUGH | {"IDLE_AFTER": "03:00:00", "TEAR_DOWN_DRY_RUN": "true"}).policy(function_timeout=timeout)

    assert policy.idle_after == timedelta(hours=3)
    assert policy.deletions_dry_run
    assert policy.lease > timeout
    assert policy.endpoint_rest > timeout


def test_the_function_time_limit_of_the_app_is_finite() -> None:
    assert timedelta(0) < settings.function_timeout() <= timedelta(hours=1)


@pytest.mark.parametrize("value", [None, "-1", "00:00:00", "forever", -1])
def test_a_function_time_limit_that_is_missing_or_endless_is_refused(tmp_path: Path, value: object) -> None:
    host_json = tmp_path / "host.json"
    host_json.write_text(json.dumps({"version": "2.0"} if value is None else {"functionTimeout": value}), encoding="utf-8")

    with pytest.raises(WrongSettings, match="functionTimeout"):
        settings.function_timeout(host_json)


# --------------------------------------------------------------------------------------------------------------- options


def test_without_settings_a_dataset_is_prepared_as_at_the_command_line() -> None:
    assert settings.read(ENOUGH).options() == prepare.Options()


def test_settings_that_do_not_fit_together_are_named_together() -> None:
    found = faults(VALIDATION_SHARE="0.6", TEST_SHARE="0.6", LINE_BYTES_MAX="5000", CONTEXT_TOKENS="128000", IDLE_AFTER="00:00:01")

    assert [fault.split(" ")[0] for fault in found] == ["IDLE_AFTER", "VALIDATION_SHARE", "LINE_BYTES_MAX"]
    assert found[1].endswith("together with TEST_SHARE (0.6) it must be below 1, or nothing is left to train on.")


@pytest.mark.parametrize("name", ["DATASETS_CONTAINER", "PREPARED_CONTAINER"])
def test_what_the_app_writes_never_lies_where_uploads_lie(name: str) -> None:
    (found,) = faults(**{name: "ledger"})

    assert found.startswith("DATASETS_CONTAINER, PREPARED_CONTAINER and LEDGER_CONTAINER must be three containers")


@pytest.mark.parametrize("name", ["datasets", "prepared", "ledger"])
def test_dead_letters_lie_in_a_container_of_their_own(name: str) -> None:
    (found,) = faults(DEAD_LETTER_CONTAINER=name)

    assert found.startswith("DEAD_LETTER_CONTAINER must be a container of its own")


# -------------------------------------------------------------------------------------------- what each setting moves

MOVES = {  # setting -> the one limit of a decision (policy) or of a preparation (options) that is its own
    "LOOK_EVERY": "policy.look_every",
    "TICK": "policy.tick",
    "STEP_ATTEMPTS_MAX": "policy.step_attempts_max",
    "PREPARE_HERE_BYTES_MAX": "policy.prepare_here_bytes_max",
    "PREPARE_DEADLINE": "policy.prepare_deadline",
    "JOB_ATTEMPTS_MAX": "policy.job_attempts_max",
    "JOBS_AT_ONCE_MAX": "policy.jobs_at_once_max",
    "JOBS_PER_DAY_MAX": "policy.jobs_per_day_max",
    "JOB_DEADLINE": "policy.job_deadline",
    "CANCEL_DEADLINE": "policy.cancel_deadline",
    "DEPLOYMENT_DEADLINE": "policy.deployment_deadline",
    "QUOTA_DEADLINE": "policy.quota_deadline",
    "PROBATION": "policy.probation",
    "IDLE_AFTER": "policy.idle_after",
    "IDLE_GRACE": "policy.idle_grace",
    "ENDPOINT_KEPT_FOR": "policy.endpoint_kept_for",
    "METRIC_GRAIN": "policy.metric_grain",
    "METRIC_LAG": "policy.metric_lag",
    "DELETIONS_PER_TICK_MAX": "policy.deletions_per_tick_max",
    "TEAR_DOWN_DRY_RUN": "policy.deletions_dry_run",
    "DELETE_ORPHANS_AFTER": "policy.orphans_deleted_after",
    "REFUSE_PICKLED_MODELS": "policy.refuse_pickled_models",
    "VALIDATION_SHARE": "options.validation_share",
    "TEST_SHARE": "options.test_share",
    "TRAIN_ROWS_MIN": "options.rows_min.train",
    "VALIDATION_ROWS_MIN": "options.rows_min.validation",
    "TEST_ROWS_MIN": "options.rows_min.test",
    "BAD_ROWS_MAX_SHARE": "options.bad_rows_max_share",
    "REPAIR_NUL": "options.repairs.nul",
    "REPAIR_TRAILING_USER": "options.repairs.trailing_user",
    "CONTEXT_TOKENS": "options.context_tokens",
    "LINE_BYTES_MAX": "options.line_bytes_max",
    "UPLOAD_BYTES_MAX": "options.source_bytes_max",
    "UNPACKED_BYTES_MAX": "options.unpack.bytes_max",
    "UNPACK_MEMORY_BYTES_MAX": "options.unpack.memory_bytes_max",
    "QUARANTINE_BYTES_MAX": "options.quarantine_bytes_max",
    "REPORT_EXCERPTS": "options.excerpts",
}
BY_TIMEOUT = {"policy.lease", "policy.endpoint_rest"}
FIXED = {  # in the code; no setting moves them
    "policy.prepare_attempts_max",
    "policy.smoke_attempts_max",
    "policy.paused",  # read at each turn and tick
    "options.salt",  # the installation's own
    "options.samples_max",
    "options.sample_bytes_max",
    *(
        f"options.unpack.{name}"
        for name in ("ratio_max", "seconds_max", "rows_max", "columns_max", "row_groups_max", "row_group_bytes_max")
    ),
}
TEN_MINUTES = timedelta(minutes=10)


def flat(table: dict[str, Any], above: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in table.items():
        found |= flat(value, f"{above}.{name}") if isinstance(value, dict) else {f"{above}.{name}": value}
    return found


def limits(values: Mapping[str, str] = ENOUGH, *, timeout: timedelta = TEN_MINUTES) -> dict[str, Any]:
    """Return every limit of the loop and of a preparation by its path."""
    read = settings.read(values)
    policy = {f"policy.{name}": value for name, value in msgspec.structs.asdict(read.policy(function_timeout=timeout)).items()}
    return policy | flat(msgspec.to_builtins(read.options()), "options")


def another(name: str) -> Any:
    """Return a value of the setting that is not its default."""
    match settings.Settings.model_fields[name].default:
        case bool(default):
            return not default
        case int(default):
            return default + 1
        case float(default):
            return default * 2
        case timedelta() as default:
            return default + timedelta(seconds=7)
        case _:
            return "key" if name == "ENDPOINT_AUTH" else "another"


@pytest.mark.parametrize("name", settings.Settings.model_fields)
def test_each_setting_moves_its_own_limit_and_no_other(name: str) -> None:
    plain, value = limits(), another(name)
    changed = limits(ENOUGH | {name: str(value)})

    assert {path: changed[path] for path in plain if changed[path] != plain[path]} == ({MOVES[name]: value} if name in MOVES else {})


def test_the_time_of_a_function_moves_what_is_made_of_it_and_nothing_else() -> None:
    plain, changed = limits(), limits(timeout=2 * TEN_MINUTES)

    assert {path: changed[path] - plain[path] for path in plain if changed[path] != plain[path]} == dict.fromkeys(BY_TIMEOUT, TEN_MINUTES)


def test_every_limit_has_a_setting_of_its_own_or_is_known_to_have_none() -> None:
    assert len(set(MOVES.values())) == len(MOVES)
    assert set(limits()) == {*MOVES.values(), *BY_TIMEOUT, *FIXED}


def test_without_settings_limits_are_the_defaults_that_decisions_are_tested_with() -> None:
    found = settings.read(ENOUGH).policy(function_timeout=TEN_MINUTES)

    assert msgspec.structs.replace(Policy(), lease=found.lease, endpoint_rest=found.endpoint_rest) == found


# ----------------------------------------------------------------------------------------------------------- connections


@pytest.mark.parametrize(
    ("environment", "found"),
    [
        ({"DATASETS": "UseDevelopmentStorage=true"}, settings.Connection(connection_string="UseDevelopmentStorage=true")),
        ({"DATASETS": "x", "DATASETS__blobServiceUri": "https://b"}, settings.Connection(connection_string="x")),
        ({"DATASETS__blobServiceUri": "https://b", "DATASETS__queueServiceUri": "https://q"},
         settings.Connection(blob_service_uri="https://b", queue_service_uri="https://q")),
        ({"DATASETS__serviceUri": "https://b"}, settings.Connection(blob_service_uri="https://b")),
        ({"DATASETS__accountName": "acc"},
         settings.Connection(blob_service_uri="https://acc.blob.core.windows.net", queue_service_uri="https://acc.queue.core.windows.net")),
        ({"DATASETS__accountName": "acc", "DATASETS__blobServiceUri": "https://b"},
         settings.Connection(blob_service_uri="https://b", queue_service_uri="https://acc.queue.core.windows.net")),
    ],
    ids=["connection string", "the plain name goes first", "two addresses", "one address", "account name", "account name and an address"],
)  # fmt: skip
def test_a_connection_is_found_by_the_functions_convention(environment: dict[str, str], found: settings.Connection) -> None:
    assert settings.connection(environment, "DATASETS") == found


@pytest.mark.parametrize(
    ("connection", "has"),
    [
        (settings.Connection(connection_string="UseDevelopmentStorage=true"), True),
        (settings.Connection(connection_string="DefaultEndpointsProtocol=https;AccountName=a;AccountKey=k;EndpointSuffix=x"), True),
        (settings.Connection(connection_string="AccountName=a;AccountKey=k;BlobEndpoint=https://b;"), False),
        (settings.Connection(connection_string="AccountName=a;BlobEndpoint=https://b;QueueEndpoint=https://q;"), True),
        (settings.Connection(blob_service_uri="https://b"), False),
        (settings.Connection(blob_service_uri="https://b", queue_service_uri="https://q"), True),
    ],
)
def test_an_account_has_queues_when_it_names_them_or_nothing_in_particular(connection: settings.Connection, has: bool) -> None:
    assert connection.has_queues is has


@pytest.mark.parametrize("environment", [{}, {"DATASETS": ""}, {"DATASETS__queueServiceUri": "https://q"}, {"AzureWebJobsStorage": "x"}])
def test_a_connection_that_is_not_there_is_named_with_both_ways_to_give_it(environment: dict[str, str]) -> None:
    with pytest.raises(WrongSettings, match=r"DATASETS is not set: give a connection string, or DATASETS__blobServiceUri"):
        settings.connection(environment, "DATASETS")


# ----------------------------------------------------------------------------------------------------------------- table


def test_the_table_names_every_setting_once_with_its_default_and_its_meaning() -> None:
    rows = [row.strip("|").split(" | ") for row in settings.table().splitlines()[2:]]

    assert [row[0].strip(" `") for row in rows] == list(settings.Settings.model_fields)
    assert all(len(row) == 3 and all(cell.strip() for cell in row) for row in rows)
    shown = {row[0].strip(" `"): row[1] for row in rows}
    assert (shown["IDLE_AFTER"], shown["ENDPOINT_KEPT_FOR"], shown["COMPUTE"], shown["AZURE_SUBSCRIPTION_ID"]) == (
        "`02:00:00`", "`7 days`", "(empty)", "(must be set)",
    )  # fmt: skip


def test_the_table_can_be_printed_by_the_command_that_its_page_names() -> None:
    done = subprocess.run([sys.executable, "-m", "shared.settings"], cwd=APP, capture_output=True, text=True, check=True)

    assert done.stdout == settings.table()
