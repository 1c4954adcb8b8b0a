"""What others wrote becomes one printable line without a secret in it, and a sentence of ours stays as it is."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared import plain as module
from shared.errors import Rejected, Stop, TryLater, WrongSettings
from shared.plain import CHARACTERS_MAX, HIDDEN, plain
from tests.canaries import CANARY

pytestmark = pytest.mark.light

TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJjYW5hcnkifQ.c4n4ry-_signature"


@given(st.text(alphabet=st.characters()) | st.text(alphabet="sig=&? \n\x1b\ud800\u2028éabc:/@", max_size=30))
@example("a\u2028b\x85c\r\n\ud800\x1b[31m\u202e")
@example("x" * 50_000)
def test_any_text_becomes_one_short_line_that_can_be_written_and_does_not_change_again(text: str) -> None:
    line = plain(text)

    assert line.isprintable()
    assert len(line.splitlines()) <= 1
    assert len(line) <= CHARACTERS_MAX
    assert plain(line) == line
    line.encode()


@pytest.mark.parametrize(
    "sentence",
    [
        "The blob name has an empty, '.' or '..' segment, which would leave its folder; rename the blob.",
        '_recipe.json must be a JSON object of parameter and value, for example {"num_train_epochs": 2}.',
        "Prüfe „Größe 文“ … 3 %: learning_rate is 5e-06; see https://aka.ms/x?view=azureml-api-2#sig.",
        "Submitting job ft-0123456789ab-a1: the design = the plan, password is missing, Bearer is needed, basic questions remain",
        "",
    ],
)
def test_a_sentence_for_people_is_left_as_it_is(sentence: str) -> None:
    assert plain(sentence) == sentence


@pytest.mark.parametrize(
    "text",
    [
        f"https://acc.blob.core.windows.net/c/b?sv=2024-11-04&se=2026&sr=b&sig={CANARY}&sp=r",
        f"https://acc.blob.core.windows.net/c/b?sig={CANARY.replace('+', '%2B')}",
        f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={CANARY};EndpointSuffix=core.windows.net",
        f"Endpoint=sb://x/;SharedAccessKeyName=n;SharedAccessKey={CANARY}",
        f"BlobEndpoint=https://x/;SharedAccessSignature=sv=1&sig={CANARY}",
        f"Authorization: Bearer {TOKEN}",
        f"authorization: bearer {CANARY}",
        f"Authorization: Basic {CANARY}",
        f"it was {TOKEN} that expired",
        f'{{"access_token": "{CANARY}", "expires_in": 1}}',
        f"{{'primaryKey': '{CANARY}', 'secondaryKey': '{CANARY}'}}",
        f"client_secret={CANARY}&grant_type=x",
        f"aeg-sas-key: {CANARY}",
        f"x-functions-key={CANARY}",
        f"https://somebody:{CANARY.replace('/', '-')}@pypi.example/simple",
        f"api_key = {CANARY}, API-KEY: {CANARY}",
    ],
)
def test_a_secret_of_a_known_form_is_hidden_and_the_words_around_it_stay(text: str) -> None:
    for said in (plain(f"It failed:\n{text}\nTry again."), str(TryLater(f"It failed: {text} Try again."))):
        assert "c4n4ry" not in said
        assert "(hidden)" in said
        assert said.startswith("It failed:")
        assert said.endswith("Try again.")


KEY_WORDS = (  # that say what stands behind them
    *(
        "sig",
        "AccountKey",
        "SharedAccessKey",
        "SharedAccessSignature",
        "aeg-sas-key",
        "x-functions-key",
        "client_secret",
        "password",
        "pwd",
    ),
    *("api-key", "api_key", "apikey", "access_token", "refresh_token", "primaryKey", "secondaryKey"),
)


@pytest.mark.parametrize("word", KEY_WORDS)
@pytest.mark.parametrize("form", ["{}={}", '{{"{}": "{}"}}', "{{'{}': '{}'}}", "x;{}:{};y", "{} = {}", "x?a=1&{}={}&b=2", "{}: '{}'"])
def test_what_stands_behind_a_word_for_a_key_is_hidden_in_every_form_and_case(word: str, form: str) -> None:
    for written in (word, word.lower(), word.upper()):
        assert plain(form.format(written, CANARY)) == form.format(written, HIDDEN)


def test_no_word_for_a_key_is_left_out_of_the_table_above() -> None:
    known = module._KEY.removeprefix("(?:").removesuffix(")").split("|")

    assert [one for one in known if not any(re.fullmatch(one, word) for word in KEY_WORDS)] == []


def test_every_error_of_ours_speaks_in_one_line() -> None:
    stop = Stop("a\nb", next_action=f"c\u2028d sig={CANARY}")

    assert (str(stop), stop.next_action) == ("a b", "c d sig=(hidden)")
    assert str(Rejected("\ud800")) == "\\ud800"
    assert str(WrongSettings(f"Wrong:\n  A is 'x\x1b'\n  B: sig={CANARY}")) == "Wrong:\n  A is 'x\\x1b'\n  B: sig=(hidden)"


@pytest.mark.parametrize(
    "unit",
    [
        *("eyJ-", "eyJ-eyJ.", "eyJaaaaaa-.", "a.", "a-", "://", "a://", "sig", "sig=", "bearer ", "bearer 1", "basic a-"),
        *("@", "\u202e", "\0 "),
    ],
)
def test_no_line_makes_the_search_for_secrets_slow(unit: str) -> None:
    """A model writes the log that is read. Goal: time that grows with the line and not with its square, which would be minutes."""
    line = (unit * 400_000)[:400_000] + "=@ J"
    begun = time.process_time()
    plain(line, limit=10 * len(line))

    assert time.process_time() - begun < 2


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("x-eyJhbGciOi.eyJzdWIi.c2ln-_ y", "x-(hidden) y"),
        ("eyJhbGciOi-eyJ0.eyJzdWIi.c2ln", "(hidden)"),
        ("a.eyJhbGciOi.eyJzdWIi.", "a.(hidden)"),
        ("git+ssh://me:pw@host and 9+://me:pw@host", "git+ssh://(hidden)@host and 9+://(hidden)@host"),
        ("://me@host a.b.c", "://me@host a.b.c"),
    ],
)
def test_a_token_is_found_wherever_it_begins(text: str, shown: str) -> None:
    assert plain(text) == shown
