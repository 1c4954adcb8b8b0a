"""
Text from outside as one harmless piece of a line: what Azure, a registry or a file's owner wrote goes into logs, records and announcements.

A line end in it could forge a line of the log, half a surrogate pair cannot be written as UTF-8, and a service's message may quote a signed
address. What is taken out for a secret is a net under the rule that nobody writes one down, not a licence to.
"""

from __future__ import annotations

import re
import traceback
from typing import Final

CHARACTERS_MAX: Final = 2_000
HIDDEN: Final = "(hidden)"
_KEY: Final = (
    r"(?:sig|AccountKey|SharedAccessKey|SharedAccessSignature|aeg-sas-key|x-functions-key|client_secret|password|pwd|api[-_]?key"
    r"|access_token|refresh_token|primaryKey|secondaryKey)"
)
# Looked for once where a run of such characters begins, and none of it is given back: a search that began anew at each eyJ of a long
# line, or at each letter before ://, took minutes for a megabyte.
_THREE_PARTS: Final = r"(?<![\w-])(?=[\w-]++\.[\w-]++\.)"
_SECRETS: Final = (  # each after what stands in all that it matches, since most lines have nothing of it
    ("=:", re.compile(rf"(?i)(?<![a-z0-9])({_KEY}[\"']?\s?[=:]\s?[\"']?)[^\s&;,\"'<>]+"), rf"\1{HIDDEN}"),  # sig=…, "password": "…"
    (" ", re.compile(r"(?i)\b(bearer|basic) (?=[^\s\d]*\d)[a-z0-9._~+/-]{16,}=*"), rf"\1 {HIDDEN}"),  # RFC 6750 and 7617
    ("J", re.compile(rf"{_THREE_PARTS}((?:[\w-]*?-)??)eyJ[\w-]{{5,}}+\.[\w-]++\.[\w-]*+"), rf"\1{HIDDEN}"),  # a JSON Web Token, RFC 7519
    ("@", re.compile(r"(?i)(?<=[a-z0-9+.-])://[^\s/@]+@"), f"://{HIDDEN}@"),  # a name and password in an address, RFC 3986, 3.2.1
)


def plain(text: str, *, limit: int = CHARACTERS_MAX) -> str:
    """Return the text in one line of at most `limit` printable characters, without secrets of a known form; plain again is the same."""
    line = " ".join(text[: 8 * limit].split())
    for marks, secret, shown in _SECRETS:
        if any(mark in line for mark in marks):
            line = secret.sub(shown, line)
    if not line.isprintable():
        line = "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in line)
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def plain_lines(text: str) -> str:
    """Return the text line by line, each plain; what indents it stays."""
    return "\n".join(line[: len(line) - len(line.lstrip())] + plain(line) for line in text.splitlines())


def traceback_of(error: BaseException) -> str:
    """Return what Python shows of an error that nobody expected: it may quote a signed address, as each error of a library may."""
    return plain_lines("".join(traceback.format_exception(error)))


def is_plain(text: str) -> bool:
    """Tell whether the text can be shown and written as it is: a value that a job gets is refused and not changed."""
    return text.isprintable()
