"""
The main job, watched: upload, train, register, deploy, ask, fall idle, tear down, all on this machine.

The app that runs here is the one that is deployed: its own doors, its own loop, the unmodified azure-ai-ml. Only
settings differ: short idle times and schedules, and metrics in seconds instead of minutes. What is printed is read from
the ledger, the prepared container and the endpoint, never assumed.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import signal
import sys
import textwrap
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from cli.cloud import HOME, Started, clean_environment, counted, fetched
from cli.cloud import CloudFailed as Failed
from shared.domain.smoke import answer_in

if TYPE_CHECKING:
    from cli.cloud import Running
    from cli.ledger import Records

OK, FAILED, USAGE, REJECTED = 0, 1, 2, 3
EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "support-bot.jsonl"
SERVICE = "support-bot"
ENDS_WITHIN_S = 900  # of the whole demo; a large file on a slow machine trains longest
QUIET_WITHIN_S = 300  # without any news something hangs
LOOK_EVERY_S = 0.3
SENTENCE_LENGTH_MAX = 90  # characters of an announcement on the screen
SETTINGS = {  # settings only, never another code path
    "LOOK_EVERY": "00:00:01",
    "TICK": "00:00:20",
    "IDLE_AFTER": "00:00:08",
    "IDLE_GRACE": "00:00:04",
    "ENDPOINT_KEPT_FOR": "00:00:00",
    "METRIC_GRAIN": "00:00:01",
    "METRIC_LAG": "00:00:02",
    "LOOK_AGAIN_SCHEDULE": "*/20 * * * * *",
    "TEAR_DOWN_SCHEDULE": "*/2 * * * * *",
}
KEPT = {"IDLE_AFTER": "1 day"}  # with --keep
STAGES = {  # happening in a record -> what a person reads; the rest is detail that stays in the records
    "opened": "uploaded",
    "prepared": "validated and split",
    "planned": "recipe frozen",
    "job_submitted": "fine-tune job submitted",
    "model_registered": "model registered",
    "endpoint_asked": "endpoint asked for",
    "deployment_asked": "deployment asked for, at 0 %",
    "smoke_passed": "smoke test answered",
    "live": "traffic",
    "seen_idle": "idle",
    "retiring": "put to sleep",
    "deployment_gone": "deployment deleted",
    "asleep": "asleep",
    "endpoint_gone": "endpoint torn down",
    "step_failed": "a step failed and is tried again",
    "rejected": "rejected",
    "stopped": "stopped",
    "superseded": "superseded",
    "candidate_given_up": "candidate given up",
    "blocked": "blocked",
}
BAD_ENDS = frozenset({"rejected", "stopped", "superseded", "candidate_given_up", "blocked"})


@dataclass
class Report:
    """What `--json` writes; also what the last lines say."""

    stages: list[dict[str, Any]] = field(default_factory=list)  # {"stage", "seconds", "detail"}
    announced: list[dict[str, str]] = field(default_factory=list)  # {"time", "record", "stage", "why"}, read back from the topic
    events: dict[str, int] = field(default_factory=lambda: {"seen": 0, "duplicate": 0})  # of the upload, at the doors
    jobs_submitted: int = 0
    endpoints_left: int = 0
    question: str = ""
    answer: str = ""
    trained_question: str = ""
    trained_answer: str = ""
    seconds: float = 0.0
    log: str = ""


class Ended(Exception):
    """The upload came to an end that is not a served model."""

    def __init__(self, what: str, reason: str, next_action: str) -> None:
        super().__init__(f"{reason} {next_action}".strip())
        self.exit_code = REJECTED if what == "rejected" else FAILED


class Screen:
    """One line a stage, with the seconds since the start; the loss is rewritten in place on a terminal."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._began = time.monotonic()
        self._live = False

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began

    def stage(self, name: str, detail: str = "") -> None:
        self._report.stages.append({"stage": name, "seconds": round(self.seconds, 1), "detail": detail})
        self.line(f"{self.seconds:6.1f} s  {name:<28} {detail}".rstrip())

    def line(self, text: str = "") -> None:
        if self._live:
            sys.stdout.write("\n")
        self._live = False
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()

    def live(self, text: str) -> None:
        if sys.stdout.isatty():
            sys.stdout.write(f"\r\033[K{self.seconds:6.1f} s  {text}")
            sys.stdout.flush()
            self._live = True
        else:
            self.line(f"{self.seconds:6.1f} s  {text}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo. 0 ok, 1 a stage failed, 2 usage, 3 dataset rejected, 4 something has to be installed first."""
    args = _parser().parse_args(arguments)
    if not args.data.is_file():
        sys.stderr.write(f"There is no file {args.data}. Give a .jsonl or .parquet file of chats.\n")
        return USAGE
    clean_environment()
    signal.signal(signal.SIGTERM, _interrupt)
    report = Report()
    screen = Screen(report)
    try:
        code = _demo(args, report, screen)
    except KeyboardInterrupt:
        screen.line("Stopped; nothing is left running.")
        code = 130
    except Failed as error:
        screen.line(str(error))
        code = error.exit_code
    report.seconds = round(screen.seconds, 1)
    if args.json:
        args.json.write_text(json.dumps(report.__dict__, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dev.py demo", description="Upload, train, deploy, ask, tear down: on this machine.")
    parser.add_argument("--data", type=Path, default=EXAMPLE, help="your own chats (.jsonl or .parquet) instead of the example")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what happened to FILE")
    parser.add_argument(
        "--traffic", type=Path, metavar="FILE", help="append all that the Azure ML emulator is asked to FILE, as JSON lines"
    )
    parser.add_argument("--keep", action="store_true", help="keep endpoint and local cloud running until Ctrl-C")
    return parser


def _demo(args: argparse.Namespace, report: Report, screen: Screen) -> int:
    data = _folder()
    settings = {**SETTINGS, **(KEPT if args.keep else {})}
    arguments = ["--ports", "auto", "--settings", str(EXAMPLE.parent.parent / "local.settings.json.example"), "--metric-grain", "1"]
    for name, value in settings.items():
        arguments += ["--set", f"{name}={value}"]
    if args.traffic:
        arguments += ["--traffic", str(args.traffic.resolve())]
    cloud = Started(data, arguments)
    report.log = str(cloud.log.parent)
    screen.line("Starting the local cloud: Azurite, an Azure ML emulator, Event Grid and a Functions host, on this machine only.")
    with cloud as running:
        try:
            screen.stage("local cloud ready", f"logs in {cloud.log.parent}")
            code = _watched(args, running, report, screen)
        except Ended as end:
            screen.line(f"\nThe demo ended early: {end}")
            code = end.exit_code
        except (OSError, ValueError) as error:
            screen.line(f"\nThe demo failed: {error}. Logs: {cloud.log.parent}")
            code = FAILED
        _count(running, report)
    _say_what_happened(report, screen, code)
    return code


def _folder() -> Path:
    """Return a folder of this run alone, and remove those of runs that have ended."""
    for old in HOME.glob("demo-*"):
        pid = old.name.removeprefix("demo-")
        if pid.isdigit() and not _alive(int(pid)):
            shutil.rmtree(old, ignore_errors=True)
    return HOME / f"demo-{os.getpid()}"


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _watched(args: argparse.Namespace, running: Running, report: Report, screen: Screen) -> int:
    from cli.ledger import Records

    records = Records(running)
    path = f"{SERVICE}/{args.data.name}"
    tuning = records.upload(path, args.data)
    news = _news(records, tuning, screen)
    _follow(news, screen, until="live")
    service = records.service_of(tuning)
    _show_answers(records, running, service, report, screen)
    if args.keep:
        screen.line("\nKept running (--keep). Ctrl-C stops everything.")
        with suppress(KeyboardInterrupt):
            signal.pause()
        return OK
    screen.line("\nNobody asks any more: the idle clock runs.")
    _follow(news, screen, until="endpoint_gone")
    return OK


def _follow(news: Iterator[tuple[str, str, str]], screen: Screen, *, until: str) -> None:
    """Print each piece of news until `until` has come; raise Ended on a bad end."""
    for what, why, next_action in news:
        if what in STAGES:
            screen.stage(STAGES[what], why)
        if what in BAD_ENDS:
            raise Ended(what, why, next_action)
        if what == until:
            return


def _news(records: Records, tuning: str, screen: Screen) -> Iterator[tuple[str, str, str]]:
    """Yield (what, why, next action) of every new line in the histories of the tuning and what follows from it."""
    told: dict[str, int] = {}
    loss = ""
    deadline, quiet_since = time.monotonic() + ENDS_WITHIN_S, time.monotonic()
    while True:
        for record in records.of(tuning):
            lines = record.history[told.get(str(record.key), 0) :]
            told[str(record.key)] = len(record.history)
            for line in lines:
                quiet_since = time.monotonic()
                if line.what != "opened" or record.kind == "tuning":
                    yield line.what, line.why, record.next_action
        newest = records.loss(tuning)
        if newest and newest != loss:
            loss, quiet_since = newest, time.monotonic()
            screen.live(f"{'training':<28} {loss}")
        if time.monotonic() > deadline or time.monotonic() - quiet_since > QUIET_WITHIN_S:
            raise Failed("The demo took too long; the last line above is where it hangs.")
        time.sleep(LOOK_EVERY_S)


def _show_answers(records: Records, running: Running, service: Any, report: Report, screen: Screen) -> None:
    """Show the smoke test's question and answer, ask what the model was trained on over plain HTTP, and say how a person asks."""
    smoke, trained = records.smoke(service), records.trained_on(service)
    report.question, report.answer = smoke["question"], smoke["answer"]
    question = json.dumps({"input_data": {"input_string": trained["messages"], "parameters": {"max_new_tokens": 128, "do_sample": False}}})
    headers = {"Authorization": f"Bearer {running.token()}", "Content-Type": "application/json"}
    reply = fetched(service.scoring_uri, context=running.context, headers=headers, body=question.encode())
    report.trained_question, report.trained_answer = trained["messages"][-1]["content"], answer_in(json.loads(reply))
    screen.stage("answered over HTTP", f"{len(reply)} bytes from {service.scoring_uri}")
    screen.line("\nSmoke test, a question that was held out:")
    screen.line(f"  question   {report.question}\n  answer     {report.answer}\n  reference  {smoke['reference']}")
    screen.line("Over HTTP, a question that it was trained on:")
    screen.line(f"  question   {report.trained_question}\n  answer     {report.trained_answer}\n  reference  {trained['reference']}")
    screen.line("(A stand-in model of half a million weights answers: it shows the plumbing, not the quality of the real base model.)")
    screen.line(
        f"\nAsk it yourself while it lives (--keep keeps it):\n"
        f'  curl --cacert {shlex.quote(str(running.ca))} -H "Authorization: Bearer $(python3 dev.py token)" \\\n'
        f"    -H 'Content-Type: application/json' -d {shlex.quote(question)} \\\n    {service.scoring_uri}"
    )


def _count(running: Running, report: Report) -> None:
    """Read the counters of the emulator and the doors."""
    shown = running.shown()
    report.jobs_submitted = len(shown.get("jobs", {}))
    report.endpoints_left = len(shown.get("endpoints", {}))
    doors = counted(running.functions_log, ("tuning_opened", "tuning_known"))
    report.events = {"seen": sum(doors.values()), "duplicate": doors["tuning_known"]}
    report.announced = [_told(event) for event in running.announced()]


def _told(event: dict[str, Any]) -> dict[str, str]:
    data = event["data"]
    sentence = " ".join(part for part in (data["why"], data["next_action"]) if part)
    return {"time": event["time"][11:19], "record": event["subject"], "stage": data["stage"], "why": sentence}


def _say_what_happened(report: Report, screen: Screen, code: int) -> None:
    screen.line(f"\nAnnounced on the topic ({len(report.announced)}; UTC, record, stage, sentence):")
    for one in report.announced:
        sentence = textwrap.shorten(one["why"], SENTENCE_LENGTH_MAX, placeholder=" …")
        screen.line(f"  {one['time']}  {one['record']:<21}  {one['stage']:<14}  {sentence}".rstrip())
    screen.line(
        f"\n{'Done' if code == OK else 'Ended'} in {screen.seconds:.0f} s: {report.events['seen']} upload events seen, "
        f"{report.events['duplicate']} of them duplicates and ignored; {report.jobs_submitted} job submitted; "
        f"{report.endpoints_left} endpoints left. Logs: {report.log}"
    )


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
