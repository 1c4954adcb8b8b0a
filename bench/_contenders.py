"""
What `bench.prepare` measures: each contender is a function from a file and an empty folder, run in a process of its own.

    python -m bench._contenders NAME FILE FOLDER      prints {"wall": s, "cpu": s, "rss_mb": n, "said": {...}}

Imports are done before the clock starts, and their memory counts. CPU is of the process and the children that it waited for. Memory is
the most that the process had resident at once (VmHWM where the system tells, since ru_maxrss would remember the parent).
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

Said = dict[str, Any]
Work = Callable[[Path, Path], Said]
TOKENIZER: Final = Path(__file__).resolve().parent.parent / "localcloud" / "trainer" / "base" / "tokenizer.json"


# ------------------------------------------------------------------------------------------------------------- the floor


def floor() -> Work:
    """orjson parses the same lines and nothing else happens."""
    from bench import _packages

    loads = _packages.imported("orjson").loads

    def work(file: Path, _out: Path) -> Said:
        rows = 0
        with file.open("rb") as lines:
            for line in lines:
                loads(line)
                rows += 1
        return {"rows": rows}

    return work


# ---------------------------------------------------------------------------------------------------------------- ours


def shipped() -> Work:
    """What the command line runs: every rule, three files, report and manifest."""
    from bench import _ladder

    return _ladder.shipped


def whole() -> Work:
    """Every rule of the hot loop, written out."""
    return rung("")


def reference() -> Work:
    """The rules of the reference set of the data facts, written out."""
    from bench import _ladder

    return _ladder.loop(_ladder.REFERENCE)


def reference_hashed() -> Work:
    """The same and the SHA-256 of the files, which the data facts do not name and a manifest needs."""
    from bench import _ladder

    return _ladder.loop(_ladder.REFERENCE | {"sha256"})


def rung(rule: str) -> Work:
    """The loop with all rules up to this one; all of them for the empty name."""
    from bench import _ladder

    return _ladder.loop(_ladder.up_to(rule))


# -------------------------------------------------------------------------------------------- what people would do instead


def seed_way() -> Work:
    """`datasets` loads, splits and writes: what the page that this project began with does. Nothing is checked."""
    return _with_datasets(checked=False)


def seed_way_checked() -> Work:
    """The same with a filter that looks at each row: roles, turns, empty texts. It drops silently, and ends at the first bad line."""
    return _with_datasets(checked=True)


def _with_datasets(*, checked: bool) -> Work:
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()

    def work(file: Path, out: Path) -> Said:
        rows = Dataset.from_json(str(file), cache_dir=str(out / "cache"))
        if checked:
            rows = rows.filter(_is_conversation)
        halves = rows.train_test_split(test_size=0.1, seed=42)
        for side in ("train", "test"):
            halves[side].to_json(str(out / f"{side}.jsonl"), lines=True)
        return {"rows": len(rows)}

    return work


def _is_conversation(row: dict[str, Any]) -> bool:
    messages = row["messages"]
    turns = messages[1:] if messages and messages[0]["role"] == "system" else messages
    if len(turns) < 2 or len(turns) % 2:
        return False
    if any(turn["role"] != ("user", "assistant")[at % 2] for at, turn in enumerate(turns)):
        return False
    return all(message["content"] and message["content"].strip() for message in messages)


def pandas_way() -> Work:
    """pandas reads the file at once, draws a tenth and writes two files. Nothing is checked."""
    import pandas

    def work(file: Path, out: Path) -> Said:
        rows = pandas.read_json(file, lines=True)
        test = rows.sample(frac=0.1, random_state=42)
        rows.drop(test.index).to_json(out / "train.jsonl", orient="records", lines=True)
        test.to_json(out / "test.jsonl", orient="records", lines=True)
        return {"rows": len(rows)}

    return work


def cookbook_way() -> Work:
    """With a quarter of the characters where they call a tokenizer."""
    return _cookbook(lambda text: len(text) // 4)


def cookbook_counted() -> Work:
    """With a tokenizer, as theirs have; this one's vocabulary is the stand-in model's."""
    from tokenizers import Tokenizer

    encode = Tokenizer.from_file(str(TOKENIZER)).encode
    return _cookbook(lambda text: len(encode(text, add_special_tokens=False).ids))


def _cookbook(count: Callable[[str], int]) -> Work:
    """
    All lines into a list; then, one loop after the other: formats, token counts, answers' token counts, distributions, what an epoch bills:
    the validation that public cookbooks teach. Writes nothing.
    """

    def work(file: Path, _out: Path) -> Said:
        with file.open(encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        faults = _cookbook_faults(rows)
        without_system = without_user = 0
        message_counts, lengths, answer_lengths = [], [], []
        for row in rows:
            messages = row["messages"]
            if not any(message["role"] == "system" for message in messages):
                without_system += 1
            if not any(message["role"] == "user" for message in messages):
                without_user += 1
            message_counts.append(len(messages))
            lengths.append(_cookbook_tokens(messages, count))
            answer_lengths.append(sum(count(message["content"]) for message in messages if message["role"] == "assistant"))
        distributions = [_distribution(values) for values in (message_counts, lengths, answer_lengths)]
        too_long = sum(length > 4096 for length in lengths)
        billed = sum(min(4096, length) for length in lengths)
        return {"rows": len(rows), "faults": faults, "without": [without_system, without_user], "too_long": too_long, "billed": billed} | {
            "distributions": distributions
        }

    return work


def _cookbook_tokens(messages: list[dict[str, str]], count: Callable[[str], int]) -> int:
    tokens = 3
    for message in messages:
        tokens += 3
        for key, value in message.items():
            tokens += count(value)
            if key == "name":
                tokens += 1
    return tokens


def _distribution(values: list[int]) -> list[float]:
    ordered = sorted(values)
    at = [ordered[int(share * (len(ordered) - 1))] for share in (0.0, 0.05, 0.5, 0.95, 1.0)]
    return [*at, sum(ordered) / len(ordered)]


def _cookbook_faults(rows: list[Any]) -> dict[str, int]:
    faults: dict[str, int] = {}

    def found(name: str) -> None:
        faults[name] = faults.get(name, 0) + 1

    for row in rows:
        if not isinstance(row, dict):
            found("row is no object")
            continue
        messages = row.get("messages")
        if not messages:
            found("no messages")
            continue
        for message in messages:
            if "role" not in message or "content" not in message:
                found("key missing")
            if any(key not in {"role", "content", "name", "function_call", "weight"} for key in message):
                found("key unknown")
            if message.get("role") not in {"system", "user", "assistant", "function"}:
                found("role unknown")
            content = message.get("content")
            if not content or not isinstance(content, str):
                found("content missing")
        if not any(message.get("role") == "assistant" for message in messages):
            found("no answer")
    return faults


CONTENDERS: Final[dict[str, Callable[[], Work]]] = {
    "floor": floor,
    "shipped": shipped,
    "whole": whole,
    "reference": reference,
    "reference_hashed": reference_hashed,
    "seed_way": seed_way,
    "seed_way_checked": seed_way_checked,
    "pandas_way": pandas_way,
    "cookbook_way": cookbook_way,
    "cookbook_counted": cookbook_counted,
}


def memory_mb() -> float:
    """The most that this process had in memory, in millions of bytes."""
    try:
        text = Path("/proc/self/status").read_text()
        return int(text.split("VmHWM:")[1].split()[0]) * 1024 / 1e6
    except (OSError, IndexError):
        unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB elsewhere
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def main() -> None:
    name, file, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    kind, _, argument = name.partition(":")
    work = rung(argument) if kind == "rung" else CONTENDERS[kind]()
    cpu, wall = cpu_seconds(), time.perf_counter()
    said = work(file, out)
    wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
    sys.stdout.write(json.dumps({"wall": wall, "cpu": cpu, "rss_mb": memory_mb(), "said": said}) + "\n")


def cpu_seconds() -> float:
    """Of this process since it began, and of the children that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


if __name__ == "__main__":
    main()
