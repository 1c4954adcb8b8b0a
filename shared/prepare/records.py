"""
A table of text (CSV, TSV) becomes lines, one JSON object a record, on the line on which the record begins in the file.

A cell may run over several lines, so empty lines are put behind its record and the numbers stay those of the file. Bytes travel through
the csv module as latin-1, one character a byte, and come out as they went in: whoever reads the lines finds what is no UTF-8. Cells of
`messages`, `conversations` and `tools` hold JSON, which is passed on as it stands.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from shared.domain import formats as faults
from shared.prepare import looks
from shared.prepare.formats import Unreadable
from shared.prepare.lines import without_byte_order_mark

JSON_COLUMNS: Final = frozenset({"messages", "conversations", "tools"})
NEEDED_COLUMNS: Final = frozenset(name for columns in faults.COLUMNS for name in columns.needed)
DELIMITERS: Final = ",;\t"
LINE_BYTES_FACTOR: Final = 4  # a line or a cell beyond so many times the limit of a row is no row that is too long but a broken table

_is_json: Final = msgspec.json.Decoder(msgspec.Raw).decode  # one value and nothing behind it; its texts are not looked at
_encoded: Final = msgspec.json.Encoder().encode

_CAUSES: Final = (  # what the csv module says → what an owner can find
    ("unexpected end of data", "a quote is opened and never closed"),
    ("expected after", "a quoted cell goes on behind its closing quote"),
    ("new-line character", "a carriage return stands alone in it"),
    ("field larger", "a cell is too long, perhaps because a quote is never closed"),
)


def lines_of_records(chunks: Iterable[bytes], *, line_bytes_max: int) -> Iterator[bytes]:
    """Whole lines. Raises Unreadable when it is no such table, lacks the columns, or its quotes do not pair."""
    table = _Table(chunks, line_bytes_max)
    written = 0  # lines
    for number, line in table.records():
        yield b"\n" * (number - written - 1) + line + b"\n"
        written = number


class _Table:
    def __init__(self, chunks: Iterable[bytes], line_bytes_max: int) -> None:
        self._cell_bytes_max = line_bytes_max * LINE_BYTES_FACTOR
        self._lines = _text_lines(chunks, self._cell_bytes_max)
        csv.field_size_limit(self._cell_bytes_max)

    def records(self) -> Iterator[tuple[int, bytes]]:
        """(1-based line on which it begins, the record as JSON)"""
        header_line, header = self._header()
        if not header:
            return  # and whoever reads no lines says so
        delimiter, names = _sniffed(header)
        chosen = faults.chosen_columns(names)
        if chosen is None:
            raise Unreadable(faults.about_missing_column(names))
        if twice := next((name for name in chosen.all if names.count(name) > 1), None):
            raise Unreadable(faults.about_csv(f"its header names {twice} twice", line=header_line))
        columns = [(names.index(name), name, name in chosen.needed) for name in chosen.all]
        reader = csv.reader(self._lines, delimiter=delimiter, strict=True)
        begins = header_line + 1
        try:
            for cells in reader:
                if any(cells):  # a spreadsheet leaves rows of delimiters at the end
                    yield begins, _line(cells, len(names), columns)
                begins = header_line + 1 + reader.line_num
        except csv.Error as error:
            raise Unreadable(faults.about_csv(_cause(error), line=begins)) from None

    def _header(self) -> tuple[int, str]:
        for number, line in enumerate(self._lines, start=1):
            if number == 1:
                self._refuse_another_format(line[: looks.HEAD_BYTES].encode("latin-1"))
            if line.strip():
                return number, line
        return 1, ""

    @staticmethod
    def _refuse_another_format(head: bytes) -> None:
        if seen := looks.binary(head) or looks.wide_text(head):
            raise Unreadable(faults.about_no_table(seen.like, seen.remedy))


def _text_lines(chunks: Iterable[bytes], bytes_max: int) -> Iterator[str]:
    """Each with its end. Only a line feed ends one."""
    tail: list[bytes] = []
    tail_bytes = 0
    number = 1
    for chunk in without_byte_order_mark(chunks):
        start = 0
        while (end := chunk.find(b"\n", start) + 1) > 0:
            tail.append(chunk[start:end])
            yield b"".join(tail).decode("latin-1")
            tail, tail_bytes, start = [], 0, end
            number += 1
        tail.append(chunk[start:])
        tail_bytes += len(chunk) - start
        if tail_bytes > bytes_max:
            raise Unreadable(faults.about_csv(f"a line has more than {bytes_max:,} bytes", line=number))
    if tail_bytes:
        yield b"".join(tail).decode("latin-1")


def _sniffed(header: str) -> tuple[str, list[str]]:
    """The delimiter under which the header names most of what we look for, else most columns; and the names, in lower case."""
    readings = [(delimiter, _names(header, delimiter)) for delimiter in DELIMITERS]
    return max(readings, key=lambda reading: (len(NEEDED_COLUMNS.intersection(reading[1])), len(reading[1])))


def _names(header: str, delimiter: str) -> list[str]:
    try:
        cells = next(csv.reader([header], delimiter=delimiter), [])
    except csv.Error:
        return []
    return [cell.strip().lower() for cell in cells]


def _line(cells: list[str], width: int, columns: list[tuple[int, str, bool]]) -> bytes:
    if any(cells[width:]):  # a delimiter in a text without quotes: its words would land in the wrong columns
        return _escaped(cells)
    members = []
    for at, name, needed in columns:
        if at >= len(cells) or (not cells[at] and (name in JSON_COLUMNS or not needed)):
            continue  # a missing cell is a missing key; an empty one is an empty text only where a text is needed
        raw = cells[at].encode("latin-1")
        if name in JSON_COLUMNS:
            raw = raw.replace(b"\n", b"\t")  # both are blank between tokens, and both are refused inside a text
            if not is_one_value(raw):
                return b'{"%s":%b' % (name.encode(), raw.rstrip(b"} \t\r"))  # what does not end in } is no JSON object
            members.append(b'"%s":%b' % (name.encode(), raw))
            continue
        try:
            members.append(b'"%s":%b' % (name.encode(), _encoded(raw.decode())))
        except UnicodeDecodeError:
            return _escaped(cells)
    return b"{%b}" % b",".join(members)


def is_one_value(raw: bytes) -> bool:
    """Whether it is one JSON value and nothing behind it. Its texts are not looked at, which whoever reads the line will do."""
    try:
        _is_json(raw)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True


def _escaped(cells: list[str]) -> bytes:
    """The cells as an array, which is no row, with bytes that are no UTF-8 left in it."""
    return b"[%b]" % b",".join(_encoded(cell).decode().encode("latin-1") for cell in cells)


def _cause(error: csv.Error) -> str:
    return next((cause for sign, cause in _CAUSES if sign in str(error)), "its cells cannot be told apart")
