"""Questions go through threads, a few at a time; what suggestions need is asked once and kept for a while."""

import asyncio
import threading

import httpx
import pytest

from model_trainer.client import TrainerClient
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.client.fake_api import RUN_ID, FakeApi, page, problem, run_view, tokenizer_view
from tests.unit.discord_bot.desk import desk_over

FAMILIES: dict[str, object] = {"families": [{"name": "gpt2"}], "tokenizers": []}


def test_the_answer_comes_and_the_loop_goes_on_meanwhile() -> None:
    may_answer = threading.Event()

    def handle(_request: httpx.Request) -> httpx.Response:
        assert may_answer.wait(10)
        return httpx.Response(200, json=FAMILIES)

    with desk_over(handle) as desk:

        async def test() -> None:
            asked = asyncio.create_task(desk.asking.families())
            await asyncio.sleep(0)
            may_answer.set()
            assert (await asked).families[0].name == "gpt2"

        asyncio.run(test())


def test_no_more_than_four_questions_are_on_their_way() -> None:
    under_way, most = 0, 0
    lock, four_are_in = threading.Lock(), threading.Barrier(4, timeout=10)

    def slow(_client: TrainerClient) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        four_are_in.wait()
        with lock:
            under_way -= 1

    with desk_over(FakeApi().handle) as desk:

        async def test() -> None:
            await asyncio.gather(*(desk.asking.ask(slow) for _ in range(8)))

        asyncio.run(test())
    assert most == 4


def test_what_the_api_refuses_passes_through() -> None:
    api = FakeApi().on("POST", "/runs/x/cancel", problem(409, "CONFLICT", "Not now."))
    with desk_over(api.handle) as desk, pytest.raises(AppError) as caught:
        asyncio.run(desk.asking.ask(lambda client: client.cancel("x")))
    assert (caught.value.code, caught.value.message) == (ErrorCode.CONFLICT, "Not now.")


def test_any_other_fault_is_logged_and_becomes_ours(capsys: pytest.CaptureFixture[str]) -> None:
    def broken(_client: TrainerClient) -> None:
        raise ZeroDivisionError("/home/somebody")

    with desk_over(FakeApi().handle) as desk, pytest.raises(AppError) as caught:
        asyncio.run(desk.asking.ask(broken))
    assert caught.value.code is ErrorCode.INTERNAL
    assert "somebody" not in caught.value.message
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert "question_to_api_failed" in capsys.readouterr().out


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_families_are_kept_for_half_a_minute() -> None:
    clock = Clock()
    with desk_over(lambda _request: httpx.Response(200, json=FAMILIES), clock=clock) as desk:

        async def test() -> list[int]:
            counts = []
            for seconds in (0.0, 29.9, 0.1, 1.0):
                clock.now += seconds
                await desk.asking.families()
                counts.append(len(desk.requests))
            await desk.asking.families(newer=True)
            return [*counts, len(desk.requests)]

        assert asyncio.run(test()) == [1, 1, 2, 2, 3]


def test_those_who_ask_at_once_share_one_question() -> None:
    with desk_over(lambda _request: httpx.Response(200, json=FAMILIES)) as desk:

        async def test() -> None:
            await asyncio.gather(*(desk.asking.families() for _ in range(5)))

        asyncio.run(test())
        assert len(desk.requests) == 1


def test_a_failure_is_not_kept() -> None:
    api = FakeApi().on(
        "GET", "/families", problem(503, "STORE_UNAVAILABLE", "Away."), httpx.Response(200, json=FAMILIES)
    )
    with desk_over(api.handle) as desk:

        async def test() -> str:
            with pytest.raises(AppError):
                await desk.asking.families()
            return (await desk.asking.families()).families[0].name

        assert asyncio.run(test()) == "gpt2"


def test_who_stops_waiting_leaves_the_answer_to_the_next_one() -> None:
    may_answer = threading.Event()

    def handle(_request: httpx.Request) -> httpx.Response:
        assert may_answer.wait(10)
        return httpx.Response(200, json=FAMILIES)

    with desk_over(handle) as desk:

        async def test() -> None:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await desk.asking.families()
            may_answer.set()
            await desk.asking.families()

        asyncio.run(test())
        assert len(desk.requests) == 1


def test_a_question_that_was_stopped_is_asked_again_in_another_loop() -> None:
    may_answer = threading.Event()

    def handle(_request: httpx.Request) -> httpx.Response:
        assert may_answer.wait(10)
        return httpx.Response(200, json=FAMILIES)

    with desk_over(handle) as desk:

        async def give_up() -> None:
            task = asyncio.create_task(desk.asking.families())
            await asyncio.sleep(0.01)
            task.cancel()

        asyncio.run(give_up())
        may_answer.set()
        assert asyncio.run(desk.asking.families()).families[0].name == "gpt2"


def test_recent_runs_are_one_page_for_each_status_until_one_changes() -> None:
    api = FakeApi().on("GET", "/runs", page(*[run_view()] * 100, has_more=True, last_id=RUN_ID))
    with desk_over(api.handle) as desk:

        async def test() -> None:
            for _ in range(2):
                assert len(await desk.asking.recent_runs("running")) == 100
                await desk.asking.recent_runs()

        def asked() -> list[dict[str, str]]:
            return [dict(request.url.params) for request in desk.requests]

        asyncio.run(test())
        assert asked() == [{"limit": "100", "status": "running"}, {"limit": "100"}]
        desk.asking.runs_changed()
        asyncio.run(test())
        assert len(asked()) == 4


def test_recent_tokenizers_are_the_completed_ones() -> None:
    api = FakeApi().on("GET", "/tokenizers", page(tokenizer_view()))
    with desk_over(api.handle) as desk:

        async def test() -> None:
            for _ in range(2):
                assert [one.method for one in await desk.asking.recent_tokenizers()] == ["bpe"]

        asyncio.run(test())
        assert [dict(request.url.params) for request in desk.requests] == [
            {"limit": "100", "status": "completed"}
        ]
