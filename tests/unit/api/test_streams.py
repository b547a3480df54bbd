"""Server-sent events: every event once and in order, pings while it is quiet, `done` at the end and only there."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest
from starlette.testclient import TestClient

from model_trainer.api.schemas.series import ending_of
from model_trainer.api.streams import Streams, last_event_id
from model_trainer.api.watching import Look, Step
from model_trainer.core.contracts.events import JobProgress, StoredEvent
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import Phase, Progress, RunStatus
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.infra.persistence.memory import MemoryRunSignal, MemoryRunStore
from tests.unit.api.conftest import Connect
from tests.unit.api.orders import training
from tests.unit.api.service import Service
from tests.unit.api.streams import SSE, answered, fields, run


def progress(run_id: str, message: str) -> JobProgress:
    """Some news."""
    return JobProgress(
        job_id=run_id, user_id=None, phase=Phase.TRAINING, message=message, progress=Progress()
    )


def ended(client: TestClient, service: Service) -> str:
    """A run that went through its life: queued, started, a step, completed."""
    run_id = training(client, service)
    lease = service.claim(run_id)
    service.beat(lease, progress(run_id, "step\r\ndata: {}\nevent: done"))
    service.complete(lease)
    return run_id


def test_a_finished_run_streams_all_its_events_and_then_done(client: TestClient, service: Service) -> None:
    run_id = ended(client, service)
    last = service.runs.get(run_id).last_event_seq

    answer = client.get(f"/runs/{run_id}/events", headers=SSE)

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert (answer.headers["cache-control"], answer.headers["x-accel-buffering"]) == ("no-cache", "no")
    assert answer.text.startswith("retry: 3000\n\n")
    assert [int(seq) for seq in fields(answer.text, "id")] == list(range(1, last + 1))
    assert fields(answer.text, "event")[0] == "state"
    assert fields(answer.text, "event")[-1] == "done"
    assert fields(answer.text, "event").count("done") == 1
    assert '"status":"completed"' in fields(answer.text, "data")[-1]


def test_a_reader_that_comes_back_gets_the_rest(client: TestClient, service: Service) -> None:
    run_id = ended(client, service)
    last = service.runs.get(run_id).last_event_seq
    url = f"/runs/{run_id}/events"

    assert fields(client.get(url, headers={**SSE, "Last-Event-ID": "2"}).text, "id")[0] == "3"
    assert fields(client.get(f"{url}?after=2", headers=SSE).text, "id")[0] == "3"
    assert fields(client.get(f"{url}?after=1", headers={**SSE, "Last-Event-ID": "2"}).text, "id")[0] == "3"
    nothing_new = client.get(url, headers={**SSE, "Last-Event-ID": str(last)}).text
    assert fields(nothing_new, "event") == ["done"]


def test_events_can_be_polled_as_json(client: TestClient, service: Service) -> None:
    run_id = ended(client, service)
    last = service.runs.get(run_id).last_event_seq

    first = client.get(f"/runs/{run_id}/events", params={"limit": 2}).json()
    rest = client.get(f"/runs/{run_id}/events", params={"after": first["last_seq"]}).json()
    none = client.get(f"/runs/{run_id}/events", params={"after": rest["last_seq"]}).json()
    back = client.get(f"/runs/{run_id}/events", headers={"Last-Event-ID": str(first["last_seq"])}).json()

    assert [event["seq"] for event in first["data"]] == [1, 2]
    assert (first["has_more"], first["last_seq"]) == (True, 2)
    assert [event["seq"] for event in rest["data"]] == list(range(3, last + 1))
    assert back == rest
    assert (rest["has_more"], none["data"], none["last_seq"]) == (False, [], last)


def test_a_finished_runs_log_streams_from_its_tail(client: TestClient, service: Service) -> None:
    run_id = ended(client, service)
    content = b'{"message":"a"}\n{"message":"b"}\n{"message":"c"}\n'
    service.write("models", run_id, "logs.jsonl", content)
    url = f"/runs/{run_id}/logs/stream"

    text = client.get(url, params={"tail": 2}).text
    resumed = client.get(url, headers={"Last-Event-ID": "32"}).text

    assert fields(text, "data")[:2] == ['{"message":"b"}', '{"message":"c"}']
    assert fields(text, "id") == ["32", "48"]
    assert fields(text, "event") == ["log", "log", "done"]
    assert fields(resumed, "data")[0] == '{"message":"c"}'


@pytest.mark.parametrize("value", ["-1", "abc", "1e9", "", "1" * 17, "+1"])
def test_a_last_event_id_that_was_never_sent_is_refused(
    client: TestClient, service: Service, value: str
) -> None:
    run_id = ended(client, service)

    for path in ("events", "logs/stream"):
        answer = client.get(f"/runs/{run_id}/{path}", headers={**SSE, "Last-Event-ID": value})
        assert (answer.status_code, answer.json()["code"]) == (422, "CONFIG_INVALID")
    assert last_event_id(None) is None


def test_a_stream_of_an_unknown_run_is_a_problem_and_not_a_stream(client: TestClient) -> None:
    for path in ("events", "logs/stream"):
        for headers in (SSE, {**SSE, "Last-Event-ID": "5"}):
            assert client.get(f"/runs/{new_ulid()}/{path}", headers=headers).status_code == 404


class FlakyRuns(MemoryRunStore):
    """A store that goes away behind the first event, for a while or for ever."""

    times_away = 3
    code = ErrorCode.STORE_UNAVAILABLE

    def events_after(self, run_id: str, *, after: int, limit: int) -> tuple[StoredEvent, ...]:
        if after > 0 and self.times_away > 0:
            self.times_away -= 1
            raise AppError(self.code, "Redis is away.")
        return super().events_after(run_id, after=after, limit=1)


class BrokenRuns(FlakyRuns):
    """A store that refuses."""

    code = ErrorCode.INTERNAL


def test_a_stream_waits_for_a_store_that_is_away(connect: Connect) -> None:
    service = Service(run_store=FlakyRuns)
    client = connect(service)
    run_id = ended(client, service)

    text = client.get(f"/runs/{run_id}/events", headers=SSE).text

    assert [int(seq) for seq in fields(text, "id")] == list(
        range(1, service.runs.get(run_id).last_event_seq + 1)
    )
    assert fields(text, "event")[-1] == "done"


def test_a_stream_ends_without_done_when_the_store_refuses(connect: Connect) -> None:
    service = Service(run_store=BrokenRuns)
    client = connect(service)
    run_id = ended(client, service)

    text = client.get(f"/runs/{run_id}/events", headers=SSE).text

    assert fields(text, "id") == ["1"]
    assert "done" not in fields(text, "event")


class Live:
    """Streams of a service within one event loop."""

    def __init__(
        self, *, poll_seconds: float = 1.0, ping_seconds: float = 15.0, max_streams: int = 9
    ) -> None:
        self.service = Service()
        self.stopping = asyncio.Event()
        self.signal = MemoryRunSignal()
        self.streams = Streams(
            signal=self.signal,
            stopping=self.stopping,
            poll_seconds=poll_seconds,
            ping_seconds=ping_seconds,
            max_streams=max_streams,
        )
        self.status = RunStatus.RUNNING
        self.steps: list[Step] = []
        run_id = self.service.container.tokenizers.start(
            self.service.registry.parse_tokenizer_spec('{"method":"bpe","corpus_path":"demo"}'),
            request_id="r",
            idempotency=None,
        ).record.run_id
        self.record = self.service.runs.get(run_id)

    def look(self, run_id: str, position: int) -> Look:
        """What lies behind a position."""
        steps = tuple(step for step in self.steps if step.position > position)
        return Look(ending_of(self.record.model_copy(update={"status": self.status})), steps)

    def follow(self) -> AsyncGenerator[bytes, None]:
        """A stream from the beginning, past its first words."""
        return self.streams.follow(self.record.run_id, 0, self.look)


def test_news_arrives_as_it_happens() -> None:
    async def test() -> None:
        live = Live(poll_seconds=60)
        async with aclosing(live.follow()) as events:
            assert await anext(events) == b"retry: 3000\n\n"
            coming = asyncio.ensure_future(anext(events))
            await asyncio.sleep(0.05)
            assert not coming.done()
            live.steps.append(Step(7, "log", "{}"))
            live.signal.announce(live.record.run_id)
            assert await coming == b"event: log\ndata: {}\nid: 7\n\n"
            live.status = RunStatus.CANCELLED
            assert b'"status":"cancelled"' in await anext(events)
            with pytest.raises(StopAsyncIteration):
                await anext(events)

    run(test)


def test_news_during_a_look_is_not_missed() -> None:
    async def test() -> None:
        live = Live(poll_seconds=60)

        def look(run_id: str, position: int) -> Look:
            found = live.look(run_id, position)
            if not live.steps:
                live.steps.append(Step(7, "log", "{}"))
                live.signal.announce(run_id)
            return found

        async with aclosing(live.streams.follow(live.record.run_id, 0, look)) as events:
            await anext(events)
            assert await asyncio.wait_for(anext(events), 10) == b"event: log\ndata: {}\nid: 7\n\n"

    run(test)


def test_a_quiet_stream_pings() -> None:
    async def test() -> None:
        live = Live(poll_seconds=0.01, ping_seconds=0.03)
        async with aclosing(live.follow()) as events:
            await anext(events)
            assert await anext(events) == b": ping\n\n"

    run(test)


def test_quiet_streams_of_one_run_ping_each_for_itself() -> None:
    async def test() -> None:
        live = Live(poll_seconds=0.01, ping_seconds=0.05)
        followers = [live.follow() for _ in range(2)]
        for events in followers:
            await anext(events)
        first = asyncio.ensure_future(anext(followers[0]))
        await asyncio.sleep(0.03)
        second = asyncio.ensure_future(anext(followers[1]))
        assert {await first, await second} == {b": ping\n\n"}

    run(test)


def test_streams_end_without_done_when_the_server_stops() -> None:
    async def test() -> None:
        live = Live(poll_seconds=60)
        events = live.follow()
        await anext(events)
        coming = asyncio.ensure_future(anext(events))
        await asyncio.sleep(0.05)
        live.stopping.set()
        with pytest.raises(StopAsyncIteration):
            await coming

    run(test)


def test_there_are_only_so_many_streams() -> None:
    async def test() -> None:
        live = Live(max_streams=1)
        response = live.streams.respond(live.follow())
        assert live.streams.num_open == 1
        with pytest.raises(AppError) as refused:
            live.streams.respond(live.follow())
        assert refused.value.code is ErrorCode.SERVICE_UNAVAILABLE
        live.status = RunStatus.COMPLETED
        await answered(response)
        assert live.streams.num_open == 0

    run(test)


def test_all_who_wait_at_the_same_place_cost_one_look_and_a_watch_ends_with_its_last_follower() -> None:
    async def test() -> None:
        live = Live(poll_seconds=60)
        looks: list[int] = []

        def look(run_id: str, position: int) -> Look:
            looks.append(position)
            return live.look(run_id, position)

        followers = [live.streams.follow(live.record.run_id, 0, look) for _ in range(50)]
        for events in followers:
            await anext(events)
        coming = [asyncio.ensure_future(anext(events)) for events in followers]
        await asyncio.sleep(0.1)
        assert looks == [0]
        live.steps.append(Step(7, "log", "{}"))
        live.signal.announce(live.record.run_id)
        assert set(await asyncio.gather(*coming)) == {b"event: log\ndata: {}\nid: 7\n\n"}
        assert looks == [0, 0]

        coming = [asyncio.ensure_future(anext(events)) for events in followers]
        await asyncio.sleep(0.1)
        assert looks == [0, 0, 7]
        for each in coming[1:]:
            each.cancel()
        await asyncio.wait(coming[1:])
        live.signal.announce(live.record.run_id)
        await asyncio.sleep(0.1)
        assert looks == [0, 0, 7, 7]
        coming[0].cancel()
        await asyncio.wait(coming[:1])
        live.signal.announce(live.record.run_id)
        await asyncio.sleep(0.1)
        assert looks == [0, 0, 7, 7]

    run(test)
