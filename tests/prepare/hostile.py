"""
Files that somebody may upload to harm whoever reads them, each of 1 MB or less: bombs, floods, lies and what no parser expects.

`FILES` is a name of each attack -> the name of its file, how its bytes are made, and whether it may be used after all. Nothing here is
larger than `BYTES_MAX`; what it would become is said beside it.
"""

from __future__ import annotations

import base64
import gzip
import io
import json
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from tests.prepare.packed import as_lines, as_parquet, chats

BYTES_MAX: Final = 1_000_000
GOOD: Final = as_lines(chats(40))
MB: Final = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Hostile:
    name: str  # of the file
    made: Callable[[], bytes]
    accepted: bool = False  # it is no fault of the file as a whole


FILES: dict[str, Hostile] = {}


def attack(what: str, name: str, *, accepted: bool = False) -> Callable[[Callable[[], bytes]], Callable[[], bytes]]:
    def noted(made: Callable[[], bytes]) -> Callable[[], bytes]:
        FILES[what] = Hostile(name=name, made=made, accepted=accepted)
        return made

    return noted


def line(what: str, text: str | bytes, *, accepted: bool = True, good: bytes = GOOD * 4) -> None:
    """A line among 160 good ones, of which one per cent may be bad: the file is used without it, or refused where it is not."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    FILES[what] = Hostile(name="a.jsonl", made=lambda: good + raw + b"\n", accepted=accepted)


def lines(what: str, text: str | bytes, *, accepted: bool = False, name: str = "a.jsonl") -> None:
    """Nothing but this, over and over up to the limit."""
    raw = text.encode() if isinstance(text, str) else text
    FILES[what] = Hostile(name=name, made=lambda: raw * (BYTES_MAX // len(raw)), accepted=accepted)


def chat(content: str, *, role: str = "assistant") -> str:
    return f'{{"messages":[{{"role":"user","content":"a"}},{{"role":"{role}","content":"{content}"}}]}}'


# ------------------------------------------------------------------------------------------------------------ JSON lines

line("JSON 100,000 deep", '{"a":' * 100_000 + "1" + "}" * 100_000)
line("arrays 400,000 deep", "[" * 400_000 + "]" * 400_000)
line("JSON 900 deep", '{"messages":' + "[" * 900 + "]" * 900 + "}")
line("brackets that never close", "[{" * 400_000)
line("brackets that pair in no order", "[]{}[[]]" * 100_000)
line("NaN", '{"messages":NaN}')
line("Infinity", '{"messages":[],"a":-Infinity}')
line("1e999", '{"a":1e999}')
line("a number of 5,000 digits", '{"a":' + "9" * 5_000 + "}")
line("a number of 900,000 digits", '{"a":' + "9" * 900_000 + "}")
line("an exponent of 900,000 digits", '{"a":1e' + "9" * 900_000 + "}")
line("a key twice", '{"messages":[],"messages":[]}')
line("60,000 keys", "{" + ",".join(f'"k{n}":{n}' for n in range(60_000)) + "}")
line("the same key 60,000 times", "{" + ",".join(['"k":0'] * 60_000) + "}")
line("half a surrogate pair", chat("\\ud800"))
line("half a surrogate pair in a key", '{"\\udfff":1,"messages":[]}')
line("surrogates as UTF-8", chat("\ud800"))
line("NUL in a text", chat("a\\u0000b"))
line("NUL between tokens", b'{"messages"\x00:[]}')
line("bytes that are no UTF-8", b'{"messages":[{"role":"user","content":"\xff\xfe\xc0\xaf"}]}')
line("a lone carriage return", b'{"messages":\r[]}\r{"a":1}')
line("U+2028 and U+0085 in a text", chat("a\u2028b\u2029c\u0085d"))
line("a line of half a million quotes", '"' * 500_000)
line("a text of backslashes", chat("\\\\" * 400_000))
line("backslashes without an end", '{"messages":"' + "\\" * 900_001)
line("quotes spelt as numbers", chat("\\u0022" * 140_000))
line("quotes spelt as numbers beside a hidden key", '{"prompt":"' + "\\u0022" * 120_000 + '","prompt":"","messages":[]}')
line("empty texts without end", '{"a":[' + '"",' * 300_000 + '""]}')
line("escapes without end", chat("\\ud83d\\ude00" * 70_000))
line("markers of a template", chat("<|im_start|>system" * 40_000))
line("beginnings of markers", chat("<|" * 400_000))
line("20,000 turns", '{"messages":[' + ",".join(['{"role":"user","content":"a"}', '{"role":"assistant","content":"b"}'] * 7_500) + "]}")
line(
    "a system turn in the middle",
    '{"messages":[{"role":"user","content":"a"},{"role":"system","content":"obey"},{"role":"assistant","content":"b"}]}',
)
line("a role of 900,000 characters", chat("a", role="x" * 900_000))
line("an unknown key with half a million items", '{"messages":[],"x":[' + "1," * 400_000 + "1]}")
line("blanks inside a row", '{"messages":' + " " * 900_000 + "[]}")
line("HTML in a row", '{"messages":[{"role":"<script>alert(1)</script>","content":"</script><img src=x onerror=alert(1)>"}]}')
line("a formula", '=cmd|"/c calc"!A1')
FILES["one line without an end"] = Hostile(name="a.jsonl", made=lambda: b'{"messages":[{"role":"user","content":"' + b"a" * 900_000)
lines("half a million empty rows", "{}\n")
lines("a million line ends", "\n")
lines("a million carriage returns", "\r")
lines("blanks", " ")
lines("only zero bytes", b"\x00")
lines("only opening brackets", "[")
lines("only quotes", '"')
lines("only backslashes", "\\")
lines("text of no format", "Dear diary,\n")
lines("the same row again and again", chat("b") + "\n", accepted=False)
lines("rows of ever other faults", '{"messages":[{"role":"a","content":1}]}\n[]\n{"a":\n"\n\xff\n')


@attack("each row with another order of roles", "a.jsonl")
def _patterns() -> bytes:
    made, size, n = [], 0, 0
    while size < BYTES_MAX - 60_000:
        n += 1
        turns = [{"role": "user" if n >> bit & 1 else "assistant", "content": str(n)} for bit in range(n % 400)]
        made.append(json.dumps({"messages": turns}).encode() + b"\n")
        size += len(made[-1])
    return b"".join(made)


@attack("ever new keys", "a.jsonl")
def _new_keys() -> bytes:
    return b"".join(b'{"key%d":{"messages":[{"role%d":1}]}}\n' % (n, n) for n in range(20_000))


@attack("a byte order mark", "a.jsonl", accepted=True)
def _bom() -> bytes:
    return b"\xef\xbb\xbf" + GOOD


@attack("two byte order marks", "a.jsonl", accepted=True)
def _boms() -> bytes:
    return b"\xef\xbb\xbf" * 2 + GOOD * 4


for _encoding in ("utf-16-le", "utf-16-be", "utf-16", "utf-32-le", "utf-32-be", "utf-32", "utf-7"):
    FILES[f"{_encoding} text"] = Hostile(name="a.jsonl", made=lambda e=_encoding: GOOD.decode().encode(e))  # type: ignore[misc]


# ------------------------------------------------------------------------------------------------------------ JSON array

lines("an array of nothing but commas", ",", name="a.json")
FILES["an array of half a million numbers"] = Hostile(name="a.json", made=lambda: b"[" + b"1," * 499_000 + b"1]")
FILES["an array 900,000 deep"] = Hostile(name="a.json", made=lambda: b"[" * 900_000)
FILES["an array that closes more than it opens"] = Hostile(name="a.json", made=lambda: b"[" + b"]" * 900_000)
FILES["an array with a text without an end"] = Hostile(name="a.json", made=lambda: b'["' + b"\\" * 900_001)
FILES["an array of texts of backslashes"] = Hostile(name="a.json", made=lambda: b"[" + b'"\\\\",' * 150_000 + b"1]")
FILES["an array of braces"] = Hostile(name="a.json", made=lambda: b"[" + b"}{" * 400_000)
FILES["an array of empty items"] = Hostile(name="a.json", made=lambda: b"[" + b"," * 900_000 + b"]")
FILES["an array behind 900,000 blanks"] = Hostile(
    name="a.json", made=lambda: b" " * 900_000 + b"[" + GOOD[:-1].replace(b"\n", b",") + b"]", accepted=True
)
FILES["one object over many lines"] = Hostile(name="a.json", made=lambda: json.dumps(chats(40), indent=40).encode()[1:])


# ------------------------------------------------------------------------------------------------------------------- CSV

FILES["a table of 100,000 columns"] = Hostile(
    name="a.csv", made=lambda: b",".join(b"c%d" % n for n in range(100_000)) + b"\n" + b"," * 99_999
)
FILES["a table of 300,000 columns of one name"] = Hostile(name="a.csv", made=lambda: b"messages," * 100_000 + b"\nx\n")
FILES["a cell without an end"] = Hostile(name="a.csv", made=lambda: b'prompt,completion\n"' + b"a\n" * 450_000)
FILES["a cell of quotes"] = Hostile(name="a.csv", made=lambda: b'prompt,completion\n"' + b'""' * 450_000 + b'",b\n')
FILES["a cell beyond every limit"] = Hostile(name="a.csv", made=lambda: b"prompt,completion\n" + b"a" * 900_000 + b",b\n")
FILES["a header without an end"] = Hostile(name="a.csv", made=lambda: b'"' + b"prompt" * 150_000)
FILES["NUL in a table"] = Hostile(name="a.csv", made=lambda: b"prompt,completion\n" + b"a\x00,b\x00\n" * 150_000)
FILES["a table of lone carriage returns"] = Hostile(name="a.csv", made=lambda: b"prompt,completion\r" + b"a,b\r" * 200_000)
FILES["half a million rows without cells"] = Hostile(name="a.csv", made=lambda: b"prompt,completion\n" + b",\n" * 490_000)
FILES["rows with ever more cells"] = Hostile(
    name="a.csv", made=lambda: b"prompt,completion\n" + b"".join(b"a" + b"," * n + b"\n" for n in range(1_300))
)
FILES["turns as JSON in a cell, 400,000 deep"] = Hostile(
    name="a.csv", made=lambda: b"messages\n" + (b"[" * 400_000 + b"]" * 400_000) + b"\n"
)
FILES["quotes inside cells"] = Hostile(name="a.tsv", made=lambda: b"prompt\tcompletion\n" + b'a"b"c\td"\n' * 100_000)


# ------------------------------------------------------------------------------------------------------------------ gzip


def _gzipped(size_mb: int, unit: bytes) -> bytes:
    """One deflated block over and over: its checksum is wrong, which nobody lives to see."""
    deflating = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = deflating.compress(unit * (MB // len(unit))) + deflating.flush(zlib.Z_FULL_FLUSH)
    return gzip.compress(b"")[:10] + block * size_mb + b"\x03\x00" + b"\x00" * 8


FILES["gzip of 900 MB of zeros"] = Hostile(name="a.jsonl.gz", made=lambda: _gzipped(900, b"\x00"))
FILES["gzip of 900 MB in one line"] = Hostile(name="a.jsonl.gz", made=lambda: _gzipped(900, b"a"))
FILES["gzip of 300 million line ends"] = Hostile(name="a.jsonl.gz", made=lambda: _gzipped(300, b"\n"))
FILES["gzip of an array 300 million deep"] = Hostile(name="a.json.gz", made=lambda: _gzipped(300, b"["))
FILES["gzip of a table of 300 million commas"] = Hostile(name="a.csv.gz", made=lambda: _gzipped(300, b","))
FILES["gzip of a table of quotes"] = Hostile(name="a.csv.gz", made=lambda: _gzipped(300, b'"'))
FILES["gzip of an array of 300 million commas"] = Hostile(name="a.json.gz", made=lambda: gzip.compress(b"[") + _gzipped(300, b","))
FILES["gzip of an array of numbers"] = Hostile(name="a.json.gz", made=lambda: gzip.compress(b"[") + _gzipped(300, b"1,"))
FILES["gzip of 900 MB of rows of one character"] = Hostile(name="a.jsonl.gz", made=lambda: _gzipped(900, b"x\n"))
FILES["gzip of 900 MB of empty rows"] = Hostile(name="a.jsonl.gz", made=lambda: _gzipped(900, b"{}\n"))
FILES["gzip of 900 MB of the same row"] = Hostile(name="a.jsonl.gz", made=lambda: _gzipped(250, chat("b").encode() + b"\n"))
FILES["gzip of a table of rows without cells"] = Hostile(
    name="a.csv.gz", made=lambda: gzip.compress(b"prompt,completion\n") + _gzipped(300, b",\n")
)
FILES["gzip of a table of short rows"] = Hostile(
    name="a.csv.gz", made=lambda: gzip.compress(b"prompt,completion\n") + _gzipped(600, b"a,b\n")
)
FILES["gzip of good rows and then a bomb"] = Hostile(name="a.jsonl.gz", made=lambda: gzip.compress(GOOD) + _gzipped(800, b"\x00"))
FILES["gzip of an array behind a member of nothing"] = Hostile(
    name="a.json.gz",
    made=lambda: gzip.compress(b"") * 2 + gzip.compress(b" ") + gzip.compress(b"[" + GOOD[:-1].replace(b"\n", b",") + b"]"),
    accepted=True,
)
FILES["gzip with an extra field of 64 KiB"] = Hostile(
    name="a.jsonl.gz",
    made=lambda: b"\x1f\x8b\x08\x04" + b"\x00" * 6 + b"\xff\xff" + b"x" * 65_535 + gzip.compress(GOOD)[10:],
    accepted=True,
)
FILES["gzip with flags that nobody knows"] = Hostile(name="a.jsonl.gz", made=lambda: b"\x1f\x8b\x08\xe0" + gzip.compress(GOOD)[4:])
FILES["gzip of 150,000 empty blocks"] = Hostile(
    name="a.jsonl.gz", made=lambda: gzip.compress(b"")[:10] + b"\x00\x00\x00\xff\xff" * 150_000 + b"\x03\x00" + b"\x00" * 8
)
FILES["gzip of a tar archive"] = Hostile(name="a.jsonl.gz", made=lambda: gzip.compress(_tar()))
FILES["gzip of an array of short texts in one item"] = Hostile(
    name="a.json.gz", made=lambda: gzip.compress(b"[[") + _gzipped(300, b'"\\\\","",')
)
FILES["gzip of rows that name one key over and over"] = Hostile(
    name="a.jsonl.gz", made=lambda: _gzipped(300, b"{" + b",".join([b'"k":0'] * 100_000) + b"}\n")
)
FILES["gzip in gzip"] = Hostile(name="a.jsonl.gz", made=lambda: gzip.compress(_gzipped(900, b"\x00")))
FILES["gzip in gzip in gzip"] = Hostile(name="a.jsonl.gz", made=lambda: gzip.compress(gzip.compress(_gzipped(300, b"\x00"))))
FILES["40,000 empty gzip members"] = Hostile(name="a.jsonl.gz", made=lambda: gzip.compress(b"") * 40_000)
FILES["gzip that is cut off"] = Hostile(name="a.jsonl.gz", made=lambda: gzip.compress(GOOD)[:-9])
FILES["gzip with another checksum"] = Hostile(name="a.jsonl.gz", made=lambda: gzip.compress(GOOD)[:-8] + b"\x00" * 8)
FILES["gzip with something behind it"] = Hostile(name="a.jsonl.gz", made=lambda: gzip.compress(GOOD) + b"#!/bin/sh\n")
FILES["gzip with zeros behind it"] = Hostile(name="a.jsonl.gz", made=lambda: gzip.compress(GOOD) + b"\x00" * 900_000, accepted=True)
FILES["gzip with a name of 900,000 bytes"] = Hostile(name="a.jsonl.gz", made=lambda: b"\x1f\x8b\x08\x08" + b"\x00" * 6 + b"a" * 900_000)
FILES["gzip whose name leads out"] = Hostile(
    name="a.jsonl.gz",
    made=lambda: b"\x1f\x8b\x08\x08" + b"\x00" * 6 + b"../../etc/passwd\x00" + gzip.compress(GOOD)[10:],
    accepted=True,
)
FILES["gzip that is none"] = Hostile(name="a.jsonl.gz", made=lambda: GOOD)
FILES["gzip that is called lines"] = Hostile(name="a.jsonl", made=lambda: gzip.compress(GOOD))


@attack("a zip whose names lead out", "a.jsonl")
def _zip() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("../../../../tmp/evil", GOOD)
        archive.writestr("/etc/cron.d/evil", b"\x00" * 50 * MB)
        link = zipfile.ZipInfo("link")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    return sink.getvalue()


@attack("a tar archive with a link that leads out", "a.jsonl")
def _tar() -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        member = tarfile.TarInfo("../../a.jsonl")
        member.size = len(GOOD)
        archive.addfile(member, io.BytesIO(GOOD))
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return sink.getvalue()


for _name in ("a.csv", "a.parquet", "a.arrow", "a.json", "a.jsonl.gz"):
    FILES[f"a zip called {_name}"] = Hostile(name=_name, made=_zip)
FILES["a workbook called a table"] = Hostile(name="a.tsv", made=_zip)
FILES["a shell script"] = Hostile(name="a.jsonl", made=lambda: b"#!/bin/sh\nrm -rf /\n")
FILES["a document"] = Hostile(name="a.jsonl", made=lambda: b"%PDF-1.7\n" + GOOD)
FILES["lines called parquet"] = Hostile(name="a.parquet", made=lambda: GOOD)
FILES["a name without an ending we know"] = Hostile(name="a.pkl", made=lambda: b"\x80\x04cos\nsystem\n(S'true'\ntR.")
FILES["a pickle called lines"] = Hostile(name="a.jsonl", made=lambda: b"\x80\x04cos\nsystem\n(S'true'\ntR.")


# --------------------------------------------------------------------------------------------------------------- parquet


def _table(texts: Any, **how: Any) -> bytes:
    import pyarrow
    from pyarrow import parquet

    sink = io.BytesIO()
    answers = pyarrow.array(["b"]).take(pyarrow.array([0] * len(texts)))
    parquet.write_table(pyarrow.table({"prompt": texts, "completion": answers}), sink, **how)
    return sink.getvalue()


@attack("parquet: one value of 500 MB", "a.parquet")
def _giant_value() -> bytes:
    return _table(["a" * 500 * MB], compression="zstd", use_dictionary=False, write_statistics=False)  # which take ten seconds


@attack("parquet: one value of 60 MB among good ones", "a.parquet")
def _large_value() -> bytes:
    return _table(["x"] * 40 + ["a" * 60 * MB], compression="zstd", use_dictionary=False)


@attack("parquet: one text of 1 MB used by 2,000 rows", "a.parquet")
def _dictionary() -> bytes:
    import pyarrow

    text = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 2_000, pyarrow.int32()), ["a" * MB])
    return _table(text, compression="zstd")


@attack("parquet: 20 million rows without a value", "a.parquet")
def _nulls() -> bytes:
    import pyarrow
    from pyarrow import parquet

    sink = io.BytesIO()
    nothing = pyarrow.nulls(20_000_000, pyarrow.string())
    parquet.write_table(pyarrow.table({"prompt": nothing, "completion": nothing}), sink)
    return sink.getvalue()


@attack("parquet: 1,700 row groups", "a.parquet", accepted=True)
def _groups() -> bytes:
    return _table([str(n) for n in range(1_700)], row_group_size=1, compression="none")


@attack("parquet: 3,000 columns", "a.parquet")
def _columns() -> bytes:
    import pyarrow
    from pyarrow import parquet

    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({f"c{n}": ["a"] for n in range(3_000)}), sink)
    return sink.getvalue()


def _nested(levels: int) -> bytes:
    import pyarrow
    from pyarrow import parquet

    kind: Any = pyarrow.string()
    for _ in range(levels):
        kind = pyarrow.list_(kind)
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({"messages": pyarrow.nulls(40, kind)}), sink)
    return sink.getvalue()


FILES["parquet: lists 300 deep"] = Hostile(name="a.parquet", made=lambda: _nested(300))


@attack("parquet: lists that hold 100 million nothings", "a.parquet")
def _list_of_nothings() -> bytes:
    import pyarrow
    from pyarrow import parquet

    nothings = pyarrow.nulls(20_000_000, pyarrow.string())
    rows = pyarrow.ListArray.from_arrays(pyarrow.array([0, 20_000_000], pyarrow.int32()), nothings)
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({"messages": rows}), sink)
    return sink.getvalue()


GOOD_PARQUET: Final = as_parquet(chats(40))
_FOOTER: Final = struct.unpack("<I", GOOD_PARQUET[-8:-4])[0]
FILES["parquet: cut off"] = Hostile(name="a.parquet", made=lambda: GOOD_PARQUET[: len(GOOD_PARQUET) // 2])
FILES["parquet: a footer of 4 GB"] = Hostile(name="a.parquet", made=lambda: GOOD_PARQUET[:-8] + b"\xff\xff\xff\xff" + b"PAR1")
FILES["parquet: a footer of bytes of chance"] = Hostile(
    name="a.parquet", made=lambda: GOOD_PARQUET[: -8 - _FOOTER] + bytes(n * 167 % 256 for n in range(_FOOTER)) + GOOD_PARQUET[-8:]
)
FILES["parquet: nothing but marks"] = Hostile(name="a.parquet", made=lambda: b"PAR1" * 200_000)
FILES["parquet: pages of zeros"] = Hostile(
    name="a.parquet", made=lambda: b"PAR1" + b"\x00" * (len(GOOD_PARQUET) - 12 - _FOOTER) + GOOD_PARQUET[-8 - _FOOTER :]
)


@attack("parquet: lengths in the footer that lie", "a.parquet")
def _lying_footer() -> bytes:
    """Every fourth byte of the footer is set so that a number goes on: some of these say gigabytes."""
    footer = bytearray(GOOD_PARQUET[-8 - _FOOTER : -8])
    for at in range(_FOOTER // 3, _FOOTER, 4):
        footer[at] = footer[at] | 0x80
    return GOOD_PARQUET[: -8 - _FOOTER] + bytes(footer) + GOOD_PARQUET[-8:]


# ----------------------------------------------------------------------------------------------------------------- Arrow


def _arrow(batches: list[Any], *, index: bool, **how: Any) -> bytes:
    import pyarrow

    sink = io.BytesIO()
    make = pyarrow.ipc.new_file if index else pyarrow.ipc.new_stream
    with make(sink, batches[0].schema, options=pyarrow.ipc.IpcWriteOptions(**how)) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return sink.getvalue()


def _batch(texts: Any) -> Any:
    import pyarrow

    return pyarrow.record_batch({"prompt": texts, "completion": pyarrow.array(["b"]).take(pyarrow.array([0] * len(texts)))})


@attack("parquet: a footer of structures 500,000 deep", "a.parquet")
def _deep_footer() -> bytes:
    footer = b"\x15\x02" + b"\x1c" * 500_000
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


@attack("parquet: a footer with a list of two billion", "a.parquet")
def _long_footer() -> bytes:
    footer = b"\x15\x02\x19\xfc\xff\xff\xff\xff\x07" + b"\x00" * 50
    return b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1"


for _index in (True, False):
    _kind = "file" if _index else "stream"
    FILES[f"arrow {_kind}: packed buffers of 500 MB"] = Hostile(
        name="a.arrow",
        made=lambda i=_index: _arrow([_batch(["a" * 500 * MB])], index=i, compression="zstd"),  # type: ignore[misc]
    )
    FILES[f"arrow {_kind}: packed buffers of 60 MB, twenty times"] = Hostile(
        name="a.arrow",
        made=lambda i=_index: _arrow([_batch(["a" * 60 * MB])] * 20, index=i, compression="zstd"),  # type: ignore[misc]
    )
    FILES[f"arrow {_kind}: cut off"] = Hostile(
        name="a.arrow",
        made=lambda i=_index: _arrow([_batch([str(n) for n in range(900)])], index=i)[:-300],  # type: ignore[misc]
    )
    FILES[f"arrow {_kind}: 3,000 empty batches"] = Hostile(
        name="a.arrow",
        made=lambda i=_index: _arrow([_batch(["a"]).slice(0, 0)] * 2_500, index=i),  # type: ignore[misc]
    )


@attack("arrow file: one text of 500,000 bytes used by 20,000 rows", "a.arrow")
def _arrow_dictionary() -> bytes:
    import pyarrow

    text = pyarrow.DictionaryArray.from_arrays(pyarrow.array([0] * 20_000, pyarrow.int8()), ["a" * 500_000])
    return _arrow([_batch(text)], index=True)


@attack("arrow stream: a billion rows of nothing", "a.arrow")
def _arrow_nulls() -> bytes:
    import pyarrow

    nothing = pyarrow.nulls(1_000_000_000)
    return _arrow([pyarrow.record_batch({"prompt": nothing, "completion": nothing})], index=False)


@attack("arrow file: a billion rows of nothing", "a.arrow")
def _arrow_file_nulls() -> bytes:
    import pyarrow

    nothing = pyarrow.nulls(1_000_000_000)
    return _arrow([pyarrow.record_batch({"prompt": nothing, "completion": nothing})], index=True)


@attack("arrow file: run ends of a billion rows", "a.arrow")
def _arrow_runs() -> bytes:
    import pyarrow

    runs = pyarrow.RunEndEncodedArray.from_arrays(pyarrow.array([1_000_000_000], pyarrow.int32()), pyarrow.array(["a"]))
    return _arrow([pyarrow.record_batch({"prompt": runs, "completion": runs})], index=True)


@attack("arrow stream: lengths of messages that lie", "a.arrow")
def _arrow_lies() -> bytes:
    whole = bytearray(_arrow([_batch(["a"] * 40)], index=False))
    whole[4:8] = struct.pack("<i", 0x7FFFFFFF)
    return bytes(whole)


@attack("arrow file: bytes of chance in its index", "a.arrow")
def _arrow_chance() -> bytes:
    whole = bytearray(_arrow([_batch(["a"] * 40)], index=True))
    for at in range(len(whole) - 200, len(whole) - 10, 3):
        whole[at] = at * 167 % 256
    return bytes(whole)


# ------------------------------------------------------------------ a large file may become more: bytes of chance make it large

_CHANCE: Final = random.Random(5).randbytes(690_000)


_PADDING: Final = b'"' + base64.b64encode(_CHANCE) + b'"'


@attack("gzip of bytes of chance and of the same row", "a.jsonl.gz")
def _padded_rows() -> bytes:
    return gzip.compress(_PADDING + b"\n", 1) + _gzipped(60, chat("b").encode() + b"\n")


@attack("gzip of bytes of chance and an item of short texts", "a.json.gz")
def _padded_item() -> bytes:
    return gzip.compress(b"[" + _PADDING + b",[", 1) + _gzipped(190, b'"\\\\","",')


@attack("gzip of bytes of chance and rows of one key", "a.jsonl.gz")
def _padded_keys() -> bytes:
    return gzip.compress(_PADDING + b"\n", 1) + _gzipped(110, b"{" + b",".join([b'"k":0'] * 100_000) + b"}\n")


@attack("gzip of bytes of chance and a row that has to be mended", "a.jsonl.gz")
def _padded_mended() -> bytes:
    return gzip.compress(_PADDING + b"\n", 1) + _gzipped(90, b'{"x":0,"question":"a","answer":"b"}\n')


@attack("parquet: bytes of chance and turns with a key too many", "a.parquet")
def _padded_turns() -> bytes:
    import pyarrow
    from pyarrow import parquet

    rows = 400_000
    turns = [{"role": "user", "content": "a", "x": 1}, {"role": "assistant", "content": "b", "x": 1}]
    same = pyarrow.array([turns]).take(pyarrow.array([0] * rows))
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({"messages": same, "noise": pyarrow.array([_CHANCE] + [None] * (rows - 1), pyarrow.binary())}), sink)
    return sink.getvalue()


@attack("gzip of bytes of chance and beginnings of markers", "a.jsonl.gz")
def _padded_markers() -> bytes:
    return gzip.compress(_PADDING + b"\n", 1) + _gzipped(60, chat("<|" * 200_000).encode() + b"\n")


@attack("parquet: bytes of chance and a million times the same row", "a.parquet")
def _padded_table() -> bytes:
    import pyarrow
    from pyarrow import parquet

    rows = 1_000_000
    same = pyarrow.array(["a"]).take(pyarrow.array([0] * rows))
    noise = pyarrow.array([_CHANCE] + [None] * (rows - 1), pyarrow.binary())
    sink = io.BytesIO()
    parquet.write_table(pyarrow.table({"prompt": same, "completion": same, "noise": noise}), sink)
    return sink.getvalue()
