"""
What a trained model's folder holds, judged by the names of its files, before the model is registered.

A pickle runs what it says when it is loaded (MLflow: CVE-2024-37052, -37056, -37057), and so does code beside a model. The app loads
neither; the server behind the endpoint does. Weights in safetensors and words in JSON or text run nothing. What the published
pipeline leaves may hold `code/` and a pickled `training_args.bin`, so by default this is told and not refused.
"""

from __future__ import annotations

from collections.abc import Collection

from shared.plain import plain

MLMODEL = "MLmodel"  # every MLflow folder has it at its top; without it the listing is not one of a whole model
PICKLES = frozenset({
    ".pkl", ".pickle", ".pk", ".p", ".pt", ".pth", ".ptl", ".bin", ".ckpt", ".joblib", ".dill", ".cloudpickle",
    ".npy", ".npz", ".sav", ".mar", ".h5", ".hdf5", ".keras",
})  # fmt: skip
CODE = frozenset(
    (".py", ".pyc", ".pyo", ".pyd", ".pyw", ".so", ".dll", ".dylib", ".sh", ".bat", ".ps1", ".exe", ".whl", ".egg", ".jar", ".ipynb")
)
CODE_FOLDER = "code"  # MLflow puts it on the path of the process that loads the model
HARMLESS = frozenset({
    ".safetensors", ".json", ".jsonl", ".txt", ".md", ".rst", ".yaml", ".yml", ".model", ".jinja", ".csv", ".tsv", ".toml", ".cfg",
    ".ini", ".lock", ".log", ".spm", ".vocab",
})  # fmt: skip
HARMLESS_NAMES = frozenset(("mlmodel", "license", "notice", "readme", ".gitattributes", ".gitignore", ".amlignore"))
NAME_LENGTH_MAX = 120
NAMED_MAX = 5  # files of a sentence; the rest is counted

UNKNOWN = "What its folder holds is unknown: no MLmodel was found where the job should have written it."


def remark(files: Collection[str]) -> str:
    """Return a sentence on what in a model's folder can run code when it is loaded, '' if nothing can. `files`: paths from its top."""
    if MLMODEL not in files:
        return UNKNOWN
    kinds = {path: kind for path in sorted(files) if (kind := _kind(path))}
    if not kinds:
        return ""
    shown = [f"{plain(path, limit=NAME_LENGTH_MAX)} ({kind})" for path, kind in list(kinds.items())[:NAMED_MAX]]
    more = f" and {len(kinds) - NAMED_MAX} more" if len(kinds) > NAMED_MAX else ""
    return f"Its folder holds what can run code when it is loaded: {', '.join(shown)}{more}."


def _kind(path: str) -> str:
    """Return what a file may be that is not known to be harmless, '' for one that is."""
    *folders, name = path.lower().split("/")
    suffixes = [f".{part.strip()}" for part in name.split(".")[1:]]
    if not PICKLES.isdisjoint(suffixes):
        return "pickle"
    if not CODE.isdisjoint(suffixes) or CODE_FOLDER in folders:
        return "code"
    harmless = name in HARMLESS_NAMES or (suffixes and not name.startswith(".") and suffixes[-1] in HARMLESS)
    return "" if harmless else "unknown kind"
