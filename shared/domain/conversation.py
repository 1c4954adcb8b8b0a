"""
A row is one conversation that a model can learn from, or it has exactly one fault with a sentence for its owner.

The rules are those of Azure ML's chat completion pipeline plus what its template, its loss mask and its scoring silently
need: text only, roles take turns, the last word is the assistant's. A rule is checked before a job is paid for, because the
pipeline fails late and without a line number, or drops the row without a word. No sentence here quotes the dataset.

Bytes, encodings and files are not here: this module sees values that a strict JSON parser or a parquet reader returned.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from shared.plain import plain

RULES_VERSION: Final = 2  # raise it when a rule changes what is accepted or what is written: the same upload is then prepared anew

# Unicode's White_Space and the separators U+001C to U+001F, spelt out: Python's own tables follow its Unicode version.
BLANKS: Final = (
    "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680" + "".join(map(chr, range(0x2000, 0x200B))) + "\u2028\u2029\u202f\u205f\u3000"
)
NUL: Final = "\0"
ROLES: Final = ("system", "user", "assistant")  # exact case; tool calls need their own template support and are not taken yet
DEPTH_MAX: Final = 8  # levels of [] and {}; a chat row needs 3 (row, list, message)
NAME_CHARACTERS_MAX: Final = 200  # of a file, in a sentence
LINES_NAMED_MAX: Final = 3  # in one sentence; the report names more
MARKER_START: Final = "<|"  # every marker below begins so: one fast search rules them all out
MARKER_END: Final = "|>"
MARKERS: Final = (  # text that a chat template takes for the border of a turn: it would shift the loss mask
    *("<|user|>", "<|assistant|>", "<|system|>", "<|end|>", "<|endoftext|>"),  # Phi-3
    *("<|im_start|>", "<|im_sep|>", "<|im_end|>"),  # Phi-4, ChatML
    *("<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|end_of_text|>"),  # Llama 3
)


class Code(StrEnum):
    """One kind of fault; the values are stored in reports, so they never change their spelling."""

    # of a line or row
    BAD_JSON = "bad_json"
    BAD_UTF8 = "bad_utf8"
    BAD_SURROGATE = "bad_surrogate"
    TOO_LONG = "too_long"
    TOO_DEEP = "too_deep"
    DUPLICATE_KEY = "duplicate_key"
    BAD_TYPE = "bad_type"
    MISSING_FIELD = "missing_field"
    EMPTY_MESSAGES = "empty_messages"
    BAD_ROLE = "bad_role"
    EMPTY_CONTENT = "empty_content"
    BAD_ALTERNATION = "bad_alternation"
    TEMPLATE_MARKERS = "template_markers"
    BAD_NUL = "bad_nul"
    NUL = "nul"  # the same, repaired
    TRAILING_USER = "trailing_user"  # a bad_alternation, repaired
    BEYOND_CONTEXT = "beyond_context"
    NEAR_CONTEXT = "near_context"
    DUP_CONTENT = "dup_content"
    DUP_ID = "dup_id"
    DUP_PROMPT = "dup_prompt"
    PROMPT_LEAKS = "prompt_leaks"
    UNKNOWN_KEY = "unknown_key"
    TOOLS = "tools"
    BYTE_ORDER_MARK = "byte_order_mark"
    CRLF = "crlf"
    BLANK_LINE = "blank_line"
    # of the whole file
    EMPTY_FILE = "empty_file"
    WRONG_SUFFIX = "wrong_suffix"
    NOT_JSONL = "not_jsonl"
    TOO_LARGE = "too_large"
    TOO_FEW_ROWS = "too_few_rows"
    TOO_FEW_PROMPTS = "too_few_prompts"
    BAD_SET = "bad_set"
    BAD_TOKENIZER = "bad_tokenizer"


class Severity(StrEnum):
    """What a kind of fault does."""

    FATAL = "fatal"  # the file is rejected
    DROPPED = "dropped"  # the row is left out, and lies in quarantine.jsonl
    REPAIRED = "repaired"  # the row is used after a change that the report names
    NOTED = "noted"  # the row is used as it is


_BESIDE_THE_ROWS: Final = (Code.BAD_SET, Code.BAD_TOKENIZER)
_SEVERITY: Final = {
    **dict.fromkeys((Code.TRAILING_USER, Code.NUL, Code.BYTE_ORDER_MARK, Code.CRLF, Code.BLANK_LINE), Severity.REPAIRED),
    **dict.fromkeys((Code.DUP_ID, Code.DUP_PROMPT, Code.UNKNOWN_KEY, Code.TOOLS, Code.NEAR_CONTEXT), Severity.NOTED),
    **dict.fromkeys(
        (
            Code.EMPTY_FILE,
            Code.WRONG_SUFFIX,
            Code.NOT_JSONL,
            Code.TOO_LARGE,
            Code.TOO_FEW_ROWS,
            Code.TOO_FEW_PROMPTS,
            Code.BAD_SET,
            Code.BAD_TOKENIZER,
        ),
        Severity.FATAL,
    ),
}
_NO_ONES_FAULT: Final = frozenset({Code.BEYOND_CONTEXT, Code.DUP_CONTENT, Code.PROMPT_LEAKS})


def severity(code: Code) -> Severity:
    """
    Duplicates are dropped rather than kept: the owner loses nothing, while one kept copy in the test file looks like a
    perfect model. A repeated id with another text is two conversations: both stay.
    """
    return _SEVERITY.get(code, Severity.DROPPED)


def is_bad(code: Code) -> bool:
    """Whether a row with this code counts towards the share of bad rows that rejects a file: it is dropped, and it is a mistake."""
    return severity(code) is Severity.DROPPED and code not in _NO_ONES_FAULT


# ------------------------------------------------------------------------------------------------------- the rules of a row


def fault_in(row: object) -> Code | None:
    """
    The first fault of one decoded row, None when it is a conversation. Unknown keys are no fault; an id or a prompt may be
    absent, because training reads `messages` alone, but what is there has to be text.
    """
    if not isinstance(row, dict):
        return Code.BAD_TYPE
    if "messages" not in row:
        return Code.MISSING_FIELD
    messages = row["messages"]
    if not isinstance(messages, list) or not isinstance(row.get("prompt", ""), str) or not isinstance(row.get("prompt_id", ""), str):
        return Code.BAD_TYPE
    if not messages:
        return Code.EMPTY_MESSAGES
    for message in messages:
        if fault := _fault_in_message(message):
            return fault
    return fault_in_turns([m["role"] for m in messages], [m["content"] for m in messages])


def _fault_in_message(message: object) -> Code | None:
    if not isinstance(message, dict):
        return Code.BAD_TYPE
    if "role" not in message or "content" not in message:
        return Code.MISSING_FIELD
    if not isinstance(message["role"], str) or not isinstance(message["content"], str):
        return Code.BAD_TYPE
    return None if message["role"] in ROLES else Code.BAD_ROLE


def fault_in_turns(roles: Sequence[str], contents: Sequence[str]) -> Code | None:
    """The faults that remain possible once every role is known and every content is text."""
    for content in contents:
        if is_empty(content):
            return Code.EMPTY_CONTENT
    if not take_turns(roles):
        return Code.BAD_ALTERNATION
    for content in contents:
        if has_marker(content):
            return Code.TEMPLATE_MARKERS
    for content in contents:
        if NUL in content:
            return Code.BAD_NUL
    return None


def is_empty(content: str) -> bool:
    """Blank in the sense of Unicode: also U+00A0 and U+3000. Zero-width characters count as text."""
    return not content.strip(BLANKS)


def take_turns(roles: Sequence[str]) -> bool:
    """user, assistant, user, assistant, … after at most one system message that stands first."""
    turns = roles[1:] if roles and roles[0] == "system" else roles
    if len(turns) < 2 or len(turns) % 2:
        return False
    return set(turns[::2]) == {"user"} and set(turns[1::2]) == {"assistant"}


_MARKER: Final = re.compile("|".join(map(re.escape, MARKERS)))  # one search: a text of nothing but beginnings makes a search for each slow


def has_marker(content: str) -> bool:
    return MARKER_START in content and MARKER_END in content and _MARKER.search(content) is not None


_FOLD: Final = bytes(byte + 32 if 65 <= byte <= 90 else byte for byte in range(256))  # A-Z to a-z
_PUNCTUATION: Final = bytes(byte for byte in range(128) if not chr(byte).isalnum())


def normalised_prompt(first_user_message: str) -> bytes:
    """
    What two prompts have in common when they differ in ASCII case, spacing or punctuation only: such twins have to stay on
    one side of the split. Bytes and not `casefold()`: Unicode tables differ between versions of Python, the split must not.
    """
    raw = first_user_message.encode()
    return raw.translate(_FOLD, _PUNCTUATION) or raw  # "???" has nothing left: it is its own prompt


# ------------------------------------------------------------------------------------------------------- the sentences


@dataclass(frozen=True, kw_only=True, slots=True)
class Complaint:
    """What an owner reads about one kind of fault."""

    code: StrEnum  # Code, or formats.FormatFault for a whole file
    what: str  # a clause: "lines 3 and 8 have an empty message"
    remedy: str  # an order: "write something or leave the row out"
    count: int = 1  # rows that have it; 1 for a fault of the whole file
    first_lines: tuple[int, ...] = ()  # 1-based; empty for a fault of the whole file

    @property
    def sentence(self) -> str:
        return f"{_capitalised(self.what)}; {self.remedy}."


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """The numbers that sentences name."""

    line_bytes_max: int  # bytes of one row as it stands in the file
    context_tokens: int  # tokens that the model reads of a row


@dataclass(frozen=True, kw_only=True, slots=True)
class _Wording:
    one: str  # continues "line 3 …"
    many: str  # continues "lines 3 and 8 …"
    remedy: Callable[[Limits], str]


def _says(one: str, many: str, remedy: str | Callable[[Limits], str]) -> _Wording:
    return _Wording(one=one, many=many, remedy=remedy if callable(remedy) else lambda _limits: remedy)


_WORDING: Final = {
    Code.BAD_JSON: _says(
        "is not valid JSON",
        "are not valid JSON",
        "write each conversation as one JSON object on one line, in double quotes, with nothing behind it",
    ),
    Code.BAD_UTF8: _says("is not UTF-8 text", "are not UTF-8 text", "save the file as UTF-8"),
    Code.BAD_SURROGATE: _says(
        "has half of a character (a lone \\ud800-like escape)",
        "have half of a character (a lone \\ud800-like escape)",
        "write both halves of the escape or the character itself",
    ),
    Code.TOO_LONG: _says(
        "is too long",
        "are too long",
        lambda limits: f"keep each conversation below {limits.line_bytes_max:,} bytes, for example by cutting it into several",
    ),
    Code.TOO_DEEP: _says(
        f"nests more than {DEPTH_MAX} levels deep",
        f"nest more than {DEPTH_MAX} levels deep",
        "leave out what is not a role or a content",
    ),
    Code.DUPLICATE_KEY: _says("names a key twice in one object", "name a key twice in one object", "keep the one that is meant"),
    Code.BAD_TYPE: _says(
        "has a value of the wrong type",
        "have a value of the wrong type",
        "a row is an object, messages is a list of objects, and role, content, prompt and prompt_id are text",
    ),
    Code.MISSING_FIELD: _says(
        "lacks messages, or a message lacks its role or content",
        "lack messages, or a message lacks its role or content",
        'write {"messages": [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]}',
    ),
    Code.EMPTY_MESSAGES: _says("has no messages", "have no messages", "each row needs a user and an assistant turn"),
    Code.BAD_ROLE: _says(
        "has a role that is not system, user or assistant",
        "have a role that is not system, user or assistant",
        "write exactly these, in lower case; tool calls are not supported",
    ),
    Code.EMPTY_CONTENT: _says("has an empty message", "have an empty message", "write its text or leave the row out"),
    Code.BAD_ALTERNATION: _says(
        "does not take turns",
        "do not take turns",
        "begin with user (one system message may stand before it), alternate, and end with assistant",
    ),
    Code.TEMPLATE_MARKERS: _says(
        "contains a marker of a chat template, such as <|user|> or <|end|>",
        "contain a marker of a chat template, such as <|user|> or <|end|>",
        "remove it, because training would take it for the border of a turn",
    ),
    Code.BAD_NUL: _says(
        "holds the character NUL (\\u0000)", "hold the character NUL (\\u0000)", "take it out, or allow the repair `nul` to do so"
    ),
    Code.NUL: _says(
        "holds the character NUL (\\u0000)", "hold the character NUL (\\u0000)", "it was taken out, because no text has it on purpose"
    ),
    Code.TRAILING_USER: _says(
        "ends with a user message that nobody answers",
        "end with a user message that nobody answers",
        "that message was left out, because a model learns from answers",
    ),
    Code.BEYOND_CONTEXT: _says(
        "has its first answer beyond what the model reads",
        "have their first answer beyond what the model reads",
        lambda limits: f"the row was left out; keep what stands before an answer well below {limits.context_tokens:,} tokens",
    ),
    Code.NEAR_CONTEXT: _says(
        "may have its first answer beyond what the model reads",
        "may have their first answer beyond what the model reads",
        lambda limits: f"keep what stands before an answer well below {limits.context_tokens:,} tokens; training may drop the row",
    ),
    Code.DUP_CONTENT: _says("repeats an earlier conversation", "repeat earlier conversations", "the copy was left out"),
    Code.DUP_ID: _says(
        "has the prompt_id of another conversation",
        "have the prompt_id of another conversation",
        "both were kept, because their texts differ",
    ),
    Code.DUP_PROMPT: _says(
        "begins with the user message of an earlier row",
        "begin with the user messages of earlier rows",
        "both were kept, on the same side of the split",
    ),
    Code.PROMPT_LEAKS: _says(
        "begins with a user message that is held out in another file of the set",
        "begin with user messages that are held out in another file of the set",
        "the row was left out, because a model must not be tested on what it was trained on",
    ),
    Code.TOOLS: _says(
        "has tools beside its messages",
        "have tools beside their messages",
        "they were left out, because tool calls are not supported",
    ),
    Code.BYTE_ORDER_MARK: _says("begins with a byte order mark", "begin with a byte order mark", "it was taken out"),
    Code.CRLF: _says("ends with a carriage return", "end with carriage returns", "they were taken out"),
    Code.BLANK_LINE: _says("is blank", "are blank", "blank lines were left out"),
    Code.UNKNOWN_KEY: _says(
        "has keys beside messages, prompt and prompt_id, or beside role and content",
        "have keys beside messages, prompt and prompt_id, or beside role and content",
        "they were left out, because training does not read them",
    ),
}


def row_codes(limits: Limits) -> list[tuple[Code, str, str]]:
    """Each code of a row, what its sentence says of one line, and the remedy; for the docs."""
    return [(code, wording.one, wording.remedy(limits)) for code, wording in _WORDING.items()]


def about_rows(
    code: Code, *, count: int, first_lines: Sequence[int], unit: str, limits: Limits, files: Sequence[tuple[str, str]] = ()
) -> Complaint:
    """
    `unit` is "line" in a text file and "row" in a table. `files`: name and unit of the file that each of the first lines stands in; left
    out when there is only one.
    """
    wording = _WORDING[code]
    where = _named_in_files(count, first_lines, files) if files else _named(unit, count, first_lines)
    what = f"{where} {wording.one if count == 1 else wording.many}"
    return Complaint(code=code, what=what, remedy=wording.remedy(limits), count=count, first_lines=tuple(first_lines))


def _named(unit: str, count: int, first_lines: Sequence[int]) -> str:
    """line 3 · lines 3 and 8 · lines 3, 8, 12 and 14 more"""
    if count == 1:
        return f"{unit} {first_lines[0]:,}"
    names = [f"{number:,}" for number in first_lines[:LINES_NAMED_MAX]]
    if more := count - len(names):
        names.append(f"{more:,} more")
    return f"{unit}s {_listed(names)}"


def _named_in_files(count: int, first_lines: Sequence[int], files: Sequence[tuple[str, str]]) -> str:
    """line 3 of a.jsonl · lines 3 and 8 of a.jsonl, row 1 of b.parquet and 14 more"""
    named = list(zip(files, first_lines, strict=True))[:LINES_NAMED_MAX]
    parts = []
    for (name, unit), places in itertools.groupby(named, key=lambda place: place[0]):
        numbers = [number for _, number in places]
        parts.append(f"{_named(unit, len(numbers), numbers)} of {_called(name)}")
    if more := count - len(named):
        parts.append(f"{more:,} more")
    return _listed(parts)


def _called(name: str) -> str:
    """The name of a file may hold what moves the cursor of a terminal."""
    return plain(name, limit=NAME_CHARACTERS_MAX)


def _listed(names: Sequence[str]) -> str:
    """a · a and b · a, b and c"""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]


def about_tokenizer(what: str) -> Complaint:
    remedy = "upload the model's own tokenizer.json under this name, or take the file away: tokens are estimated without one"
    return Complaint(code=Code.BAD_TOKENIZER, what=what, remedy=remedy)


def about_set(what: str, remedy: str) -> Complaint:
    """Of a `_dataset.json` or the files that it names."""
    return Complaint(code=Code.BAD_SET, what=what, remedy=remedy)


def of_file(complaint: Complaint, name: str) -> Complaint:
    """The same about one of several files: it has to say which."""
    start, name = "the file", _called(name)
    what = f"{start} {name}{complaint.what.removeprefix(start)}" if complaint.what.startswith(start) else f"in {name} {complaint.what}"
    return replace(complaint, what=what)


def about_empty_file() -> Complaint:
    return Complaint(
        code=Code.EMPTY_FILE,
        what="the file has no rows",
        remedy="upload one conversation a line; if an upload was cut off, send it again",
    )


def about_suffix(suffix: str) -> Complaint:
    seen = f"ends in {suffix[:16]!a}" if suffix else "has no ending"
    unpack = suffix.lower() in {".zip", ".bz2", ".xz", ".zst", ".7z", ".tar", ".tgz"}
    remedy = "unpack it and upload the file inside" if unpack else "upload .jsonl, .jsonl.gz, .json, .csv, .tsv, .parquet or .arrow"
    return Complaint(code=Code.WRONG_SUFFIX, what=f"the file's name {seen}", remedy=remedy)


def about_looks(*, looks_like: str, remedy: str) -> Complaint:
    return Complaint(code=Code.NOT_JSONL, what=f"the file looks like {looks_like}, not like JSON lines", remedy=remedy)


def about_size(*, what: str, seen: int, limit: int, files: int = 1) -> Complaint:
    subject = "the file has" if files == 1 else "the files together have"
    return Complaint(
        code=Code.TOO_LARGE, what=f"{subject} {seen:,} {what}, more than the {limit:,} allowed", remedy="split it into several"
    )


def about_too_few_rows(*, usable: int, needed: tuple[int, int, int], files: int = 1) -> Complaint:
    """`needed`: rows to train on, to validate and to test; 0 for a side that has a file of its own."""
    subject = "the file has" if files == 1 else "the training data has" if 0 in needed else "the files together have"
    return Complaint(
        code=Code.TOO_FEW_ROWS,
        what=f"{subject} {usable:,} usable {'row' if usable == 1 else 'rows'}, fewer than the {sum(needed):,} needed",
        remedy=f"add conversations ({_needed(needed)})",
    )


def about_short_side(side: str, usable: int, needed: int) -> Complaint:
    return Complaint(
        code=Code.TOO_FEW_ROWS,
        what=f"the {side} file has {usable:,} usable {'row' if usable == 1 else 'rows'}, fewer than the {needed:,} needed",
        remedy=f"add conversations to it, or leave the {side} file out so that its rows are cut from the training file",
    )


def about_too_few_prompts(*, usable: int, prompts: int, needed: tuple[int, int, int]) -> Complaint:
    beginnings = "the same user message" if prompts == 1 else f"only {prompts:,} different user messages"
    return Complaint(
        code=Code.TOO_FEW_PROMPTS,
        what=f"the {usable:,} usable rows begin with {beginnings}, so they cannot be cut into {_needed(needed)} "
        "without a prompt on two sides",
        remedy="add conversations that begin differently",
    )


def _needed(rows: tuple[int, int, int]) -> str:
    return _listed(
        [f"{count:,} {purpose}" for count, purpose in zip(rows, ("to train on", "to validate", "to test"), strict=True) if count]
    )


def _capitalised(clause: str) -> str:
    return clause[:1].upper() + clause[1:]
