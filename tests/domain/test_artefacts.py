"""What a trained model's folder holds is judged by the names of its files: what can run code when it is loaded is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain import artefacts

pytestmark = pytest.mark.light

PIPELINE = (
    *("MLmodel", "conda.yaml", "requirements.txt", "python_env.yaml", "constraints.txt", "LICENSE", "finetune_config.json"),
    *("data/model/config.json", "data/model/generation_config.json", "data/model/model-00001-of-00002.safetensors"),
    *("data/model/tokenizer.model", "data/model/special_tokens_map.json", "data/config/config.json", "data/tokenizer/tokenizer.json"),
    *("data/model/chat_template.jinja", "data/tokenizer/merges.txt", "ml_configs/deepspeed.json", "README.md"),
)


def test_what_the_published_pipeline_leaves_in_safetensors_is_no_remark() -> None:
    assert artefacts.remark(PIPELINE) == ""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("python_model.pkl", "pickle"),
        ("data/model/pytorch_model.bin", "pickle"),
        ("data/model/training_args.bin", "pickle"),
        ("model.pt", "pickle"),
        ("model.PTH", "pickle"),
        ("artifacts/a.pickle", "pickle"),
        ("model.pkl.gz", "pickle"),
        ("model.pkl.json", "pickle"),
        ("model.pkl ", "pickle"),
        ("optimizer.joblib", "pickle"),
        ("arrays.npz", "pickle"),
        ("model.h5", "pickle"),
        ("code/loader.py", "code"),
        ("code/notes.txt", "code"),
        ("CODE/x", "code"),
        ("data/code/x.json", "code"),
        ("data/model/modeling_phi3.py", "code"),
        ("lib/evil.so", "code"),
        ("lib/evil.so.1", "code"),
        ("data/model/weights", "unknown kind"),
        ("data/model/weights.xyz", "unknown kind"),
        ("data/model/model.safetensors.tmp", "unknown kind"),
        ("archive.zip", "unknown kind"),
        ("data.", "unknown kind"),
        (".safetensors", "unknown kind"),
    ],
)
def test_what_can_run_code_when_it_is_loaded_is_named(path: str, kind: str) -> None:
    said = artefacts.remark((*PIPELINE, path))

    assert said == f"Its folder holds what can run code when it is loaded: {path.strip()} ({kind})."


def test_a_folder_without_its_mlmodel_is_unknown_and_not_harmless() -> None:
    assert artefacts.remark(()) == artefacts.remark(("data/MLmodel", "x.json")) == artefacts.UNKNOWN


def test_of_many_files_a_few_are_named_and_the_rest_is_counted() -> None:
    said = artefacts.remark(("MLmodel", *(f"part-{n:04}.pkl" for n in range(1_000))))

    assert said.endswith("part-0004.pkl (pickle) and 995 more.")


def test_a_name_that_forges_a_line_or_has_no_end_is_one_short_piece_of_the_sentence() -> None:
    said = artefacts.remark(("MLmodel", "a\n2026 INFO all is well\u2028.pkl", f"{'b' * 1_000}.pkl"))

    assert said.isprintable()
    assert said.count("(pickle)") == 2
    assert len(said) < 400


@given(st.text(max_size=30), st.sampled_from(sorted(artefacts.PICKLES)))
def test_a_pickle_is_named_wherever_it_lies(folder: str, suffix: str) -> None:
    assert "pickle" in artefacts.remark(("MLmodel", f"{folder}/a{suffix}"))
    assert "pickle" in artefacts.remark(("MLmodel", f"{folder}/a{suffix.upper()}"))
