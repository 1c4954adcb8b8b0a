from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from shared import prepare

Preparing = Callable[..., "prepare.Prepared | prepare.Refused"]


@pytest.fixture
def prepared(tmp_path: Path) -> Preparing:
    """Prepares bytes in a folder of its own; `step` is the size of the chunks that they come in."""
    return make_preparing(tmp_path)


def make_preparing(folder: Path) -> Preparing:
    def run(content: bytes | Iterable[bytes], *, step: int = 1 << 20, suffix: str = ".jsonl", **options: Any) -> Any:
        whole = content if isinstance(content, bytes) else b"".join(content)
        chunks = (whole[at : at + step] for at in range(0, len(whole), step))
        source = prepare.Source(suffix=suffix, size=len(whole), chunks=chunks)
        return prepare.prepare(source, workdir=folder, options=prepare.Options(**options))

    return run
