"""
How the program that wrote a file orders its keys and sets its blanks.

All lines of a file mostly look alike. So a line can be walked from key to key in the style of the line before: each key and bracket has
to stand where the lengths of the texts say. When the walk ends with the line, then nothing else stands in it: no second key, whose value
a parser passes over without a word. A text between two keys has no room for one, because it is as long as its shortest form.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

ROLES: Final = ("system", "user", "assistant")
KEYS: Final = ("messages", "prompt", "prompt_id")
WALKS_KEPT_MAX: Final = 200
WALK_KEPT_MESSAGES_MAX: Final = 200
SEPARATORS: Final = ((b", ", b": "), (b",", b":"))  # of Python's json.dumps; of pandas, jq -c and JavaScript


class Style:
    """One way to write a row; `lengths` below are those of the JSON texts of prompt and prompt_id, without their quotes."""

    def __init__(self, keys: tuple[str, ...], comma: bytes, colon: bytes, *, role_first: bool) -> None:
        roles = {role: b'"role"' + colon + b'"' + role.encode() + b'"' for role in ROLES}
        content = b'"content"' + colon + b'"'
        self._keys = keys
        self._comma = comma
        self._names = {key: b'"' + key.encode() + b'"' + colon + b'"' for key in KEYS}
        self._messages = b'"messages"' + colon + b"["
        self._walks: dict[tuple[str, ...], _Walk] = {}
        self.opening = {role: b"{" + (said + comma if role_first else b"") + content for role, said in roles.items()}
        closing = {role: b'"' + (b"" if role_first else comma + said) + b"}" for role, said in roles.items()}
        self.between = {(one, next_): closing[one] + comma + self.opening[next_] for one in ROLES for next_ in ROLES}
        self.closing = {role: said + b"]" for role, said in closing.items()}

    def explains(self, line: bytes, roles: tuple[str, ...], written: bytearray, lengths: Mapping[str, int]) -> bool:
        """Whether the line is, from its first byte to its last, what was read of it; `written` is the canonical line."""
        at = 1
        if not line.startswith(b"{"):
            return False
        first = True
        for key in self._keys:
            if key != "messages" and key not in lengths:
                continue
            if not first:
                if not line.startswith(self._comma, at):
                    return False
                at += len(self._comma)
            first = False
            if key == "messages":
                at = self._behind_messages(line, at, roles, written)
                if at < 0:
                    return False
                continue
            name = self._names[key]
            if not line.startswith(name, at):
                return False
            at += len(name) + lengths[key]
            if not line.startswith(b'"', at):
                return False
            at += 1
        return line[at:] in ENDS

    def _behind_messages(self, line: bytes, at: int, roles: tuple[str, ...], written: bytearray) -> int:
        """
        Where the list of messages ends, -1 when it is written otherwise. The canonical line tells how long each text is: what stands
        between two texts has bare quotes in it, so it cannot stand inside one.
        """
        walk = self._walks.get(roles) or self._walk(roles)
        if not line.startswith(walk.opening, at):
            return -1
        at += len(walk.opening)
        begins = walk.begins
        for canonical, canonical_length, here, here_length in walk.between:
            ends = written.find(canonical, begins)
            at += ends - begins
            if not line.startswith(here, at):
                return -1
            at += here_length
            begins = ends + canonical_length
        at += len(written) - len(CANONICAL_END) - begins
        return at + len(walk.closing) if line.startswith(walk.closing, at) else -1

    def _walk(self, roles: tuple[str, ...]) -> _Walk:
        pairs = list(itertools.pairwise(roles))
        walk = _Walk(
            opening=self._messages + self.opening[roles[0]],
            begins=len(CANONICAL_START) + len(CANONICAL.opening[roles[0]]),
            between=[
                (CANONICAL.between[pair], len(CANONICAL.between[pair]), self.between[pair], len(self.between[pair])) for pair in pairs
            ],
            closing=self.closing[roles[-1]],
        )
        if len(self._walks) < WALKS_KEPT_MAX and len(roles) <= WALK_KEPT_MESSAGES_MAX:
            self._walks[roles] = walk
        return walk


class _Walk(NamedTuple):
    """What stands around the texts of messages with certain roles."""

    opening: bytes
    begins: int  # of the first text, in the canonical line
    between: list[tuple[bytes, int, bytes, int]]  # canonical, its length, here, its length
    closing: bytes


CANONICAL_START: Final = b'{"messages":['
CANONICAL_END: Final = b'"}]}'
CANONICAL: Final = Style(KEYS, b",", b":", role_first=True)
ENDS: Final = (b"}", b"}\r")


def known() -> Iterator[Style]:
    """Every style that programs are known to write."""
    for (comma, colon), role_first, keys in itertools.product(SEPARATORS, (True, False), itertools.permutations(KEYS)):
        yield Style(keys, comma, colon, role_first=role_first)


def found(line: bytes, roles: tuple[str, ...], written: bytearray, lengths: Mapping[str, int]) -> Style | None:
    return next((style for style in known() if style.explains(line, roles, written, lengths)), None)
