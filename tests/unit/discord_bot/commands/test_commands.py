"""Commands and buttons over the real API: what they do there, and what their cards say."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import RunStatus
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.discord_bot.cards.presses import Ask, Do, Drop, Look, TurnTo, written
from model_trainer.discord_bot.commands.family_schema import read_schema
from model_trainer.discord_bot.commands.service import missing_parts
from model_trainer.discord_bot.commands.train_form import TrainForm
from model_trainer.models.family import Family
from model_trainer.models.gpt2 import FAMILY as GPT2
from model_trainer.registry import Registry
from tests.unit.client.fake_api import FakeApi, page, problem, run_view
from tests.unit.discord_bot.desk import OWNER_ID, Office, desk_over, kind_of, office, presses, words

OURS = tuple(Registry.discover().families().values())


@pytest.fixture
def here() -> Iterator[Office]:
    with office() as opened:
        yield opened


def test_a_family_that_was_dropped_in_is_ordered_like_any_other(here: Office) -> None:
    form = TrainForm(
        family="walnut",
        corpus="demo",
        tokenizer=here.tokenizer("char"),
        name="nut",
        learning_rate=0.5,
        settings="rings=4, shell=thin",
    )
    answer = here.desk.run(lambda commands: commands.train(form, idempotency_key="discord-1"))
    (record,) = here.api.get("/runs").json()["data"]
    assert (record["family"], record["user_id"], record["metadata"]) == (
        "walnut",
        str(OWNER_ID),
        {"name": "nut"},
    )
    assert (record["spec"]["rings"], record["spec"]["shell"]) == (4, "thin")
    assert record["spec"]["optimizer"]["learning_rate"] == 0.5
    assert answer.card.mark == record["run_id"]
    assert "nut" in words(answer.card)


@pytest.mark.parametrize("family", OURS, ids=lambda family: family.name)
def test_every_family_of_ours_is_ordered_with_what_must_be_given(
    family: Family,
) -> None:
    reads_tables = read_schema(kind_of(family)).find("data_paths") is not None
    with office(families=OURS) as here:
        table = here.service.corpora.root / "essays.csv"
        table.write_text("text,label\nOf people.,human\nOf machines.,ai\n")
        form = TrainForm(
            family=family.name,
            corpus="essays.csv" if reads_tables else "demo",
            tokenizer=None if reads_tables else here.tokenizer(),
            max_steps=5,
            seed=3,
            settings="from_scratch=true" if reads_tables else "",
        )
        run_id = here.desk.run(lambda commands: commands.train(form, idempotency_key="discord-1")).card.mark
        record = here.api.get(f"/runs/{run_id}").json()
    assert (record["family"], record["status"]) == (family.name, "queued")
    assert (record["spec"]["max_steps"], record["spec"]["seed"]) == (5, 3)


def test_one_that_came_since_the_last_look_is_found_as_well() -> None:
    old: dict[str, object] = {"families": []}
    new: dict[str, object] = {"families": [kind_of(GPT2).model_dump(mode="json")]}
    api = FakeApi().on("GET", "/families", old, new).on("POST", "/runs/train", run_view())
    form = TrainForm(family="gpt2", corpus="demo", tokenizer=new_ulid())
    with desk_over(api.handle) as desk:
        desk.run(lambda commands: commands.train(form, idempotency_key="discord-1"))
        assert [request.url.path for request in desk.requests] == ["/families", "/families", "/runs/train"]
        assert desk.requests[-1].headers["idempotency-key"] == "discord-1"


def test_a_new_training_is_among_the_suggestions_at_once(here: Office) -> None:
    form = TrainForm(family="toy", corpus="demo", tokenizer=here.tokenizer())
    assert here.desk.suggest("cancel.run_id") == {}
    here.desk.run(lambda commands: commands.train(form, idempotency_key="discord-1"))
    assert len(here.desk.suggest("cancel.run_id")) == 1


def test_the_same_key_orders_once(here: Office) -> None:
    form = TrainForm(family="toy", corpus="demo", tokenizer=here.tokenizer())
    marks = {
        here.desk.run(lambda commands: commands.train(form, idempotency_key="discord-1")).card.mark
        for _ in range(2)
    }
    assert len(marks) == len(here.api.get("/runs").json()["data"]) == 1


def test_a_form_that_does_not_fit_is_refused_with_reasons_before_it_is_sent(here: Office) -> None:
    form = TrainForm(
        family="walnut", corpus="demo", tokenizer=here.tokenizer(), batch_size=0, settings="shell_=3"
    )
    answer = here.desk.run(lambda commands: commands.train(form, idempotency_key="discord-1"))
    said = words(answer.card)
    assert answer.card.title == "Nothing was ordered"
    assert "**batch_size** must be a whole number at least 1 and at most 1,000,000" in said
    assert "**shell_** is not a field of walnut: is shell meant?" in said
    assert "**rings** is missing" in said
    assert here.api.get("/runs").json()["data"] == []


def test_an_unknown_family_is_refused_with_the_way_out(here: Office) -> None:
    form = TrainForm(family="@everyone", corpus="demo")
    said = words(here.desk.run(lambda commands: commands.train(form, idempotency_key="discord-1")).card)
    assert "**family** is none that can be trained here" in said
    assert "everyone" not in said


def test_what_the_api_refuses_is_told_by_its_fields_and_never_by_its_words(here: Office) -> None:
    form = TrainForm(family="toy", corpus="/etc/passwd", tokenizer=here.tokenizer())
    said = words(here.desk.run(lambda commands: commands.train(form, idempotency_key="discord-1")).card)
    assert "corpus_path" in said
    assert "passwd" not in said
    assert "request" in said


def test_fields_that_the_family_does_not_have_are_not_repeated() -> None:
    errors = [{"pointer": "/books/0", "message": "x"}, {"pointer": "/sample_prompts/0", "message": "y"}]
    api = FakeApi().on("GET", "/families", {"families": [kind_of(GPT2).model_dump(mode="json")]})
    api.on("POST", "/runs/train", problem(422, "CONFIG_INVALID", "No.", errors=errors))
    form = TrainForm(family="gpt2", corpus="demo", tokenizer=new_ulid())
    with desk_over(api.handle) as desk:
        said = words(desk.run(lambda commands: commands.train(form, idempotency_key="discord-1")).card)
    assert "sample_prompts" in said
    assert "books" not in said


def test_status_shows_the_run_and_lets_one_look_again(here: Office) -> None:
    run_id = here.standing(RunStatus.RUNNING, user_id="somebody")
    answer = here.desk.run(lambda commands: commands.status(f" {run_id.lower()} "))
    assert answer.card.mark == run_id
    assert not answer.in_place
    assert presses(answer)["Refresh"] == written(Look(run_id))
    assert "Cancel" in presses(answer)
    assert "somebody" not in words(answer.card)
    here.service.runs.request_cancel(run_id)
    again = here.desk.run(lambda commands: commands.pressed(written(Look(run_id))))
    assert again.in_place
    assert again.card.title != answer.card.title


@pytest.mark.parametrize("text", ["", "latest", "../../etc/passwd", "01JD", "8" * 26])
def test_what_is_no_id_is_refused_before_anybody_is_asked(text: str) -> None:
    with desk_over(FakeApi().handle) as desk:
        commands = desk.commands
        ways = (
            commands.status,
            commands.cancel,
            commands.pause,
            commands.resume,
            commands.watch,
            commands.unwatch,
        )
        for way in ways:
            assert asyncio.run(way(text)).card.title == "This is no run's id"
        assert desk.requests == []


def test_an_unknown_run_is_told_apart_from_a_fault(here: Office) -> None:
    run_id = new_ulid()
    for answer in (
        here.desk.run(lambda commands: commands.status(run_id)),
        here.desk.run(lambda commands: commands.cancel(run_id)),
        here.desk.run(lambda commands: commands.watch(run_id)),
        here.desk.run(lambda commands: commands.pressed(written(Look(run_id)))),
    ):
        assert "There is no run with this id" in words(answer.card)
        assert not answer.in_place
    assert here.desk.watching.run_ids == []


def test_an_api_that_is_away_is_one_short_card_for_every_command() -> None:
    def away(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route to 10.0.0.7")

    run_id = new_ulid()
    with desk_over(away) as desk:
        answers = [
            desk.run(lambda commands: commands.train(TrainForm("gpt2", "x"), idempotency_key="k")),
            desk.run(lambda commands: commands.status(run_id)),
            desk.run(lambda commands: commands.cancel(run_id)),
            desk.run(lambda commands: commands.pause(run_id)),
            desk.run(lambda commands: commands.resume(run_id)),
            desk.run(lambda commands: commands.runs()),
            desk.run(lambda commands: commands.watch(run_id)),
            desk.run(lambda commands: commands.service()),
            *(
                asyncio.run(desk.commands.pressed(written(press)))
                for press in (Ask("cancel", run_id), Do("cancel", run_id), Look(run_id), TurnTo(1))
            ),
        ]
    for answer in answers:
        assert "does not answer" in words(answer.card)
        assert "10.0.0.7" not in words(answer.card)
        assert "api.test" not in words(answer.card)


def test_runs_are_listed_ten_a_page_newest_first(here: Office) -> None:
    tokenizer_id = here.tokenizer()
    runs = [here.training(tokenizer_id=tokenizer_id) for _ in range(23)][::-1]

    def listed(said: str) -> list[str]:
        return [run_id for run_id in runs if run_id in said]

    first = here.desk.run(lambda commands: commands.runs())
    assert listed(words(first.card)) == runs[:10]
    assert set(presses(first).values()) == {written(TurnTo(1))}
    assert not first.in_place
    second = here.desk.run(lambda commands: commands.pressed(written(TurnTo(1))))
    assert listed(words(second.card)) == runs[10:20]
    assert set(presses(second).values()) == {written(TurnTo(0)), written(TurnTo(2))}
    assert second.in_place
    third = here.desk.run(lambda commands: commands.runs(2))
    assert listed(words(third.card)) == runs[20:]
    assert set(presses(third).values()) == {written(TurnTo(1))}
    assert listed(words(here.desk.run(lambda commands: commands.runs(3)).card)) == []


def test_a_page_that_is_just_full_has_none_behind_it(here: Office) -> None:
    tokenizer_id = here.tokenizer()
    for _ in range(10):
        here.training(tokenizer_id=tokenizer_id)
    assert presses(here.desk.run(lambda commands: commands.runs())) == {}


def test_no_more_is_read_than_a_page_needs() -> None:
    run_id = run_view()["run_id"]
    api = FakeApi().on("GET", "/runs", page(*[run_view()] * 100, has_more=True, last_id=str(run_id)))
    with desk_over(api.handle) as desk:
        desk.run(lambda commands: commands.runs(0))
        assert [request.url.params["limit"] for request in desk.requests] == ["11"]
        desk.requests.clear()
        desk.run(lambda commands: commands.runs(10))
        assert [request.url.params["limit"] for request in desk.requests] == ["100", "100"]


def test_there_is_a_last_page() -> None:
    api = FakeApi().on(
        "GET", "/runs", page(*[run_view()] * 100, has_more=True, last_id=str(run_view()["run_id"]))
    )
    with desk_over(api.handle) as desk:
        last = desk.run(lambda commands: commands.pressed(written(TurnTo(9999))))
        assert len(desk.requests) == 51
    assert last.card.title == "Runs, page 501"
    assert set(presses(last).values()) == {written(TurnTo(499))}


def test_watching_a_run_and_no_longer(here: Office) -> None:
    run_id = here.standing(RunStatus.RUNNING, user_id="somebody")
    assert "No run is watched" in words(here.desk.run(lambda commands: commands.watch(None)).card)
    assert run_id in words(here.desk.run(lambda commands: commands.watch(run_id)).card)
    assert here.desk.watching.run_ids == [run_id]
    assert run_id in words(here.desk.run(lambda commands: commands.watch(None)).card)
    assert "no more" in words(here.desk.run(lambda commands: commands.unwatch(run_id)).card)
    assert here.desk.watching.run_ids == []
    assert "was not watched" in words(here.desk.run(lambda commands: commands.unwatch(run_id)).card)


def test_a_run_that_has_completed_is_not_watched_one_that_can_go_on_is(here: Office) -> None:
    done, failed = here.standing(RunStatus.COMPLETED), here.standing(RunStatus.FAILED)
    assert "nothing more will happen" in words(here.desk.run(lambda commands: commands.watch(done)).card)
    here.desk.run(lambda commands: commands.watch(failed))
    assert here.desk.watching.run_ids == [failed]


def test_a_watch_list_that_is_away_is_a_card(here: Office) -> None:
    here.desk.watching.fault = AppError(ErrorCode.STORE_UNAVAILABLE, "redis://:secret@10.0.0.7")
    run_id = here.training()
    said = words(here.desk.run(lambda commands: commands.watch(run_id)).card)
    assert "store is away" in said
    assert "10.0.0.7" not in said


def test_a_service_that_has_all_it_needs(here: Office) -> None:
    for queue in ("training", "short", "inference"):
        here.service.worker_alive(queue)
    running, waiting = here.standing(RunStatus.RUNNING), here.standing(RunStatus.QUEUED)
    paused, done = here.standing(RunStatus.PAUSED), here.standing(RunStatus.COMPLETED)
    here.desk.watching.run_ids[:] = [new_ulid()] * 7
    card = here.desk.run(lambda commands: commands.service()).card
    said = words(card)
    assert card.title == "Model Trainer is ready"
    assert here.api.get("/healthz").json()["version"] in said
    assert "Watched 7" in said
    assert all(run_id in said for run_id in (running, waiting, paused))
    assert done not in said


def test_a_service_that_lacks_something_says_what_in_our_own_words(here: Office) -> None:
    here.service.worker_alive("training")
    run_id = here.training()
    card = here.desk.run(lambda commands: commands.service()).card
    assert card.title == "Model Trainer is not ready"
    assert "a worker for the queue short" in words(card)
    assert "a worker for the queue inference" in words(card)
    assert "queue training" not in words(card)
    assert "does not answer" not in words(card)
    assert run_id in words(card)


def test_a_service_that_refuses_the_bots_key_is_not_called_ready() -> None:
    api = FakeApi().on("GET", "/readyz", {"status": "ready"}).on("GET", "/healthz", {"version": "1.2.0"})
    api.on("GET", "/runs", problem(401, "UNAUTHORIZED", "No."))
    with desk_over(api.handle) as desk:
        card = desk.run(lambda commands: commands.service()).card
    assert card.title == "Model Trainer is not ready"
    assert "SECURITY__API_KEY" in card.text
    assert "Runs now" not in words(card)


def test_every_part_that_can_be_missing_has_a_name_and_others_are_passed_over() -> None:
    pointers = (
        "/store",
        "/disk",
        "/artifact_store",
        "/workers/short",
        "/workers/../etc",
        "/workers/",
        "/etc/passwd",
    )
    assert missing_parts([FieldFault(pointer, "secret") for pointer in pointers]) == [
        "the run store (Redis)",
        "disk space for artifacts",
        "the artifact store",
        "a worker for the queue short",
    ]


def test_a_service_is_looked_at_anew_each_time(here: Office) -> None:
    assert "Runs now 0" in words(here.desk.run(lambda commands: commands.service()).card)
    here.training()
    assert "Runs now 1" in words(here.desk.run(lambda commands: commands.service()).card)


def test_no_is_an_answer_too() -> None:
    with desk_over(FakeApi().handle) as desk:
        answer = desk.run(lambda commands: commands.pressed(written(Drop())))
        assert desk.requests == []
    assert (answer.card.title, answer.in_place) == ("Nothing was done", True)


def test_a_button_that_nobody_knows_any_more_says_so() -> None:
    with desk_over(FakeApi().handle) as desk:
        answer = desk.run(lambda commands: commands.pressed("explode:now"))
        assert desk.requests == []
    assert "too old" in answer.card.title
    assert not answer.in_place


def test_hints_come_from_the_schemas_and_have_an_end(here: Office) -> None:
    hints = here.desk.run(lambda commands: commands.hints())
    assert hints["max_steps"].startswith("Optimizer steps; not together with num_epochs (a whole number")
    assert all(0 < len(hint) <= 100 for hint in hints.values())
    assert set(hints) == set(TrainForm.__dataclass_fields__)
