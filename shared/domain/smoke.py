"""
What is asked of a new deployment before it may take traffic, and what counts as an answer.

A status of 200 is no answer: the foundation-model server answers `{}` with 200 when inference failed. Three reply
shapes are known (facts of azureml-assets and azureml-evaluate-mlflow); which one a fine-tuned model gives is not
published, so all three are read.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

TOKENS_MAX = 64  # of the answer: enough to see words, short enough for a slow first call
REQUEST_PARAMETERS: Mapping[str, object] = {"do_sample": False, "temperature": 0.0, "max_new_tokens": TOKENS_MAX}


def request(messages: Sequence[Mapping[str, str]]) -> dict[str, object]:
    """Return the scoring body: a flat list of messages that ends with the user's turn (both known servers take it)."""
    return {"input_data": {"input_string": [dict(m) for m in messages], "parameters": dict(REQUEST_PARAMETERS)}}


def answer_in(reply: object) -> str:
    """Return the text of a scoring reply, '' when it holds none: {"output": t}, [{"0": t}], [t] or a bare text."""
    while isinstance(reply, Sequence) and not isinstance(reply, str) and reply:  # a loop: a reply may be nested without end
        reply = reply[0]
    if isinstance(reply, Mapping):
        reply = next((reply[name] for name in ("output", "0", "answer", "generated_text") if isinstance(reply.get(name), str)), "")
    return _writable(reply.strip()) if isinstance(reply, str) and _has_a_sign(reply) else ""


def _has_a_sign(text: str) -> bool:
    """Whether there is anything to see: controls and marks without width are no words."""
    return any(not sign.isspace() and unicodedata.category(sign) not in {"Cc", "Cf", "Cs"} for sign in text)


def _writable(text: str) -> str:
    """JSON may hold half a surrogate pair, which no file can."""
    return text.encode("utf-8", "backslashreplace").decode()
