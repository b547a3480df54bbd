"""The API on real servers: both serve the same app, streams end with the server, readers who leave are noticed."""

import asyncio
import time

import httpx
import pytest

from model_trainer.api.serve import as_framework, serve_config
from tests.unit.api.servers import hypercorn, uvicorn_server
from tests.unit.api.service import Service

BODY = {"method": "bpe", "corpus_path": "demo", "vocab_size": 300}


def finished_tokenizer(service: Service, base: str) -> str:
    """A tokenizer ordered over the wire and finished by a worker."""
    answer = httpx.post(f"{base}/tokenizers/train", json=BODY)
    assert answer.status_code == 202
    tokenizer_id = str(answer.json()["tokenizer_id"])
    service.finished(tokenizer_id)
    service.write("tokenizers", tokenizer_id, "tokenizer.json", b"0123456789")
    return tokenizer_id


def check_service(service: Service, base: str) -> None:
    """Orders, streams and downloads."""
    made = finished_tokenizer(service, base)
    assert httpx.get(f"{base}/healthz").status_code == 200
    with httpx.stream("GET", f"{base}/runs/{made}/events", headers={"Accept": "text/event-stream"}) as stream:
        assert "event: done" in list(stream.iter_lines())
    part = httpx.get(
        f"{base}/artifacts/tokenizers/{made}/download?path=tokenizer.json", headers={"Range": "bytes=2-4"}
    )
    assert (part.status_code, part.content) == (206, b"234")


def test_hypercorn_serves_the_app() -> None:
    service = Service()
    with hypercorn(service) as running:
        check_service(service, f"http://127.0.0.1:{running.port}")


def test_uvicorn_serves_the_same_app() -> None:
    service = Service()
    with uvicorn_server(service) as port:
        check_service(service, f"http://127.0.0.1:{port}")


def test_open_streams_do_not_hold_the_server_up() -> None:
    service = Service()
    with hypercorn(service) as running:
        base = f"http://127.0.0.1:{running.port}"
        run_id = httpx.post(f"{base}/tokenizers/train", json=BODY).json()["tokenizer_id"]
        headers = {"Accept": "text/event-stream"}
        with httpx.stream("GET", f"{base}/runs/{run_id}/events", headers=headers, timeout=20) as stream:
            lines = stream.iter_lines()
            assert next(lines) == "retry: 3000"
            began = time.monotonic()
            running.stop()
            rest = list(lines)
        assert running.join(20)

    assert "event: done" not in rest
    assert time.monotonic() - began < serve_config("127.0.0.1", 1).graceful_timeout


def test_a_reader_who_leaves_is_noticed() -> None:
    service = Service()
    with hypercorn(service) as running:
        base = f"http://127.0.0.1:{running.port}"
        run_id = httpx.post(f"{base}/tokenizers/train", json=BODY).json()["tokenizer_id"]

        def num_streams() -> str:
            return next(
                line
                for line in httpx.get(f"{base}/metrics").text.splitlines()
                if line.startswith("model_trainer_event_streams")
            )

        with httpx.stream("GET", f"{base}/runs/{run_id}/logs/stream") as stream:
            lines = stream.iter_lines()
            assert next(lines) == "retry: 3000"
            assert num_streams().endswith(" 1.0")
        deadline = time.monotonic() + 10
        while not num_streams().endswith(" 0.0"):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def test_addresses_of_either_kind_are_bound() -> None:
    assert serve_config("::1", 8000).bind == ["[::1]:8000"]
    assert serve_config("0.0.0.0", 8000).bind == ["0.0.0.0:8000"]  # noqa: S104 - only written down, not bound


def test_what_cannot_be_called_is_no_app() -> None:
    async def app() -> None:
        await asyncio.sleep(0)

    known: object = as_framework(app)
    assert known is app
    with pytest.raises(TypeError):
        as_framework(3)
