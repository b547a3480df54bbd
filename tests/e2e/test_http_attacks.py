"""The attack table: what must never work, over raw sockets against the real server.

Each row is one input. Whatever the answer, it is a refusal (or a harmless 2xx where the row says so), never a 5xx,
comes in time, carries nothing of the server's inside, opens no file outside the roots and leaves no run behind.
"""

import io
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from model_trainer.core.logging import configure_logging
from tests.e2e.attack_table import TABLE
from tests.e2e.attacks import ITEM, KEY, Attack, Target, get, tokenizer_of, training_raw, training_with
from tests.unit.api.servers import hypercorn
from tests.unit.api.service import Service, settings_with

SECRET = "the-secret-outside"


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One server for the whole table."""
    service = Service(settings=settings_with(api_key=KEY), files={"demo/a.txt": "text to learn from\n" * 500})
    root = Path(service.corpora.root)
    twin = root.with_name(root.name + "-evil")
    twin.mkdir()
    (twin / "a.txt").write_text(SECRET)
    outside = tmp_path_factory.mktemp("outside") / "secret.txt"
    outside.write_text(SECRET)
    (root / "link.txt").symlink_to(outside)
    (root / "linked").symlink_to(outside.parent)
    (root / "twin").symlink_to(twin)
    (root / "empty.txt").write_bytes(b"")
    (root / "one.txt").write_bytes(b"x" * 1)
    (root / "nul.bin").write_bytes(b"\0" * 100)
    (root / "nul.txt").write_bytes(b"\0" * 100)
    (root / "latin.txt").write_bytes(b"\xff\xfe\xfa" * 50)
    (root / "utf16.txt").write_bytes("text".encode("utf-16") * 50)
    (root / "surrogate.txt").write_bytes(b"\xed\xa0\x80" * 50)
    os.mkfifo(root / "pipe.txt")
    log = io.StringIO()
    configure_logging(service="model-trainer-test", level="DEBUG", readable=False, stream=log)
    with hypercorn(service) as running:
        started = service.container.tokenizers.start(
            service.registry.parse_tokenizer_spec('{"method":"bpe","corpus_path":"demo"}'),
            request_id="r",
            idempotency=None,
        )
        item_id = started.record.run_id
        service.finished(item_id, {"info": {"vocab_size": 300}})
        folder = service.write("tokenizers", item_id, "tokenizer.json", b"0123456789" * 100).parent
        (folder / "link.json").symlink_to(outside)
        yield Target(running, service, item_id, log)
    (twin / "a.txt").unlink()
    twin.rmdir()


LEAKS = (b"Traceback", b"redis://", b"site-packages", b'File "/', SECRET.encode(), b"root:x:0", KEY.encode())


def test_the_table_is_as_long_as_it_should_be() -> None:
    assert len(TABLE) >= 250
    assert len({attack.name for attack in TABLE}) == len(TABLE)


@pytest.mark.parametrize("attack", TABLE, ids=[attack.name for attack in TABLE])
def test_an_attack_is_refused_and_finds_nothing(target: Target, attack: Attack) -> None:
    status, answered = target.send(attack.request, seconds=attack.seconds)

    assert status in attack.expected, answered[:600]
    assert not [leak for leak in LEAKS if leak in answered]
    if status not in (0, 200, 206):
        assert b"access-control-allow-origin" not in answered.lower()


def test_after_all_of_it_the_service_is_as_it_was(target: Target) -> None:
    status, answered = target.send(get("/runs?kind=tokenizer"))

    assert status == 200
    listed = json.loads(answered.partition(b"\r\n\r\n")[2])["data"]
    assert [run["run_id"] for run in listed] == [target.item_id]
    assert b'"data":[]' in target.send(get("/runs"))[1]
    assert target.service.queue.depth("training") == 0


def test_none_of_it_was_a_fault_of_the_server_and_the_key_is_in_no_log_line(target: Target) -> None:
    target.send(get(f"/runs?api_key={KEY}", auth=""))
    lines = target.log.getvalue().splitlines()

    assert lines
    assert not [line for line in lines if '"level": "error"' in line or KEY in line or SECRET in line]


def test_the_same_orders_without_the_attack_are_accepted(target: Target) -> None:
    assert target.send(training_with())[0] == 202
    assert target.send(training_raw("max_steps", "5"))[0] == 202
    assert target.send(tokenizer_of("demo/a.txt"))[0] == 202


def test_a_stream_cannot_be_made_to_say_what_a_run_did_not(target: Target) -> None:
    line = {"message": '\r\ndata: {"state":"completed"}\n\nevent: done\n\n\x1b]0;'}
    target.service.write("tokenizers", target.item_id, "logs.jsonl", json.dumps(line).encode() + b"\n")

    status, answered = target.send(get(f"/runs/{ITEM}/logs/stream"))

    assert status == 200
    assert answered.count(b"\nevent: done\n") == 1
    assert answered.count(b"\ndata: ") == 2


def test_half_a_request_does_not_stay_for_ever(target: Target) -> None:
    """The deadline itself is a setting of the server; here it is enough that half a head gets no answer and hurts nobody."""
    with socket.create_connection(("127.0.0.1", target.running.port), timeout=5) as slow:
        slow.sendall(b"GET /runs HTTP/1.1\r\nHost: loc")
        assert target.send(get("/healthz"))[0] == 200
