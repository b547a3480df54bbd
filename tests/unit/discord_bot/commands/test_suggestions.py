"""What is offered while an option is typed: over the real API, and whatever happens to it."""

import asyncio
import threading
from collections.abc import Iterator

import httpx
import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import RunStatus
from model_trainer.discord_bot.commands.suggestions import Suggestions
from tests.unit.client.fake_api import FakeApi, page, run_view, tokenizer_view
from tests.unit.discord_bot.desk import Office, desk_over, office


@pytest.fixture
def here() -> Iterator[Office]:
    with office() as opened:
        yield opened


def test_every_family_is_offered_also_one_that_was_dropped_in(here: Office) -> None:
    found = here.desk.suggest("family")
    assert list(found) == ["gpt2", "text_detector", "toy", "walnut"]
    assert found["walnut"] == "walnut \u00b7 Walnuts, in rings"


@pytest.mark.parametrize(("typed", "names"), [("wal", ["walnut"]), ("IN RINGS", ["walnut"]), ("zzz", [])])
def test_families_are_found_by_name_and_title(here: Office, typed: str, names: list[str]) -> None:
    assert list(here.desk.suggest("family", typed)) == names


def test_tokenizers_are_those_the_family_supports_and_are_ready(here: Office) -> None:
    char, bpe = here.tokenizer("char", vocab_size=8000), here.tokenizer("bpe")
    waiting = here.api.post("/tokenizers/train", json={"method": "char", "corpus_path": "demo"}).json()
    assert waiting["status"] == "queued"
    found = here.desk.suggest("tokenizer", family="walnut")
    assert list(found) == [char]
    method, day, of_id = found[char].split(" \u00b7 ")
    assert (method, of_id) == ("char 8,000", char)
    assert len(day.split()) == 3
    assert set(here.desk.suggest("tokenizer", family="toy")) == {char, bpe}
    assert list(here.desk.suggest("tokenizer", "BP", family="toy")) == [bpe]
    assert list(here.desk.suggest("tokenizer", char.lower(), family="toy")) == [char]


def test_a_family_without_tokenizers_is_offered_none(here: Office) -> None:
    here.tokenizer("char")
    assert here.desk.suggest("tokenizer", family="nobody") == {}
    assert here.desk.suggest("tokenizer") == {}


def test_a_tokenizer_that_says_little_of_itself_is_offered_by_what_there_is() -> None:
    kind = {
        "name": "gpt2",
        "supported_tokenizers": ["bpe"],
        "json_schema": {"properties": {"tokenizer_id": {"type": "string"}}},
    }
    bare = {**tokenizer_view(vocab_size=None), "created_at": "yesterday"}
    api = FakeApi().on("GET", "/families", {"families": [kind, {**kind, "name": "own", "json_schema": {}}]})
    api.on("GET", "/tokenizers", page(bare))
    with desk_over(api.handle) as desk:
        (label,) = desk.suggest("tokenizer", family="gpt2").values()
        assert label == f"bpe \u00b7 {bare['tokenizer_id']}"
        assert desk.suggest("tokenizer", family="own") == {}


@pytest.mark.parametrize(
    ("option", "typed", "labels"),
    [
        ("device", "", ["auto (default)", "cpu", "cuda"]),
        ("device", "C", ["cpu", "cuda"]),
        ("precision", "bf", ["bf16"]),
        ("seed", "", ["42 (default)", "0 (the least)"]),
        ("max_steps", "", ["777 (example)", "1 (the least)"]),
        ("max_steps", "7", ["777 (example)"]),
        ("num_epochs", "", []),
        ("corpus", "", []),
        ("name", "", []),
        ("rings", "", []),
    ],
)
def test_options_offer_what_the_familys_schema_says(
    here: Office, option: str, typed: str, labels: list[str]
) -> None:
    assert list(here.desk.suggest(option, typed, family="walnut").values()) == labels


def test_settings_offer_the_names_of_the_familys_other_fields(here: Office) -> None:
    offered = here.desk.suggest("settings", "r", family="walnut")
    assert next(iter(offered.items())) == ("rings=", "rings: a whole number at least 3 and at most 9")
    assert next(iter(here.desk.suggest("settings", "drop", family="walnut"))) == "dropout="
    assert next(iter(here.desk.suggest("settings", "e", family="walnut"))) == "eval_every_steps="
    assert here.desk.suggest("settings", "SHELL", family="walnut") == {
        "shell=": "shell: one of: thin, thick, default thick"
    }


def test_settings_offer_no_field_that_has_an_option_of_its_own(here: Office) -> None:
    own = (
        "model_family",
        "user_id",
        "corpus_path",
        "tokenizer_id",
        "seed",
        "optimizer.learning_rate",
        "metadata",
    )
    for name in (*own, "optimizer"):
        assert f"{name}=" not in here.desk.suggest("settings", name, family="walnut")
    assert list(here.desk.suggest("settings", "optimizer.n", family="walnut")) == ["optimizer.name="]


def test_settings_go_on_where_they_were_left(here: Office) -> None:
    assert here.desk.suggest("settings", "rings=4 ,she", family="walnut") == {
        "rings=4, shell=": "shell: one of: thin, thick, default thick"
    }
    assert here.desk.suggest("settings", "shell=thin, she", family="walnut") == {}


def test_behind_a_name_its_values_are_offered(here: Office) -> None:
    assert here.desk.suggest("settings", "rings=4, shell=", family="walnut") == {
        "rings=4, shell=thin": "shell = thin",
        "rings=4, shell=thick": "shell = thick (default)",
    }
    assert list(here.desk.suggest("settings", "shell= thi", family="walnut")) == ["shell=thin", "shell=thick"]
    assert here.desk.suggest("settings", "tf32=", family="walnut") == {
        "tf32=true": "tf32 = true",
        "tf32=false": "tf32 = false (default)",
    }
    assert list(here.desk.suggest("settings", "rings=", family="walnut")) == ["rings=3"]
    assert list(here.desk.suggest("settings", "normalise_unicode=t", family="text_detector")) == [
        "normalise_unicode=true"
    ]
    assert here.desk.suggest("settings", "optimizer.beta1=", family="walnut") == {
        "optimizer.beta1=0.9": "optimizer.beta1 = 0.9 (default)",
        "optimizer.beta1=0": "optimizer.beta1 = 0 (the least)",
    }
    for name in ("bark", "seed", "user_id", "optimizer", "sample_prompts"):
        assert here.desk.suggest("settings", f"{name}=", family="walnut") == {}


def test_a_line_that_discord_would_not_take_is_not_offered(here: Office) -> None:
    long = "sample_prompts=[" + "x" * 80 + "]"
    assert here.desk.suggest("settings", f"{long}, shell=", family="walnut") == {}
    assert list(here.desk.suggest("settings", f"{long}, tf3", family="walnut")) == []


def test_no_more_than_25_are_offered(here: Office) -> None:
    assert len(here.desk.suggest("settings", family="gpt2")) == 25


def standing(here: Office) -> dict[str, str]:
    """One training in each state, by status; oldest first."""
    tokenizer_id = here.tokenizer()
    return {status.value: here.standing(status, tokenizer_id=tokenizer_id) for status in RunStatus}


@pytest.mark.parametrize(
    ("command", "statuses"),
    [
        ("cancel", {"queued", "running", "paused"}),
        ("pause", {"queued", "running"}),
        ("resume", {"paused", "failed", "cancelled"}),
        ("status", {status.value for status in RunStatus}),
        ("watch", {status.value for status in RunStatus}),
    ],
)
def test_each_command_is_offered_the_runs_that_it_is_for_newest_first(
    here: Office, command: str, statuses: set[str]
) -> None:
    runs = standing(here)
    found = here.desk.suggest(f"{command}.run_id")
    assert list(found) == sorted((runs[status] for status in statuses), reverse=True)


def test_a_runs_label_says_what_it_is() -> None:
    running = run_view(run_id=new_ulid(), progress={"fraction": 0.45})
    strange = run_view(run_id=new_ulid(), family="@everyone", status="Done?")
    api = FakeApi().on("GET", "/runs", page(running, strange))
    with desk_over(api.handle) as desk:
        assert list(desk.suggest("status.run_id").values()) == [
            f"gpt2 running 45 % \u00b7 {running['run_id']}",
            f" \u00b7 {strange['run_id']}",
        ]


def test_runs_are_found_by_the_beginning_of_their_id_by_family_and_by_status(here: Office) -> None:
    runs = standing(here)
    assert list(here.desk.suggest("status.run_id", runs["failed"].lower())) == [runs["failed"]]
    assert list(here.desk.suggest("status.run_id", " Failed ")) == [runs["failed"]]
    assert len(here.desk.suggest("status.run_id", "toy")) == len(runs)
    assert here.desk.suggest("status.run_id", "no such") == {}


def test_unwatch_offers_what_is_watched_with_what_is_known_of_it(here: Office) -> None:
    known, unknown = here.training(), new_ulid()
    here.training()
    here.desk.watching.run_ids[:] = [unknown, known]
    assert here.desk.suggest("unwatch.run_id") == {unknown: unknown, known: f"toy queued \u00b7 {known}"}
    assert list(here.desk.suggest("unwatch.run_id", "toy")) == [known]
    assert list(here.desk.suggest("unwatch.run_id", unknown)) == [unknown]


def test_an_api_that_is_away_offers_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no")

    with desk_over(away) as desk:
        for option in ("family", "tokenizer", "settings", "device", "cancel.run_id", "unwatch.run_id"):
            assert desk.suggest(option, family="gpt2") == {}
    assert "SERVICE_UNAVAILABLE" in capsys.readouterr().out


def test_an_api_that_hangs_is_not_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    end = threading.Event()

    def hang(_request: httpx.Request) -> httpx.Response:
        assert end.wait(10)
        return httpx.Response(200, json={"families": []})

    with desk_over(hang) as desk:

        async def test() -> None:
            suggestions = Suggestions(desk.asking, desk.watching, patience_seconds=0.01)
            assert await suggestions.suggest("family", "", {}) == ()
            end.set()

        asyncio.run(test())
    assert "timeout" in capsys.readouterr().out


def test_a_schema_that_cannot_be_read_offers_nothing() -> None:
    kind = {"name": "gpt2", "json_schema": {"properties": {"seed": {"type": ["integer"]}}}}
    with desk_over(FakeApi().on("GET", "/families", {"families": [kind]}).handle) as desk:
        assert desk.suggest("seed", family="gpt2") == {}
