"""
A tokenizer file counts what is there, or its upload is refused with a sentence: whatever its writer made of it, the process that prepares
goes on.
"""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from shared.prepare import __main__ as command
from shared.prepare import counting, tokenizer
from shared.prepare.child import ChildFailed
from shared.prepare.formats import UnpackLimits
from shared.prepare.source import Source
from shared.prepare.tokenizer import BadTokenizer, read_tokenizer

WORDS = {"[UNK]": 0, "a": 1}
REPEATED = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 1_000}
GROWS = {"type": "Sequence", "normalizers": [REPEATED] * 4}  # one character becomes 10^12
NEVER_ENDS = {"type": "Split", "pattern": {"Regex": "[ab]*c(?=d)"}, "behavior": "Isolated", "invert": False}
GIVES_UP = {"type": "Split", "pattern": {"Regex": r"(a|aa)+$"}, "behavior": "Isolated", "invert": False}


def file_of(model: Any, **more: Any) -> bytes:
    made = Tokenizer(model)
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return json.dumps(json.loads(made.to_str()) | more).encode()


def of_words(**more: Any) -> bytes:
    return file_of(models.WordLevel(WORDS, unk_token="[UNK]"), **more)


@contextlib.contextmanager
def reading(file: bytes, folder: Path, limits: UnpackLimits | None = None) -> Iterator[tokenizer.Tokenizer]:
    source = Source(name="tokenizer.json", size=len(file), open=lambda: iter([file]))
    with read_tokenizer(source, folder, limits or UnpackLimits()) as found:
        assert found
        yield found
    assert not list(folder.iterdir())


@pytest.mark.parametrize(
    "kept",
    [
        {},
        {"truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}},
        {"padding": {"strategy": {"Fixed": 64}, "direction": "Right", "pad_id": 0, "pad_type_id": 0, "pad_token": "[UNK]"}},
    ],
)
def test_every_token_counts_whatever_the_file_keeps_of_its_models_training(kept: dict[str, Any], tmp_path: Path) -> None:
    with reading(of_words(**kept), tmp_path) as found:
        assert found.count("a b a a a") == 5
        assert found.count("a\nb\r\n\0 ü") == 4
        assert found.count_messages(["a b", "", "a " * 100_000]) == 2 + 100_000 + 3 * 4


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff", b"[" * 10_000, file_of(models.WordLevel({"a": 0}, unk_token="[UNK]"))])
def test_a_file_that_cannot_count_every_text_is_refused(content: bytes, tmp_path: Path) -> None:
    with pytest.raises(BadTokenizer, match=r"tokenizer\.json is no tokenizer"), reading(content, tmp_path):
        pass


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing limits the memory of a process")
def test_a_tokenizer_that_makes_gigabytes_of_a_word_ends_its_own_process_and_no_other(tmp_path: Path) -> None:
    with reading(of_words(normalizer=GROWS), tmp_path) as found:
        assert found.count("b b") == 2
        with pytest.raises(BadTokenizer, match=r"tokenizer\.json needs more than [\d,]+ bytes of memory to count with"):
            found.count("aaa")


def test_a_tokenizer_whose_rules_fail_at_a_text_refuses_the_upload(tmp_path: Path) -> None:
    """The library calls it a panic, which no `except Exception` sees."""
    with reading(of_words(pre_tokenizer=GIVES_UP), tmp_path) as found, pytest.raises(BadTokenizer, match="fails at a text of the upload"):
        found.count("a" * 40 + "b")


def test_a_tokenizer_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From each character all others are looked through: a regex of the file's writer."""
    with reading(of_words(pre_tokenizer=NEVER_ENDS), tmp_path) as found:
        monkeypatch.setattr(tokenizer, "READ_WITHIN_S", 1.0)
        monkeypatch.setattr(tokenizer, "BYTES_A_SECOND_MIN", 10_000_000)
        with pytest.raises(BadTokenizer, match=r"takes too long to count with"):
            found.count("a" * 800_000 + "c")


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing limits the time of a process but a clock")
def test_a_tokenizer_may_take_no_more_of_a_processor_than_the_texts_allow(tmp_path: Path) -> None:
    """Method: no clock of ours ends it here; the system does, some seconds after it began."""
    with reading(of_words(pre_tokenizer=NEVER_ENDS), tmp_path) as found:
        with pytest.raises(BadTokenizer, match=r"takes too long to count with"):
            found.count("a" * 400_000 + "c")
        assert found._child.returncode == -signal.SIGXCPU


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nobody tells the limits of another process")
def test_a_child_that_counts_is_held_to_the_memory_and_time_that_it_was_started_with(tmp_path: Path) -> None:
    import resource

    file, limits = of_words(), UnpackLimits(seconds_max=77)
    with reading(file, tmp_path, limits) as found:
        most = {name: resource.prlimit(found._child.pid, getattr(resource, f"RLIMIT_{name}"))[1] for name in ("AS", "DATA", "CPU", "FSIZE")}
    memory = tokenizer.MEMORY_BYTES + tokenizer.MEMORY_FACTOR * len(file)

    assert most == {"AS": memory, "DATA": memory, "CPU": 78, "FSIZE": 1 << 20}


def test_a_child_that_fails_by_our_fault_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer, "CHILD", "shared.prepare.no_such_module")
    with pytest.raises(ChildFailed), reading(of_words(), tmp_path):
        pass


def rows(text: str) -> bytes:
    return b"".join(
        json.dumps({"messages": [{"role": "user", "content": f"{number}"}, {"role": "assistant", "content": text}]}).encode() + b"\n"
        for number in range(60)
    )


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing limits the memory of a process")
@pytest.mark.parametrize("as_a_job", [False, True], ids=["here", "by a job"])
def test_an_upload_beside_a_hostile_tokenizer_is_rejected_with_what_to_do(as_a_job: bool, tmp_path: Path) -> None:
    data, beside, out = tmp_path / "a.jsonl", tmp_path / "_tokenizer.json", tmp_path / "out"
    data.write_bytes(rows("aaa"))
    beside.write_bytes(of_words(normalizer=GROWS))
    arguments = [str(data), "--tokenizer", str(beside), "--out", str(out), "--json"]
    if as_a_job:
        order: dict[str, Any] = {"files": [{"name": "a.jsonl", "bytes": data.stat().st_size, "etag": "1", "side": None}], "options": {}}
        order["tokenizer"] = {"name": "_tokenizer.json", "bytes": beside.stat().st_size, "etag": "2", "side": None}
        (tmp_path / "order.json").write_text(json.dumps(order))
        out.mkdir()
        arguments = [str(data), str(beside), "--order", str(tmp_path / "order.json"), "--out", str(out)]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        code = command.main(arguments)

    told = json.loads(said.getvalue())
    assert (told["verdict"], code) == ("rejected", 0 if as_a_job else 3)
    assert "The file _tokenizer.json needs more than" in told["sentence"]
    assert "take the file away" in told["sentence"]
    assert not (out / "train.jsonl").exists()
    assert json.loads((out / "report.json").read_bytes())["codes"]["bad_tokenizer"]


def test_what_a_tokenizer_is_told_is_one_line_whatever_the_texts_hold() -> None:
    """The child answers each line once: a line end in a text must not be one of the protocol."""
    import msgspec

    assert msgspec.json.encode(["a\nb\r\u2028\0"]).count(b"\n") == 0
    assert counting.REFUSED not in (0, 1, 2)
