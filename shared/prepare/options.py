"""Everything that an owner or an operator may choose; the same options and the same bytes give the same files."""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.domain import conversation


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsMin:
    """Below these Azure ML's pipeline fails after the job has started, or an evaluation has nothing to look at."""

    train: int = 10  # "fewer than 10 samples" ends the job (azureml-acft-contrib-hf-nlp 0.0.91)
    validation: int = 1  # an empty split ends the job
    test: int = 1  # no smoke test without one

    @property
    def all(self) -> tuple[int, int, int]:
        return (self.train, self.validation, self.test)


@dataclass(frozen=True, kw_only=True, slots=True)
class ParquetLimits:
    """What a table may hold, by its footer and again when it is decoded; beyond it the table is refused."""

    rows_max: int = 20_000_000
    columns_max: int = 1_000  # leaf columns
    row_groups_max: int = 100_000
    row_group_bytes_max: int = 512 << 20  # uncompressed and in memory at once; one group of 200 MB is common
    total_bytes_max: int = 10 << 30  # uncompressed


@dataclass(frozen=True, kw_only=True, slots=True)
class Options:
    salt: str = ""  # changes which prompts are held out
    validation_share: float = 0.1  # of the rows
    test_share: float = 0.1  # of the rows
    rows_min: RowsMin = field(default_factory=RowsMin)
    source_bytes_max: int = 5 << 30  # a guess: 3.5 times ultrachat_200k; twice this much temporary disk is needed
    line_bytes_max: int = 4 << 20  # a 4,096-token row has about 20 kB
    bad_rows_max_share: float = 0.0  # of the rows; 0: one row that cannot be used refuses the file
    context_characters_max: int = 12_288  # a guess: 4,096 tokens (Phi-3-mini-4k) of 3 characters
    samples_max: int = 20  # held-out rows that travel with the result
    sample_bytes_max: int = 32 << 10  # of one such row, so that all of them fit a message: 640 kB
    parquet: ParquetLimits = field(default_factory=ParquetLimits)

    def __post_init__(self) -> None:
        shares = (self.validation_share, self.test_share)
        if min(shares) <= 0 or sum(shares) >= 1:
            raise ValueError(f"Shares are {shares}; both must be above 0 and leave something to train on.")
        if not 0 <= self.bad_rows_max_share < 1:
            raise ValueError(f"bad_rows_max_share is {self.bad_rows_max_share}; write a share from 0 to below 1.")
        if min(self.rows_min.all) < 1:
            raise ValueError("rows_min has a zero; each of the three files needs a row.")

    @property
    def limits(self) -> conversation.Limits:
        return conversation.Limits(line_bytes_max=self.line_bytes_max, context_characters_max=self.context_characters_max)
