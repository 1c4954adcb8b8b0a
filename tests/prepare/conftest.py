from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from shared import prepare
from shared.prepare.folder import FolderPlace

Preparing = Callable[..., "prepare.Prepared | prepare.Refused"]


@pytest.fixture
def prepared(tmp_path: Path) -> Preparing:
    """Prepares bytes in a folder of its own; `step` is the size of the chunks that they come in."""
    return make_preparing(tmp_path)


def make_preparing(folder: Path) -> Preparing:
    def run(content: bytes | Iterable[bytes], *, step: int = 1 << 20, name: str = "chats.jsonl", **options: Any) -> Any:
        whole = content if isinstance(content, bytes) else b"".join(content)
        return prepare.prepare(
            [source_of(whole, step=step, name=name)], FolderPlace(folder), options=prepare.Options(**options), workdir=folder
        )

    return run


def source_of(content: bytes, *, step: int = 1 << 20, name: str = "chats.jsonl", side: prepare.Side | None = None) -> prepare.Source:
    """Bytes in memory, that come in chunks of `step`."""
    return prepare.Source(
        name=name, size=len(content), open=lambda: (content[at : at + step] for at in range(0, len(content), step)), side=side
    )
