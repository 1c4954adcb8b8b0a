"""
What every kind of Azure ML job has in common: it is asked for once, looked at, cancelled, and says why it failed.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from azure.core import PipelineClient
from azure.core.exceptions import AzureError, HttpResponseError, ResourceNotFoundError

from shared.cloud import clients
from shared.cloud.answers import text_of, translated, word
from shared.domain.jobs import JOB_ENDED_BADLY
from shared.plain import plain
from shared.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from azure.ai.ml import MLClient
    from azure.core.credentials import TokenCredential

EXISTS_TEXT = "already exists"  # "A job with this name already exists..." (azure-docs#122250); the code is only UserError
HISTORY_API = "history/v1.0"


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A job as it is now."""

    status: str  # Azure's word
    tags: Mapping[str, str]
    failure: str  # what run history says about a bad end, '' if it says nothing


class Jobs:
    """The jobs of one workspace, of whatever kind."""

    def __init__(self, settings: Settings, credential: TokenCredential) -> None:
        self._settings = settings
        self._credential = credential

    @cached_property
    def workspace(self) -> MLClient:
        return clients.ml_client(self._settings, self._credential)

    @cached_property
    def mlflow_address(self) -> tuple[str, str]:
        """Host and workspace path of MLflow and run history, as the workspace names them: azureml://host/mlflow/v1.0/path."""
        with translated("Reading the workspace"):
            workspace = self.workspace.workspaces.get(self._settings.AZUREML_WORKSPACE)
        host, _, path = str(workspace.mlflow_tracking_uri).removeprefix("azureml://").partition("/mlflow/v1.0")
        return f"https://{host}", path.rstrip("?/")

    @cached_property
    def runs(self) -> PipelineClient[Any, Any]:
        """A client of MLflow and run history."""
        return clients.rest_client(
            self.mlflow_address[0],
            self._credential,
            clients.ARM_SCOPE,
            local=self._settings.TUNELOOP_LOCAL,
            what="the workspace's MLflow address",
        )

    def seen(self, name: str) -> Seen | None:
        with translated(f"Looking at job {name}"):
            try:
                job = self.workspace.jobs.get(name)
            except ResourceNotFoundError:
                return None
        status = word(job.status)
        failure = self._failure(name) if status.lower() in JOB_ENDED_BADLY else ""
        return Seen(status=status, tags=job.tags or {}, failure=failure)

    def submit(self, name: str, job: Any) -> None:
        """Ask for the job. That it exists already is no error: the next look tells whose it is."""
        job.name = name
        with translated(f"Submitting job {name}"):
            try:
                self.workspace.jobs.create_or_update(job)
            except HttpResponseError as error:
                if EXISTS_TEXT not in text_of(error).lower():
                    raise

    def cancel(self, name: str) -> None:
        with translated(f"Cancelling job {name}"):
            self.workspace.jobs.begin_cancel(name)

    def _failure(self, job: str) -> str:
        base, path = self.mlflow_address
        try:
            details = clients.get_json(self.runs, f"{base}/{HISTORY_API}{path}/runs/{job}/details")
        except AzureError:  # also a connection that is lost: the text explains the end, and the end is known
            return ""
        return failure_in(details)


def failure_in(details: Any) -> str:
    """Return the message of an answer of run history, {"error": {"error": {"message": …}}}; '' where it has none."""
    try:
        return plain(str(details["error"]["error"].get("message") or ""))
    except (AttributeError, KeyError, TypeError):
        return ""
