"""
Deliberate bugs: what the loops must notice, or their silence means nothing.

Each is a text of a shipped file written another way in the copy of the app that a loop runs (cloud.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Bug:
    what: str  # is wrong
    places: tuple[tuple[str, str, str], ...]  # file of the app, text, text in its place
    seed: int = 0  # of a loop that noticed it


JOBS = "shared/cloud/trainings.py"
LEDGER = "shared/cloud/ledger.py"
SERVICE = "shared/domain/service.py"
SERVICES = "shared/reconcile/services.py"

BUGS = {
    "random_job_name": Bug(
        what="a job is called otherwise each time that it is asked for",
        places=(
            (JOBS, "import contextlib\n", "import contextlib\nimport os\n"),
            (JOBS, "self._jobs.submit(name, job)", 'self._jobs.submit(f"{name}-{os.urandom(2).hex()}", job)'),
        ),
    ),
    "no_timer": Bug(
        what="the timer repairs nothing: what is lost stays lost",
        places=(("function_app.py", 'doors.look_again(who="look_again")', "return"),),
        seed=1,
    ),
    "no_smoke_gate": Bug(
        what="a deployment needs no answer to take the traffic",
        places=(
            (SERVICE, "if deployment.smoke_passed is None:", "if deployment.smoke_passed is False:"),
            ("shared/domain/gate.py", "return proof.smoke_passed is True", "return True"),
        ),
    ),
    "blind_writes": Bug(
        what="a record is written over whatever is there",
        places=((LEDGER, "overwrite=True, etag=version, match_condition=MatchConditions.IfNotModified)", "overwrite=True)"),),
        seed=17,
    ),
    "endpoint_is_forgotten": Bug(
        what="the tear-down lets the endpoint stand",
        places=((SERVICE, 'return DeleteEndpoint(reason=f"Asleep for {policy.endpoint_kept_for}.")', "return Rest()"),),
    ),
    "deployment_is_named_by_the_clock": Bug(
        what="a deployment is called otherwise each time that it is asked for",
        places=(
            (
                SERVICES,
                "create_deployment(desk.record.endpoint, step.deployment, tags=tags)",
                'create_deployment(desk.record.endpoint, _another(step.deployment, f"{desk.now:%H%M%S%f}"), tags=tags)',
            ),
            (
                SERVICES,
                "def _accepted(",
                """def _another(deployment: service.Deployment, clock: str) -> service.Deployment:
    return msgspec.structs.replace(deployment, name=f"d{clock}-{deployment.training[:8]}")


def _accepted(""",
            ),
        ),
    ),
}


def planted(name: str, app: Path) -> None:
    """Write the bug into this copy of the app; raise LookupError when a text is not there exactly once."""
    for file, old, new in BUGS[name].places:
        replace_once(app / file, old, new)


def replace_once(file: Path, old: str, new: str) -> None:
    text = file.read_text(encoding="utf-8")
    if text.count(old) != 1:
        raise LookupError(f"{file.name} holds {text.count(old)} times: {old!r}. Write it for the code of today.")
    file.write_text(text.replace(old, new), encoding="utf-8")
