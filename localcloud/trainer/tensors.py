"""
Named tensors in a safetensors file, read and written without the library.

The format: 8 bytes little-endian length, a JSON header with dtype, shape and offsets, then the bytes.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from localcloud.trainer import errors

Array = npt.NDArray[np.float32]
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


def write(path: Path, tensors: Mapping[str, Array], *, dtype: str, notes: Mapping[str, str]) -> None:
    """Write all tensors in one dtype; `notes` become the header's metadata."""
    header: dict[str, object] = {"__metadata__": {"format": "pt", **notes}}
    blobs = []
    offset = 0
    for name in sorted(tensors):
        blob = np.ascontiguousarray(tensors[name].astype(DTYPES[dtype])).tobytes()
        header[name] = {"dtype": dtype, "shape": list(tensors[name].shape), "data_offsets": [offset, offset + len(blob)]}
        offset += len(blob)
        blobs.append(blob)
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    path.write_bytes(struct.pack("<Q", len(head)) + head + b"".join(blobs))


def read(path: Path) -> dict[str, Array]:
    """All tensors as float32; a damaged file is refused with what is wrong with it."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise errors.BrokenModel(f"{path.name} cannot be read: {error.strerror}.") from error
    try:
        (length,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + length])
        body = memoryview(content)[8 + length :]
        return {name: _tensor(name, entry, body) for name, entry in header.items() if name != "__metadata__"}
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise errors.BrokenModel(f"{path.name} is not a whole safetensors file ({type(error).__name__}).") from error


def _tensor(name: str, entry: dict[str, Any], body: memoryview) -> Array:
    begin, end = entry["data_offsets"]
    if not 0 <= begin <= end <= len(body):
        raise errors.BrokenModel(f"The weights end before the tensor {name!r} does: the file is cut short.")
    values: npt.NDArray[Any] = np.frombuffer(body[begin:end], DTYPES[str(entry["dtype"])])
    shape = tuple(int(size) for size in entry["shape"])
    return values.reshape(shape).astype(np.float32)
