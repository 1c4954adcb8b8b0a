"""Two reports as preparation writes them: an upload that training may use, and one that its owner has to mend."""

from __future__ import annotations

import copy
from typing import Any

_ACCEPTED: dict[str, Any] = {
    "schema": 1,
    "verdict": "accepted",
    "sentence": "Training may use 1,190 of 1,204 rows.",
    "what_to_fix": [],
    "rules_version": 2,
    "tool_version": "0.1.0",
    "files": [
        {
            "name": "support-bot/2026-11.jsonl",
            "format": "jsonl",
            "bytes": 8_112_004,
            "etag": "0x8DCA1B2C3D4E5F6",
            "rows": 1_204,
            "side": None,
            "shapes": {"messages": 1_180, "alpaca": 24},
            "notes": ["The file begins with a byte order mark; it was left out."],
        }
    ],
    "rows": 1_204,
    "accepted": 1_190,
    "bad": 4,
    "thresholds": {"bad_rows_max_share": 0.01},
    "codes": {
        "unknown_key": {
            "severity": "noted",
            "count": 31,
            "what": "lines 7, 9, 12 and 28 more have keys beside messages, prompt and prompt_id",
            "remedy": "they were left out, because training does not read them",
            "sentence": "Lines 7, 9, 12 and 28 more have keys beside messages, prompt and prompt_id; they were left out.",
            "first_lines": [7, 9, 12],
            "first": [],
        },
        "bad_json": {
            "severity": "dropped",
            "count": 4,
            "what": "lines 3, 77, 1,190 and 1 more are not valid JSON",
            "remedy": "write each conversation as one JSON object on one line",
            "sentence": "Lines 3, 77, 1,190 and 1 more are not valid JSON; write each conversation as one JSON object on one line.",
            "first_lines": [3, 77, 1_190],
            "first": [
                {"file": "support-bot/2026-11.jsonl", "line": 3, "excerpt": '{"messages":[{"role":"user","content":"Where is my order'},
                {"file": "support-bot/2026-11.jsonl", "line": 77, "excerpt": "{'messages': [{'role': 'user', 'content': 'Hello'}]}"},
                {"file": "support-bot/2026-11.jsonl", "line": 1_190, "excerpt": None},
            ],
        },
        "dup_content": {
            "severity": "dropped",
            "count": 10,
            "what": "lines 40, 41 and 8 more repeat earlier conversations",
            "remedy": "the copies were left out",
            "sentence": "Lines 40, 41 and 8 more repeat earlier conversations; the copies were left out.",
            "first_lines": [40, 41],
            "first": [],
        },
        "trailing_user": {
            "severity": "repaired",
            "count": 2,
            "what": "lines 500 and 612 end with a question",
            "remedy": "the last turn was left out",
            "sentence": "Lines 500 and 612 end with a question; the last turn was left out.",
            "first_lines": [500, 612],
            "first": [],
        },
    },
    "unit": "line",
    "split": {"method": "fixed_cut", "validation_share": 0.1, "test_share": 0.1},
    "splits": {
        "train": {"rows": 960, "bytes": 6_471_880, "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"},
        "validation": {"rows": 112, "bytes": 754_120, "sha256": "60303ae22b998861bce3b28f33eec1be758a213c86c93c076dbe9f558c11c752"},
        "test": {"rows": 118, "bytes": 802_331, "sha256": "fd61a03af4f77d870fc21e05e7e80678095c92d808cfb3b5c279ee04c74aca13"},
    },
    "duplicates": {"content": 10, "id": 0, "prompt": 26},
    "lengths": {
        "unit": "bytes",
        "buckets": [[256, 0], [512, 3], [1_024, 41], [2_048, 118], [4_096, 263], [8_192, 514], [16_384, 239], [32_768, 12], [65_536, 0]],
        "longest": 31_004,
        "total": 8_028_331,
    },
    "roles": {
        "messages": {"system": 212, "user": 3_410, "assistant": 3_410},
        "patterns": [
            {"roles": "user assistant user assistant user assistant", "rows": 611},
            {"roles": "user assistant", "rows": 367},
            {"roles": "system user assistant user assistant user assistant user assistant", "rows": 212},
        ],
    },
    "tokens": {
        "context": 4_096, "estimate": 1_911_507, "low": 1_720_000, "high": 2_103_000, "basis": "sampled",
        "beyond_context": 0, "near_context": 3, "cut": 9,
    },
    "cost_basis": {"tokens_per_epoch": 1_541_000, "rows_per_epoch": 960, "steps_per_epoch": {"1": 960, "16": 60, "8": 120}},
    "quarantine": {"rows": 14, "written": 14},
}  # fmt: skip

_REJECTED: dict[str, Any] = {
    **_ACCEPTED,
    "verdict": "rejected",
    "sentence": "12 of 40 rows cannot be used (30 %); at most 1 % may be bad.",
    "what_to_fix": [
        "Lines 2, 5, 6 and 8 more of questions.csv are not valid JSON; write each conversation as one JSON object on one line.",
        "Row 9 of answers.parquet has an empty message; write its text or leave the row out.",
    ],
    "files": [
        {
            "name": "questions.csv", "format": "csv", "bytes": 9_001, "etag": "", "rows": 25, "side": "train",
            "shapes": {"prompt_completion": 25}, "notes": [],
        },
        {
            "name": "answers.parquet", "format": "parquet", "bytes": 12_100, "etag": "", "rows": 15, "side": "test",
            "shapes": {"sharegpt": 15}, "notes": [],
        },
    ],
    "rows": 40,
    "accepted": 28,
    "bad": 12,
    "codes": {
        "empty_content": {
            "severity": "dropped",
            "count": 1,
            "what": "row 9 has an empty message",
            "remedy": "write its text or leave the row out",
            "sentence": "Row 9 has an empty message; write its text or leave the row out.",
            "first_lines": [9],
            "first": [{"file": "answers.parquet", "line": 9, "excerpt": ""}],
        },
        "bad_json": {
            "severity": "dropped",
            "count": 11,
            "what": "rows 2, 5, 6 and 8 more are not valid JSON",
            "remedy": "write each conversation as one JSON object",
            "sentence": "Rows 2, 5, 6 and 8 more are not valid JSON; write each conversation as one JSON object.",
            "first_lines": [2, 5, 6],
            "first": [
                {"file": "questions.csv", "line": 2, "excerpt": "<script>alert(1)</script>"},
                {"file": "questions.csv", "line": 5, "excerpt": "\u202egnp.exe"},
                {"file": "answers.parquet", "line": 6, "excerpt": "a\x00b"},
            ],
        },
        "too_many_bad": {
            "severity": "fatal",
            "count": 1,
            "what": "12 of 40 rows cannot be used, and at most 1 % may be",
            "remedy": "mend the rows below",
            "sentence": "12 of 40 rows cannot be used, and at most 1 % may be; mend the rows below.",
            "first_lines": [],
            "first": [],
        },
    },
    "unit": "row",
    "split": {"method": "given", "validation_share": 0.1, "test_share": 0.1},
    "splits": {},
    "duplicates": {"content": 0, "id": 0, "prompt": 0},
    "lengths": {"unit": "bytes", "buckets": [[256, 28]], "longest": 250, "total": 6_100},
    "roles": {"messages": {"user": 28, "assistant": 28}, "patterns": [{"roles": "user assistant", "rows": 28}]},
    "tokens": {
        "context": 4_096, "estimate": 1_500, "low": 900, "high": 2_400, "basis": "assumed",
        "beyond_context": 0, "near_context": 0, "cut": 0,
    },
    "cost_basis": {"tokens_per_epoch": 0, "rows_per_epoch": 0, "steps_per_epoch": {}},
    "quarantine": {"rows": 12, "written": 10},
}  # fmt: skip


def accepted() -> dict[str, Any]:
    """One file, some rows left out, some repaired; texts in the report."""
    return copy.deepcopy(_ACCEPTED)


def rejected() -> dict[str, Any]:
    """Two files that the owner split, with hostile excerpts."""
    return copy.deepcopy(_REJECTED)
