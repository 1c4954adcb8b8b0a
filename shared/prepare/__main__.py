"""
Checks and splits a dataset on this machine, by the rules and the code of the app: python -m shared.prepare chats.jsonl --out prepared

Exit codes: 0 accepted, 3 rejected, 2 wrong call; 1 when the machine failed, as with a full disk: then nothing is known of the dataset.
With --order 0 is "outcome.json says it", accepted or not.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from shared import errors, prepare
from shared.domain import conversation
from shared.domain.members import WrongSet
from shared.domain.upload import MEMBERS_FOLDER
from shared.place import MANIFEST
from shared.plain import plain
from shared.prepare import ordered
from shared.prepare.folder import FolderPlace
from shared.prepare.outputs import QUARANTINE
from shared.prepare.preparation import PAGE

ACCEPTED: Final = 0
FAILED: Final = 1
REJECTED: Final = 3
INTERRUPTED: Final = 130  # of a shell: 128 and the number of the signal
RESULTS: Final = (*(f"{side}.jsonl" for side in prepare.SIDES), QUARANTINE, prepare.REPORT, PAGE, prepare.SAMPLES, MANIFEST)
PROGRESS_EVERY_S: Final = 0.1
BAR_WIDTH: Final = 30


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m shared.prepare",
        description="Check a chat dataset and split it into training, validation and test files. Exit code 0: accepted, 3: rejected.",
    )
    parser.add_argument(
        "files",
        metavar="FILE",
        type=Path,
        nargs="+",
        help="files of one dataset: .jsonl, .json, .csv, .tsv (each also .gz), .parquet, .arrow; or the _dataset.json of a set",
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, required=True, help="for the three files, report.html and the manifest")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of sentences")
    parser.add_argument("--settings", metavar="FILE", type=Path, help="a JSON object of options; docs/preparing.md names them")
    parser.add_argument(
        "--tokenizer", metavar="FILE", type=Path, help="tokenizer.json of the model: tokens are counted instead of estimated"
    )
    parser.add_argument(
        "--order", metavar="FILE", type=Path, help="what the app orders of a job: names and versions of the uploads, options"
    )
    asked = parser.parse_args(arguments)
    for file in asked.files:
        if not file.is_file():
            parser.error(f"{file} is no file")
        if file.name == prepare.SET_FILE and len(asked.files) > 1:
            parser.error(f"{file} names all files of its dataset; give no other")
    if asked.order:
        return _carry_out(parser, asked.order, asked.files, asked.out)
    try:
        options = prepare.options_of(json.loads(asked.settings.read_bytes())) if asked.settings else prepare.Options()
    except (OSError, ValueError, RecursionError) as wrong:
        parser.error(plain(f"{asked.settings}: {wrong}"))
    if asked.tokenizer and not asked.tokenizer.is_file():
        parser.error(f"{asked.tokenizer} is no file")
    try:
        asked.out.mkdir(parents=True, exist_ok=True)
        lost = next((file for file in asked.files if _would_be_lost(file, asked.out)), None)
    except OSError as wrong:
        parser.error(f"--out: {wrong}")
    if lost:
        parser.error(f"{lost} lies where the results would be written; give --out another folder")
    return _run(asked.files, asked.out, options, asked.tokenizer, as_json=asked.json)


def _would_be_lost(file: Path, out: Path) -> bool:
    """Whether a result may take the place of this file, or of one that the set names."""
    if file.name == prepare.SET_FILE and out.resolve().is_relative_to(file.with_name(MEMBERS_FOLDER).resolve()):
        return True
    return any(place.exists() and place.samefile(file) for place in (out / name for name in RESULTS))


def _run(files: Sequence[Path], out: Path, options: prepare.Options, tokenizer: Path | None, *, as_json: bool) -> int:
    started = time.monotonic()
    show = _bar(started) if sys.stderr.isatty() else _hide
    # A manifest tells that such files are of an earlier preparation; any others are not ours to remove.
    earlier = (*(f"{side}.jsonl" for side in prepare.SIDES), prepare.SAMPLES) if (out / MANIFEST).exists() else ()
    try:
        (out / MANIFEST).unlink(missing_ok=True)  # until the end, nothing here is published
        counts = prepare.source_of_file(tokenizer) if tokenizer else None
        with (
            tempfile.TemporaryDirectory(prefix="tuneloop-") as workdir,
            prepare.read_tokenizer(counts, Path(workdir), options.unpack) as counting,
        ):
            outcome: prepare.Prepared | prepare.Refused = prepare.prepare(
                _sources(files),
                FolderPlace(out),
                options=options,
                workdir=Path(workdir),
                tokenizer=counting,
                progress=show,
            )
    except WrongSet as wrong:
        outcome = prepare.refused(conversation.about_set(wrong.what, wrong.remedy), FolderPlace(out), options=options)
    except prepare.BadTokenizer as wrong:
        outcome = prepare.refused(conversation.about_tokenizer(str(wrong)), FolderPlace(out), options=options)
    except (OSError, errors.Stop) as failed:
        sys.stderr.write(f"{failed}\n")
        return FAILED
    if isinstance(outcome, prepare.Refused):
        for name in earlier:
            (out / name).unlink(missing_ok=True)
    seconds = time.monotonic() - started
    if not _said(json.dumps(_facts(outcome, seconds)) + "\n" if as_json else _summary(outcome, out, seconds)):
        return FAILED
    return ACCEPTED if isinstance(outcome, prepare.Prepared) else REJECTED


def _said(text: str) -> bool:
    """Write to the standard output; False if it takes no more, which a pipe does whose reader has gone."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # not every terminal has every character
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as failed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try again at its end, and complain
        sys.stderr.write(f"{failed}\n")
        return False
    return True


def _sources(files: Sequence[Path]) -> list[prepare.Source]:
    if files[0].name == prepare.SET_FILE:
        return prepare.sources_of_set(files[0])
    called = Counter(file.name for file in files)
    return [prepare.source_of_file(file, name=str(file) if called[file.name] > 1 else "") for file in files]


def _carry_out(parser: argparse.ArgumentParser, order: Path, files: Sequence[Path], out: Path) -> int:
    started = time.monotonic()
    try:
        asked = ordered.read_order(json.loads(order.read_bytes()))
    except (OSError, ValueError, RecursionError) as wrong:
        parser.error(plain(f"{order}: {wrong}"))
    try:
        with tempfile.TemporaryDirectory(prefix="tuneloop-") as workdir:
            outcome = ordered.carry_out(asked, files, out, workdir=Path(workdir), progress=_hide)
    except (OSError, errors.Stop) as failed:
        sys.stderr.write(f"{failed}\n")
        return FAILED
    return ACCEPTED if _said(json.dumps(_facts(outcome, time.monotonic() - started)) + "\n") else FAILED


def _facts(outcome: prepare.Prepared | prepare.Refused, seconds: float) -> dict[str, Any]:
    report = outcome.report
    return {
        "verdict": report["verdict"],
        "sentence": report["sentence"],
        "rows": report["rows"],
        "accepted": report["accepted"],
        "bad": report["bad"],
        "codes": {
            code: {"severity": found["severity"], "count": found["count"], "first_lines": found["first_lines"], "first": _places(found)}
            for code, found in report["codes"].items()
        },
        "splits": report["splits"],
        "content_sha256": outcome.content_sha256 if isinstance(outcome, prepare.Prepared) else None,
        "seconds": round(seconds, 3),
        "peak_mb": _peak_mb(),
    }


def _places(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"file": place["file"], "line": place["line"]} for place in found["first"]]


def _peak_mb() -> float | None:
    """The most memory that this process or a child of it held at once, MB of 10^6 bytes; None where it cannot be told."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes of ru_maxrss (getrusage(2))
    own = _peak_of_linux() or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return round(max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * unit) / 1e6, 1)


def _peak_of_linux() -> int | None:
    """Bytes. There getrusage also counts what the program had that started this one (execve keeps the maximum of the process)."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    found = re.search(r"^VmHWM:\s*(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) * 1024 if found else None


def _summary(outcome: prepare.Prepared | prepare.Refused, folder: Path, seconds: float) -> str:
    report = outcome.report
    first = f"{'Accepted' if report['verdict'] == 'accepted' else 'Rejected'}. {report['sentence']}"
    others = [
        f"  {found['severity']:8}  {found['sentence']}" for found in report["codes"].values() if found["sentence"] != report["sentence"]
    ]
    return "\n".join([first, *others, f"{report['rows']:,} rows in {seconds:.1f} s. Read {folder / 'report.html'}.", ""])


def _bar(started: float) -> Callable[[prepare.Progress], None]:
    told = 0.0

    def show(progress: prepare.Progress) -> None:
        nonlocal told
        now = time.monotonic()
        done = progress.bytes_read >= progress.bytes_total
        if now - told < PROGRESS_EVERY_S and not done:
            return
        told = now
        share = progress.bytes_read / max(progress.bytes_total, 1)
        bar = "#" * int(share * BAR_WIDTH)
        speed = progress.bytes_read / 1e6 / max(now - started, 1e-3)
        sys.stderr.write(f"\r[{bar:.<{BAR_WIDTH}}] {share:4.0%}  {progress.rows:,} rows  {speed:,.0f} MB/s " + ("\n" if done else ""))
        sys.stderr.flush()

    return show


def _hide(_progress: prepare.Progress) -> None:
    pass


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
