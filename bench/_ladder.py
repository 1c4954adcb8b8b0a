"""
The hot loop of preparation, rule by rule, so that the cost of each can be seen.

The loop in shared/prepare/preparation.py has no switches, and a call for each rule would cost more than most rules do. So it is written
out here once more, from the functions that are shipped, as text in which each line belongs to a rule; the lines of the wanted rules are
compiled. The bench holds the loop with all rules against the shipped one: same rows, same files. What it leaves out is what a good row
never meets: its input is the generator's, and a row that any rule refuses is only counted.
"""

from __future__ import annotations

import contextlib
import hashlib
import textwrap
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import xxhash

from shared.domain import conversation
from shared.prepare import Options, Prepared, outputs, prepare, rows, source_of_file, split, tokens
from shared.prepare import lines as prepare_lines
from shared.prepare import page as _page  # noqa: F401  # comes with the first report; here with the other imports, before the clock starts
from shared.prepare.folder import FolderPlace
from shared.prepare.keys import KeySet
from shared.prepare.report import Measures

# Rule → what it is. In the order of the ladder: each needs what stands above it.
RULES: Final = {
    "lines": "lines cut, none above 4 MiB",
    "crlf": "carriage returns counted",
    "json": "strict JSON in UTF-8: types, keys, roles",
    "turns": "turns alternate, system first, ends with assistant",
    "empty": "no text empty or blank",
    "nul": "no NUL in a text",
    "canonical": "written canonically",
    "markers": "no marker of a chat template",
    "keys": "no key twice",
    "context": "first answer within the context",
    "content": "no conversation twice",
    "id": "no id twice",
    "split": "side from the normalised prompt",
    "prompt": "near-duplicates of prompts",
    "measures": "lengths and roles counted",
    "files": "three files written",
    "sha256": "their SHA-256",
}
REFERENCE: Final = frozenset(RULES) - {"crlf", "nul", "markers", "keys", "context", "prompt", "measures", "sha256"}

# (rule or None, line); {empty} and {nul} are parts of one condition.
_LOOP: Final = """
lines      | for number, line in numbered_lines(chunks(file), bytes_max=options.line_bytes_max):
lines      |     if line is None:
lines      |         continue
crlf       |     if line[-1:] == b"\\r":
crlf       |         carriage_returns += 1
json       |     try:
json       |         row = decode(line)
json       |     except (MsgspecError, UnicodeError, RecursionError):
json       |         continue
json       |     messages = row.messages
turns      |     roles = tuple([message.role for message in messages])
turns      |     if roles not in taking_turns:
turns      |         if not take_turns(roles):
turns      |             continue
turns      |         taking_turns.add(roles)
empty      |     refused = False
empty      |     for message in messages:
empty      |         content = message.content
empty !nul |         if not content or content.isspace():
nul        |         if not content or content.isspace() or "\\0" in content:
empty      |             refused = True
empty      |     if refused:
empty      |         continue
canonical  |     encode_into(Written(messages), written)
markers    |     if b"|" in written and b"<|" in written:
markers    |         continue
keys       |     if not names_each_key_once(line, row, roles):
keys       |         continue
context    |     if len(written) > surely_within and answers_late(row):
context    |         continue
split      |     key = hashed(normalised_prompt(row.first_user_message) + salt)
content    |     if not is_new_content(hashed(written)):
content    |         continue
prompt     |     if not is_new_prompt(key):
prompt     |         pass
id         |     if row.prompt_id is not UNSET and not is_new_id(hashed(row.prompt_id.encode())):
id         |         pass
measures   |     measure(len(written), roles)
files      |     add(written, key, None, may_be_first=True)
lines      |     taken += 1
"""


def up_to(rule: str) -> frozenset[str]:
    """The rules of the ladder up to this one; all of them for the empty name."""
    names = list(RULES)
    return frozenset(names[: names.index(rule) + 1] if rule else names)


def source(rules: Collection[str]) -> str:
    """The loop with these rules, as text."""
    kept = []
    for entry in _LOOP.strip().splitlines():
        condition, _, code = entry.partition("| ")
        needed, *excluded = condition.split()
        if needed in rules and not any(rule[1:] in rules for rule in excluded):
            kept.append(code)
    body = textwrap.indent("\n".join(["taken = carriage_returns = 0", *kept, "return taken"]), "    ")
    return f"def run(file, {', '.join(_names(Options(), None))}):\n{body}\n"


def loop(rules: Collection[str]) -> Callable[[Path, Path], dict[str, Any]]:
    """The loop with these rules, as a contender."""
    compiled: dict[str, Any] = {}
    exec(source(rules), compiled)  # noqa: S102  # the text above

    def work(file: Path, out: Path) -> dict[str, Any]:
        options = Options()
        with contextlib.nullcontext() if "sha256" in rules else _no_sha256():
            sides = outputs.Sides(FolderPlace(out), options, given=(), side_of=None)
        taken = compiled["run"](file, **_names(options, sides))
        if "files" not in rules:
            sides.abandon()
            return {"rows": taken}
        if sides.better_cut():
            raise ValueError("the cut is lopsided: make the file larger")
        files, _samples = sides.finished()
        sides.commit()
        return {"rows": taken, "sha256": {side: made.sha256 for side, made in files.items()}}

    return work


def _names(options: Options, sides: outputs.Sides | None) -> dict[str, Any]:
    """What the loop calls, under the names that it has there."""
    surely_within = tokens.bytes_surely_within(options.context_tokens)
    reader = rows.Reader(options.repairs)
    return {
        "options": options,
        "numbered_lines": prepare_lines.numbered_lines,
        "chunks": _chunks,
        "decode": rows._decode,
        "MsgspecError": msgspec.MsgspecError,
        "taking_turns": set(),
        "take_turns": conversation.take_turns,
        "encode_into": reader._encode_into,
        "Written": rows._Written,
        "written": reader.written,
        "names_each_key_once": reader._names_each_key_once,
        "surely_within": surely_within,
        "answers_late": lambda row: _bytes_before_answer(row) > surely_within,
        "hashed": xxhash.xxh3_64_intdigest,
        "normalised_prompt": conversation.normalised_prompt,
        "salt": split.salt_bytes(options.salt),
        "is_new_content": KeySet().add,
        "is_new_prompt": KeySet().add,
        "is_new_id": KeySet().add,
        "UNSET": msgspec.UNSET,
        "measure": Measures().add,
        "add": sides.add if sides is not None else None,
    }


def _chunks(file: Path) -> Iterator[bytes]:
    return source_of_file(file).chunks()


def _bytes_before_answer(row: rows.Row) -> int:
    before = 0
    for message in row.messages:
        if message.role == "assistant":
            break
        before += len(message.content.encode())
    return before


class _NoHash:
    def update(self, _block: bytes) -> None:
        pass

    def hexdigest(self) -> str:
        return ""


@contextlib.contextmanager
def _no_sha256() -> Iterator[None]:
    """Files that are begun in this context have no hash. (unittest.mock would bring asyncio, and 9 MB.)"""
    real = hashlib.sha256
    hashlib.sha256 = _NoHash  # type: ignore[assignment]
    try:
        yield
    finally:
        hashlib.sha256 = real


def shipped(file: Path, out: Path) -> dict[str, Any]:
    """The preparation as it is shipped, into a folder."""
    outcome = prepare([source_of_file(file)], FolderPlace(out), options=Options(), workdir=out)
    if not isinstance(outcome, Prepared):
        raise TypeError(outcome.sentence)
    return {"rows": outcome.report["rows"], "sha256": {side: made.sha256 for side, made in outcome.files.items()}}
