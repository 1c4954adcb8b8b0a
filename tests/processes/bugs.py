"""
Deliberate bugs: what the loops must notice, or their silence means nothing.

Each is a text of a shipped file written another way in the copy of the app that a loop runs (cloud.py). `seed`: the first loop that noticed it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Bug:
    what: str  # is wrong
    places: tuple[tuple[str, str, str], ...]  # file of the app, text, text in its place
    seed: int = 0  # of a loop that notices it


BUGS = {
    "random_job_name": Bug(
        what="a job is called otherwise each time that it is asked for",
        places=(
            ("shared/cloud/trainings.py", "        self._jobs.submit(name, job)\n", '        self._jobs.submit(f"{name}-{os.urandom(2).hex()}", job)\n'),
            ("shared/cloud/trainings.py", "import contextlib\n", "import contextlib\nimport os\n"),
        ),
    ),
    "no_timer": Bug(
        what="the timer repairs nothing: what is lost stays lost",
        places=(("function_app.py", '    doors.look_again(who="look_again")\n', "    return None\n"),),
    ),
    "no_smoke_gate": Bug(
        what="a deployment needs no answer to take the traffic",
        places=(
            (
                "shared/domain/service.py",
                "    if deployment.smoke_passed is None:\n        return SmokeTest(deployment=deployment, scoring_uri=endpoint.scoring_uri)\n",
                "",
            ),
            ("shared/domain/gate.py", "    return proof.smoke_passed is True\n", "    return True\n"),
        ),
    ),
    "blind_writes": Bug(
        what="a record is written over whatever is there",
        places=(
            (
                "shared/cloud/ledger.py",
                "overwrite=True, etag=version, match_condition=MatchConditions.IfNotModified)",
                "overwrite=True)",
            ),
        ),
    ),
    "endpoint_is_forgotten": Bug(
        what="the tear-down lets the endpoint stand",
        places=(
            (
                "shared/domain/service.py",
                '    return DeleteEndpoint(reason=f"Asleep for {policy.endpoint_kept_for}.")\n',
                "    return Rest()\n",
            ),
        ),
    ),
    "deployment_is_numbered_at_each_try": Bug(
        what="a deployment has another name each time that it is asked for",
        places=(
            (
                "shared/reconcile/services.py",
                "    desk.loop.ports.endpoints.create_deployment(desk.record.endpoint, step.deployment, tags=tags)\n",
                "    again = msgspec.structs.replace(step.deployment, name=f\"d{desk.now:%S%f}-{step.deployment.training[:8]}\")\n"
                "    desk.loop.ports.endpoints.create_deployment(desk.record.endpoint, again, tags=tags)\n",
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
