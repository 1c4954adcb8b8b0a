"""
The child that counts: `python -m shared.prepare.counting TASK` reads a tokenizer file, then one JSON array of texts on each line of its
standard input, and answers each line with one number of tokens. Its first answer, 0, says that the file could be read.

Who writes a tokenizer file decides what a text becomes: 3 characters can be 3 GB, and what the library written in Rust cannot allocate
ends the process. A file that cannot be used ends this one with the exit code REFUSED.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Final

import msgspec

from shared.domain.structs import learn
from shared.prepare.child import allow_cpu, limit_this_process

REFUSED: Final = 3
# Of processor time, for the file and then for all texts; a hostile file may hold a core for 5 s a megabyte.
READ_SECONDS: Final = 2.0
READ_BYTES_A_SECOND: Final = 2_500_000  # a Unigram of 10 MB takes 2.5 s
COUNT_SECONDS: Final = 1.0
COUNT_BYTES_A_SECOND: Final = 500_000  # 4 MB/s measured with a BPE of 200,000
ANY_TEXT: Final = "Ünï, 你好 \U0001f600 <|x|>\n\t 0"  # a vocabulary without a word for what it does not know fails at it


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """What the child is told, as its one argument."""

    path: str
    memory_bytes: int
    cpu_seconds: int


learn(Task)


def main(argument: str) -> int:
    task = msgspec.json.decode(argument, type=Task)
    limit_this_process(address_bytes=task.memory_bytes, held_bytes=task.memory_bytes, cpu_seconds=task.cpu_seconds)
    from tokenizers import Tokenizer

    texts, file, asked = msgspec.json.Decoder(list[str]), Path(task.path).read_bytes(), 0
    try:
        allow_cpu(READ_SECONDS + len(file) / READ_BYTES_A_SECOND)
        reader = Tokenizer.from_str(file.decode())
        reader.no_truncation()  # a file may carry both from the training of its model: then a long text would count as a short one
        reader.no_padding()
        reader.encode(ANY_TEXT, add_special_tokens=False)
        _answer(0)
        read_s = time.process_time()
        for line in sys.stdin.buffer:
            asked += len(line)
            allow_cpu(read_s + COUNT_SECONDS + asked / COUNT_BYTES_A_SECOND - time.process_time())
            _answer(sum(len(reader.encode(text, add_special_tokens=False).ids) for text in texts.decode(line)))
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - the library raises bare Exception, and what it calls a panic is not even that
        sys.stderr.write(f"\n{type(error).__name__}")
        return REFUSED
    return 0


def _answer(number: int) -> None:
    sys.stdout.buffer.write(b"%d\n" % number)
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
