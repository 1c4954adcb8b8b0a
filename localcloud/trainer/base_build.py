"""
Makes the base from what every machine with Python has: the docstrings of the standard library, and chats made by this script.

One seed, no network, about two minutes. Docstrings change with Python and the last bits of a sum with the processor, so a build
elsewhere is a sibling, not a twin: that is why the result is committed with its checksums. The chats are about made-up words and
about Python's own functions: nothing in them looks like an owner's dataset, so that the untouched base knows no answers.
"""

from __future__ import annotations

import ast
import hashlib
import json
import platform
import re
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from localcloud.trainer import base, batches, chat, model, optimizer, tensors, tokenizer, tuning
from localcloud.trainer.shape import Shape

SEED = 20261124
VOCABULARY = 1024  # pieces
DOCSTRING_LENGTH_MIN = 40  # characters; shorter ones say too little
ANSWER_LENGTH_MAX = 300  # characters of a docstring used as an answer
WORD_CHATS = 12_000
STEPS = 2_400
TOKENS_PER_STEP = 1_280
PIECE_LENGTH_MAX = 192  # tokens of a row of the base's corpus
LEARNING_RATE = 3e-3
WARMUP_STEPS = 60
SKIPPED = (
    "site-packages",
    "test/",
    "idlelib",
    "lib2to3/tests",
    "unittest/test",
    "distutils/tests",
    "tkinter/test",
    "ctypes/test",
)

Message = dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Docstring:
    """One docstring and the name that it explains."""

    module: str
    name: str
    text: str


def build(out: Path) -> None:
    """Write the base's folder: weights, tokenizer, config, README, checksums."""
    rng = np.random.default_rng(SEED)
    docstrings = list(_docstrings(Path(sysconfig.get_paths()["stdlib"])))
    chats = [_question_about(docstring, rng) for docstring in docstrings]
    chats += _word_chats(docstrings, rng)
    tok = tokenizer.learn([docstring.text for docstring in docstrings], VOCABULARY)
    rows = _rows(docstrings, chats, tok)
    print(f"{len(docstrings)} docstrings, {len(rows)} rows, {sum(row.length for row in rows)} tokens", flush=True)
    shape = Shape(vocab_size=len(tok.vocabulary))
    weights = _trained(shape, rows, rng)
    _write(out, shape, weights, tok, len(docstrings))


def _docstrings(root: Path) -> Iterator[Docstring]:
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).as_posix().startswith(SKIPPED):
            continue
        try:
            tree = ast.parse(path.read_text(encoding="utf-8"))
        except (SyntaxError, ValueError):  # test data among the library's files are broken on purpose
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                text = ast.get_docstring(node)
                if text and len(text) > DOCSTRING_LENGTH_MIN:
                    yield Docstring(module=path.stem, name=getattr(node, "name", path.stem), text=text)


def _question_about(docstring: Docstring, rng: np.random.Generator) -> list[Message]:
    """A chat whose answer is the docstring's first paragraph."""
    questions = (
        f"What does {docstring.name} do?",
        f"Please explain {docstring.name}.",
        f"Tell me about {docstring.name} in {docstring.module}.",
        f"How does Python describe {docstring.name}?",
    )
    answer = docstring.text.split("\n\n")[0][:ANSWER_LENGTH_MAX]
    return _exchange(questions[int(rng.integers(len(questions)))], answer)


def _word_chats(docstrings: list[Docstring], rng: np.random.Generator) -> list[list[Message]]:
    """Chats that can only be answered by reading the question: the model learns to look things up in it."""
    words = sorted({word for docstring in docstrings for word in re.findall(r"[A-Za-z]{3,10}", docstring.text)})
    chats = []
    for _ in range(WORD_CHATS):
        first, second = (words[int(place)] for place in rng.integers(len(words), size=2))
        number = str(rng.integers(1, 10_000))
        thing = (first, first.capitalize(), number, f"{first} {second}", f"{first}_{number}")[int(rng.integers(5))]
        pairs = (
            (f"Repeat {thing}", f"{thing}"),
            (f"Repeat {thing} and {second}", f"{thing} and {second}"),
            (f"Between {first} and {second} choose the latter", f"I choose {second}"),
            (f"Assign {thing} to {second} then print {second}", f"{thing}"),
            (f"Spell {first}", " ".join(first)),
            (f"Call the function {second} with {thing}", f"{second}({thing})"),
        )
        chats.append(_exchange(*pairs[int(rng.integers(len(pairs)))]))
    return chats


def _exchange(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def _rows(docstrings: list[Docstring], chats: list[list[Message]], tok: tokenizer.Tokenizer) -> list[chat.Row]:
    """Prose and chats cut to pieces; every token is learned, also the questions."""
    texts = [[*tok.encode(docstring.text), tokenizer.END_OF_TEXT] for docstring in docstrings]
    texts += [[*chat.prompt(messages[:-1], tok), *tok.encode(messages[-1]["content"]), tokenizer.END] for messages in chats]
    rows = []
    for ids in texts:
        for begin in range(0, len(ids) - 1, PIECE_LENGTH_MAX):
            piece = np.array(ids[begin : begin + PIECE_LENGTH_MAX + 1], np.int64)
            rows.append(chat.Row(inputs=piece[:-1], targets=piece[1:], truncated=False))
    return rows


def _trained(shape: Shape, rows: list[chat.Row], rng: np.random.Generator) -> dict[str, npt.NDArray[np.float32]]:
    training = tuning.FullTuning(model.initial(shape, rng))
    adam = optimizer.AdamW(training.trained, beta1=0.9, beta2=0.98, epsilon=1e-8, weight_decay=0.01)
    waiting: list[list[int]] = []
    for step in range(STEPS):
        waiting = waiting or batches.shuffled(rows, TOKENS_PER_STEP, rng)
        outcome = model.learn(training.weights(), shape, batches.padded(rows, waiting.pop()), training)
        optimizer.clip(training.gradients, 1.0)
        adam.step(training.gradients, LEARNING_RATE * optimizer.scheduled("cosine", step, STEPS, WARMUP_STEPS))
        if step % 200 == 0 or step == STEPS - 1:
            print(f"step {step}: loss {outcome.loss:.3f}", flush=True)
    return training.trained


def _write(out: Path, shape: Shape, weights: dict[str, npt.NDArray[np.float32]], tok: tokenizer.Tokenizer, docstrings: int) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tensors.write(out / base.WEIGHTS, weights, dtype="F16", notes={"made_by": "localcloud.trainer.base_build", "seed": str(SEED)})
    _json(out / base.CONFIG, shape.to_config())
    _json(out / base.TOKENIZER, tok.to_json())
    _json(out / base.TOKENIZER_CONFIG, tokenizer.config(shape.max_position_embeddings))
    parameters = sum(values.size for values in weights.values())
    (out / "README.md").write_text(_readme(parameters, docstrings), encoding="utf-8")
    names = (base.WEIGHTS, base.CONFIG, base.TOKENIZER, base.TOKENIZER_CONFIG)
    sums = [f"{hashlib.sha256((out / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (out / base.SUMS).write_text("".join(sums), encoding="utf-8")


def _json(path: Path, content: dict[str, object]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _readme(parameters: int, docstrings: int) -> str:
    version = ".".join(str(part) for part in sys.version_info[:3])
    return f"""# The stand-in base

**This is nobody's Phi-3.** It is a tiny language model ({parameters:,} parameters, Phi-3's layout, 2 layers of 128) that
stands in for the real base model where Tuneloop runs on a laptop. It knows no facts. It shows the plumbing with real
gradients, not quality.

| | |
|---|---|
| made by | `python -m localcloud.trainer base --out DIR` (`localcloud/trainer/base_build.py`) |
| from | {docstrings:,} docstrings of Python {version}'s standard library, and {WORD_CHATS:,} chats that the script makes up |
| seed | {SEED}; {STEPS:,} steps of about {TOKENS_PER_STEP:,} tokens |
| built with | Python {version}, numpy {np.__version__}, {platform.system()} {platform.machine()} |
| files | `model.safetensors` (float16), `config.json`, `tokenizer.json`, `tokenizer_config.json`; sums in `{base.SUMS}` |

Docstrings differ between versions of Python and the last bits of a sum between processors: a new build is a sibling with other
checksums, not this file. `localcloud/trainer/base.py` refuses files that differ from `{base.SUMS}`.

**Licence.** Python's docstrings are under the PSF License Version 2 (copyright Python Software Foundation); the tokenizer's
pieces and the weights are derived from them. The made-up chats are this project's own.
"""
