"""
Preparations as command jobs of azure-ai-ml: the app's own modules, run over copies of the uploads, on a machine with memory and a disk.

No text of a stranger comes into the command or into a name: the shell reads the places of files from the variables that Azure sets, and
the uploads' names are in the order, which is a file. Outputs are uploaded when the process has ended well and not mounted, since a mount
has no renaming; so a failed job leaves nothing, and a completed one everything.

What is shipped are the modules and an environment made of the app's own pins: a curated environment has other versions, and the same
bytes must give the same files wherever they are prepared.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from shared.cloud import clients
from shared.cloud.jobs import Jobs
from shared.domain import names
from shared.domain.tuning import PreparationJob
from shared.errors import Stop
from shared.settings import Settings

if TYPE_CHECKING:
    from azure.ai.ml.entities import Command

APP: Final = Path(__file__).resolve().parents[2]
SHIPPED: Final = ("shared/__init__.py", "shared/errors.py", "shared/place.py", "shared/plain.py", "shared/domain", "shared/prepare")
SUFFIXES: Final = frozenset({".py", ".html", ".css"})
PACKAGES: Final = ("datasets", "jinja2", "msgspec", "pyarrow", "tokenizers", "xxhash")  # that the shipped modules import
PYTHON: Final = "3.13"  # of the app's own range
IMAGE: Final = "mcr.microsoft.com/azureml/openmpi4.1.0-ubuntu22.04:latest"  # Ubuntu and conda, nothing of it is imported
_PIN: Final = re.compile(r"^([a-z0-9-]+)==([^\s;#]+)", re.MULTILINE)


class AzureMlPreparations:
    """The `Preparations` port over one workspace."""

    def __init__(self, settings: Settings, jobs: Jobs) -> None:
        self._settings = settings
        self._jobs = jobs

    def job(self, name: str) -> PreparationJob | None:
        seen = self._jobs.seen(name)
        if seen is None:
            return None
        owner, tuning = seen.tags.get(names.OWNER_TAG), seen.tags.get(names.TUNING_TAG)
        return PreparationJob(name=name, status=seen.status, owner=owner, tuning=tuning, failure=seen.failure)

    def submit(
        self, name: str, *, files: Sequence[str], order: str, out: str, deadline: timedelta, display_name: str, tags: Mapping[str, str]
    ) -> None:
        with tempfile.TemporaryDirectory(prefix="tuneloop-") as folder:
            ship(APP, Path(folder))
            job = self._command(Path(folder), files=files, order=order, out=out, deadline=deadline)
            job.display_name = display_name
            job.tags = dict(tags)
            self._jobs.submit(name, job)

    def cancel(self, name: str) -> None:
        self._jobs.cancel(name)

    def _command(self, code: Path, *, files: Sequence[str], order: str, out: str, deadline: timedelta) -> Command:
        """Return the job. A node for azure-ai-ml, which an open `dsl.pipeline` of the process would take: the app opens none."""
        clients.load_sdk()
        from azure.ai.ml import Input, Output, command
        from azure.ai.ml.entities import CommandJobLimits, Environment

        settings = self._settings
        inputs: dict[str, Any] = {f"file_{number}": Input(type="uri_file", path=uri, mode="download") for number, uri in enumerate(files)}
        words = " ".join(f'"$AZURE_ML_INPUT_{name}"' for name in inputs)
        inputs["order"] = Input(type="uri_file", path=order, mode="download")
        cluster = settings.PREPARE_COMPUTE
        job: Command = command(
            experiment_name=settings.EXPERIMENT_NAME,
            code=str(code),
            command=f'python -m shared.prepare {words} --order "$AZURE_ML_INPUT_order" --out "$AZURE_ML_OUTPUT_out"',
            environment=Environment(image=IMAGE, conda_file=conda(APP)),
            inputs=inputs,
            outputs={"out": Output(type="uri_folder", path=out, mode="upload")},
            compute=cluster or None,
            instance_type=None if cluster else settings.PREPARE_INSTANCE_TYPE,
        )
        job.limits = CommandJobLimits(timeout=int(deadline.total_seconds()))
        return job


def ship(app: Path, folder: Path) -> None:
    """Copy what a preparation needs of the app into `folder`, and nothing else: no settings, secrets or caches."""
    for part in SHIPPED:
        for file in [app / part] if part.endswith(".py") else sorted((app / part).rglob("*")):
            if file.suffix not in SUFFIXES:
                continue
            target = folder / file.relative_to(app)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)


def conda(app: Path) -> dict[str, Any]:
    """Return the environment as a conda file, with the versions of the app's requirements.txt."""
    try:
        pinned = dict(_PIN.findall((app / "requirements.txt").read_text("utf-8")))
        packages = [f"{name}=={pinned[name]}" for name in PACKAGES]
    except (OSError, KeyError) as missing:
        text = f"A job that prepares datasets has no versions to install: {missing}."
        raise Stop(text, next_action="Deploy the app with its requirements.txt, then upload the file again.") from None
    return {"channels": ["conda-forge"], "dependencies": [f"python={PYTHON}", "pip", {"pip": packages}]}
