"""The client against a scripted API: what it sends, what it reads, what it raises."""

from pathlib import Path

import httpx
import pytest

from model_trainer.client import TrainerClient
from model_trainer.core.errors import AppError, ErrorCode
from tests.unit.client.fake_api import RUN_ID, TOKENIZER_ID, FakeApi, page, problem, run_view, tokenizer_view


def test_a_training_is_ordered_with_key_and_body() -> None:
    api = FakeApi().on("POST", "/runs/train", httpx.Response(202, json=run_view(status="queued")))
    with api.client(api_key="s3cret") as client:
        run = client.train({"model_family": "gpt2"})
    request = api.requests[0]
    assert run.run_id == RUN_ID
    assert run.status == "queued"
    assert api.sent() == {"model_family": "gpt2"}
    assert request.headers["x-api-key"] == "s3cret"
    assert request.headers["content-type"] == "application/json"
    assert len(request.headers["idempotency-key"]) == 26


def test_a_retry_after_a_lost_connection_carries_the_same_idempotency_key() -> None:
    api = FakeApi().on(
        "POST",
        "/runs/train",
        httpx.ReadError("lost"),
        httpx.ConnectError("no"),
        httpx.Response(202, json=run_view()),
    )
    with api.client() as client:
        client.train({})
    assert len({request.headers["idempotency-key"] for request in api.requests}) == 1
    assert api.pauses == [0.2, 0.4]


def test_two_intents_have_two_keys_and_a_given_key_is_used() -> None:
    api = FakeApi().on("POST", "/tokenizers/train", httpx.Response(202, json=tokenizer_view()))
    with api.client() as client:
        client.train_tokenizer({})
        client.train_tokenizer({})
        client.train_tokenizer({}, idempotency_key="mine")
    first, second, third = [request.headers["idempotency-key"] for request in api.requests]
    assert first != second
    assert third == "mine"


def test_an_api_that_is_not_there_is_named_with_what_to_do_and_the_key() -> None:
    api = FakeApi().on("POST", "/runs/train", httpx.ConnectError("refused"))
    with api.client() as client, pytest.raises(AppError) as caught:
        client.train({})
    assert caught.value.code is ErrorCode.SERVICE_UNAVAILABLE
    assert "model-trainer up" in caught.value.message
    assert "http://api.test" in caught.value.message
    assert caught.value.facts["idempotency_key"] == api.requests[0].headers["idempotency-key"]
    assert len(api.requests) == 4


def test_a_read_that_cannot_reach_the_api_names_no_key() -> None:
    api = FakeApi().on("GET", f"/runs/{RUN_ID}", httpx.ConnectTimeout("slow"))
    with api.client() as client, pytest.raises(AppError) as caught:
        client.run(RUN_ID)
    assert "idempotency_key" not in caught.value.facts


def test_a_refusal_keeps_code_message_fields_and_request_id() -> None:
    refusal = problem(
        422,
        "CONFIG_INVALID",
        "The request does not fit.",
        errors=[{"pointer": "/vocab_size", "message": "too large"}],
    )
    api = FakeApi().on("POST", "/tokenizers/train", refusal)
    with api.client() as client, pytest.raises(AppError) as caught:
        client.train_tokenizer({})
    error = caught.value
    assert error.code is ErrorCode.CONFIG_INVALID
    assert error.message == "The request does not fit."
    assert [(fault.pointer, fault.message) for fault in error.faults] == [("/vocab_size", "too large")]
    assert error.facts["request_id"] == "req-1"
    assert error.facts["status"] == 422
    assert len(api.requests) == 1


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (401, ErrorCode.UNAUTHORIZED),
        (403, ErrorCode.UNAUTHORIZED),
        (404, ErrorCode.NOT_FOUND),
        (409, ErrorCode.CONFLICT),
        (418, ErrorCode.CONFIG_INVALID),
        (500, ErrorCode.INTERNAL),
        (502, ErrorCode.SERVICE_UNAVAILABLE),
        (503, ErrorCode.SERVICE_UNAVAILABLE),
    ],
)
def test_an_error_that_is_no_problem_document_is_known_by_its_status(status: int, code: ErrorCode) -> None:
    answer = httpx.Response(status, text="<html>", headers={"x-request-id": "from-header"})
    api = FakeApi().on("GET", f"/runs/{RUN_ID}", answer)
    with api.client() as client, pytest.raises(AppError) as caught:
        client.run(RUN_ID)
    assert caught.value.code is code
    assert str(status) in caught.value.message
    assert caught.value.facts["request_id"] == "from-header"


def test_a_code_of_a_newer_server_is_kept_beside_the_nearest_known_one() -> None:
    api = FakeApi().on("GET", f"/runs/{RUN_ID}", problem(409, "RUN_ARCHIVED", "It is archived."))
    with api.client() as client, pytest.raises(AppError) as caught:
        client.run(RUN_ID)
    assert caught.value.code is ErrorCode.CONFLICT
    assert caught.value.facts["server_code"] == "RUN_ARCHIVED"


def test_an_order_whose_fate_is_open_names_its_key_and_a_refused_one_does_not() -> None:
    api = FakeApi().on(
        "POST", "/runs/train", problem(503, "STORE_UNAVAILABLE", "no"), problem(422, "DATA_EMPTY", "no")
    )
    with api.client() as client:
        with pytest.raises(AppError) as caught:
            client.train({}, idempotency_key="mine")
        assert caught.value.facts["idempotency_key"] == "mine"
        with pytest.raises(AppError) as caught:
            client.train({}, idempotency_key="mine")
        assert "idempotency_key" not in caught.value.facts


def test_an_answer_of_another_shape_is_an_error_not_a_crash() -> None:
    api = FakeApi().on("GET", f"/runs/{RUN_ID}", {"hello": "world"})
    with api.client() as client, pytest.raises(AppError) as caught:
        client.run(RUN_ID)
    assert caught.value.code is ErrorCode.INTERNAL


def test_what_a_newer_server_says_besides_is_kept() -> None:
    api = FakeApi().on("GET", f"/runs/{RUN_ID}", run_view(from_the_future=7))
    with api.client() as client:
        assert '"from_the_future":7' in client.run(RUN_ID).model_dump_json()


def test_lists_are_fetched_page_by_page() -> None:
    older = "01JC0000000000000000000000"
    api = FakeApi().on(
        "GET",
        "/runs",
        page(run_view(), has_more=True, last_id=RUN_ID),
        page(run_view(run_id=older), last_id=older),
    )
    with api.client() as client:
        found = list(client.runs(limit=1, filters={"status": "running", "metadata[team]": "blue"}))
    assert [run.run_id for run in found] == [RUN_ID, older]
    first, second = [dict(request.url.params) for request in api.requests]
    assert first == {"limit": "1", "status": "running", "metadata[team]": "blue"}
    assert second["after"] == RUN_ID


def test_a_page_without_a_cursor_is_the_last() -> None:
    api = FakeApi().on("GET", "/tokenizers", page(tokenizer_view(), has_more=True))
    with api.client() as client:
        assert [one.tokenizer_id for one in client.tokenizers()] == [TOKENIZER_ID]


def test_each_resource_has_its_path() -> None:
    evaluation = {
        "evaluation_id": RUN_ID,
        "split": "validation",
        "metrics": {"loss": 1.0, "perplexity": 2.7, "bits_per_byte": 0.5, "accuracy": 0.4},
    }
    api = (
        FakeApi()
        .on("GET", f"/tokenizers/{TOKENIZER_ID}", tokenizer_view())
        .on("POST", f"/runs/{RUN_ID}/cancel", run_view(status="cancelling"))
        .on("POST", f"/runs/{RUN_ID}/evaluate", httpx.Response(202, json=run_view(kind="evaluate")))
        .on("GET", f"/runs/{RUN_ID}/eval", {"run_id": RUN_ID, "data": [evaluation], "jobs": []})
        .on(
            "GET",
            f"/runs/{RUN_ID}/metrics",
            {"run_id": RUN_ID, "data": [{"step": 1, "metrics": {"loss": 3.0}}]},
        )
        .on(
            "GET",
            f"/runs/{RUN_ID}/logs",
            {"run_id": RUN_ID, "data": [{"event": "run_started"}], "next_offset": 9},
        )
        .on(
            "GET",
            "/families",
            {"families": [{"name": "gpt2"}], "tokenizers": [{"name": "bpe", "available": True}]},
        )
        .on("GET", f"/artifacts/models/{RUN_ID}", {"kind": "models", "item_id": RUN_ID, "files": []})
        .on("GET", f"/artifacts/models/{RUN_ID}/download", httpx.Response(200, content=b"small"))
    )
    with api.client() as client:
        assert client.tokenizer(TOKENIZER_ID).vocab_size == 300
        assert client.cancel(RUN_ID).status == "cancelling"
        assert client.evaluate(RUN_ID, {"split": "test"}).kind == "evaluate"
        assert client.evaluations(RUN_ID).of_language_model[0].metrics.bits_per_byte == 0.5
        assert client.metrics(RUN_ID).data[0].metrics == {"loss": 3.0}
        assert client.logs(RUN_ID, tail=5).data == ({"event": "run_started"},)
        assert client.families().families[0].name == "gpt2"
        assert client.artifact("models", RUN_ID).files == ()
        assert client.read_file("models", RUN_ID, path="eval/metrics.json") == b"small"
    assert api.requests[5].url.params["tail"] == "5"
    assert api.requests[1].content == b""


def test_an_id_cannot_leave_its_place_in_the_path() -> None:
    api = FakeApi()
    with api.client() as client:
        for strange in ("../tokenizers", "a/b?c#d", ""):
            with pytest.raises(AppError):
                client.run(strange)
    assert [request.url.raw_path for request in api.requests] == [
        b"/runs/..%2Ftokenizers",
        b"/runs/a%2Fb%3Fc%23d",
        b"/runs/-",
    ]


def test_the_version_is_the_apis_own() -> None:
    api = FakeApi().on("GET", "/healthz", {"status": "ok", "version": "1.2.3"}, {"status": "ok"})
    with api.client() as client:
        assert client.version() == "1.2.3"
        assert client.version() == ""


def test_a_familys_schema_and_example_are_kept() -> None:
    kind: dict[str, object] = {"name": "gpt2", "json_schema": {"type": "object"}, "example": {"seed": 1}}
    with FakeApi().on("GET", "/families", {"families": [kind]}).client() as client:
        (family,) = client.families().families
    assert (family.json_schema, family.example) == ({"type": "object"}, {"seed": 1})


def test_health_is_asked_once_and_never_raises() -> None:
    api = (
        FakeApi()
        .on("GET", "/healthz", {"status": "ok"})
        .on("GET", "/readyz", problem(503, "SERVICE_UNAVAILABLE", "no"))
    )
    with api.client() as client:
        assert client.is_alive()
        assert not client.is_ready()
        api.on("GET", "/readyz", httpx.ConnectError("refused"))
        assert not client.is_ready()
    assert len(api.requests) == 3
    assert api.pauses == []


@pytest.mark.parametrize("address", ["localhost:8000", "ftp://localhost"])
def test_an_address_without_http_is_refused_at_once(address: str) -> None:
    with TrainerClient(address, sleep=lambda _seconds: None) as client, pytest.raises(AppError) as caught:
        client.run(RUN_ID)
    assert caught.value.code is ErrorCode.CONFIG_INVALID
    assert "--api-url" in caught.value.message


@pytest.mark.parametrize(("address", "key"), [("http://a:b:c", None), ("http://ok.test", "schlüssel")])
def test_an_impossible_address_or_key_is_refused(address: str, key: str | None) -> None:
    with pytest.raises(AppError) as caught:
        TrainerClient(address, api_key=key)
    assert caught.value.code is ErrorCode.CONFIG_INVALID


def test_files_of_no_kind_are_refused_by_the_server_not_here(tmp_path: Path) -> None:
    with FakeApi().client() as client, pytest.raises(AppError) as caught:
        client.download("models", RUN_ID, path="x", target=tmp_path / "x")
    assert caught.value.code is ErrorCode.NOT_FOUND
    assert not (tmp_path / "x").exists()
