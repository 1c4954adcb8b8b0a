"""
Checks a data set on this machine before anything is uploaded: python -m shared.prepare chats.jsonl --out prepared

Exit codes: 0 accepted, 3 rejected, 2 wrong call.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from shared import prepare

ACCEPTED: Final = 0
WRONG_CALL: Final = 2
REJECTED: Final = 3


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m shared.prepare", description="Check a chat data set and split it.")
    parser.add_argument("file", type=Path, help="a .jsonl or .parquet file of chats")
    parser.add_argument("--out", type=Path, required=True, help="folder for train, validation and test files and the report")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--salt", default="", help="another text holds out other prompts")
    asked = parser.parse_args(arguments)
    if not asked.file.is_file():
        parser.error(f"{asked.file} is no file")

    options = prepare.Options(salt=asked.salt)
    show = _show if sys.stderr.isatty() else _hide
    outcome = prepare.prepare(prepare.source_of_file(asked.file), workdir=asked.out, options=options, progress=show)
    _write(asked.out, outcome, options)
    sys.stdout.write(f"{_as_json(outcome.report)}\n" if asked.json else _summary(outcome, asked.out))
    return ACCEPTED if isinstance(outcome, prepare.Prepared) else REJECTED


def _write(folder: Path, outcome: prepare.Prepared | prepare.Refused, options: prepare.Options) -> None:
    (folder / "report.json").write_text(_as_json(outcome.report) + "\n", encoding="utf-8")
    manifest = folder / "manifest.json"
    if isinstance(outcome, prepare.Prepared):
        manifest.write_text(_as_json(prepare.manifest(outcome, options)) + "\n", encoding="utf-8")
    else:
        manifest.unlink(missing_ok=True)  # of an earlier, accepted file


def _as_json(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _summary(outcome: prepare.Prepared | prepare.Refused, folder: Path) -> str:
    faults = outcome.report["faults"]
    if isinstance(outcome, prepare.Refused):
        others = [fault["sentence"] for code, fault in faults.items() if code != outcome.code]
        return "\n".join([f"Rejected. {outcome.sentence}", *others, ""])
    counts = ", ".join(f"{file.rows:,} {side}" for side, file in outcome.files.items())
    first = f"Accepted {outcome.report['accepted']:,} of {outcome.report['rows']:,} rows: {counts}, in {folder}."
    return "\n".join([first, *(fault["sentence"] for fault in faults.values()), ""])


def _show(progress: prepare.Progress) -> None:
    done = progress.bytes_read >= progress.bytes_total
    sys.stderr.write(f"\r{progress.bytes_read / progress.bytes_total:4.0%}  {progress.rows:,} rows" + ("\n" if done else ""))
    sys.stderr.flush()


def _hide(_progress: prepare.Progress) -> None:
    pass


if __name__ == "__main__":
    sys.exit(main())
