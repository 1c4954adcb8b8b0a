"""Everything that an owner or an operator may choose; the same options and the same bytes give the same files."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from shared.domain import conversation
from shared.domain.structs import learn
from shared.prepare.formats import UnpackLimits

Share = Annotated[float, Meta(gt=0, lt=1)]
Positive = Annotated[int, Meta(ge=1)]


class RowsMin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Below these Azure ML's pipeline fails after the job has started, or an evaluation has nothing to look at."""

    train: Positive = 10  # "fewer than 10 samples" ends the job (azureml-acft-contrib-hf-nlp 0.0.91)
    validation: Positive = 1  # an empty split ends the job
    test: Positive = 1  # no smoke test without one

    @property
    def all(self) -> tuple[int, int, int]:
        return (self.train, self.validation, self.test)


class Repairs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be changed in a row so that it can be used. Off: the row is dropped instead."""

    nul: bool = True  # take the character NUL out of a text
    trailing_user: bool = False  # leave a last user message out that nobody answers


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of one preparation; the file given to `--settings` is this as a JSON object."""

    salt: str = ""  # changes which prompts are held out
    validation_share: Share = 0.1  # of the rows
    test_share: Share = 0.1  # of the rows
    rows_min: RowsMin = RowsMin()
    bad_rows_max_share: Annotated[float, Meta(ge=0, lt=1)] = 0.01  # of the rows; more rows that are bad reject the file
    repairs: Repairs = Repairs()
    source_bytes_max: Positive = 64 << 30  # of all files together
    line_bytes_max: Positive = 4 << 20  # a 4,096-token row has about 20 kB
    context_tokens: Positive = 4_096  # that the model reads of a row (Phi-3-mini-4k)
    excerpts: bool = True  # show the first characters of a faulty row in the report
    quarantine_bytes_max: Annotated[int, Meta(ge=0)] = 64 << 20  # dropped rows beyond it are counted, not kept
    samples_max: Positive = 20  # held-out rows that travel with the result
    sample_bytes_max: Positive = 32 << 10  # of one such row, so that all of them fit a message: 640 kB
    unpack: UnpackLimits = UnpackLimits()

    def __post_init__(self) -> None:
        if not _is_text(self.salt):
            raise ValueError("salt has half of a character")
        if self.validation_share + self.test_share >= 1:
            raise ValueError(
                f"validation_share and test_share are {self.validation_share} and {self.test_share}: nothing is left to train on"
            )

    @property
    def limits(self) -> conversation.Limits:
        return conversation.Limits(line_bytes_max=self.line_bytes_max, context_tokens=self.context_tokens)

    @property
    def sha256(self) -> str:
        """Hex; equal for equal options on every machine."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()


learn(Options)


def _is_text(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def options_of(values: Any) -> Options:
    """Return the options of a decoded JSON object; raise ValueError with a sentence that names the wrong one."""
    try:
        return msgspec.convert(values, Options)
    except msgspec.ValidationError as wrong:
        raise ValueError(str(wrong)) from None
