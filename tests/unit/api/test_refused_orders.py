"""Orders that cannot work: each refused by field, with the way out, and nothing is left of it."""

import pytest
from starlette.testclient import TestClient

from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import RunKind, RunQuery
from model_trainer.models.gpt2 import FAMILY as GPT2
from tests.unit.api.conftest import Connect
from tests.unit.api.orders import BPE_BODY, tokenizer, training
from tests.unit.api.service import GIB, TEXT, Service

REFUSED_TOKENIZERS: list[tuple[JsonObject, str, str]] = [
    ({"corpus_path": "demo"}, "CONFIG_INVALID", "/method"),
    ({"method": "nope", "corpus_path": "demo"}, "TOKENIZER_UNKNOWN", "/method"),
    ({"method": "bpe", "corpus_path": "absent"}, "DATA_NOT_FOUND", "/corpus_path"),
    ({"method": "bpe", "corpus_path": "../x"}, "DATA_PATH_FORBIDDEN", "/corpus_path"),
    ({"method": "bpe", "corpus_path": "empty.txt"}, "DATA_EMPTY", "/corpus_path"),
    ({"method": "bpe", "corpus_path": "latin.txt"}, "DATA_ENCODING_INVALID", "/corpus_path"),
    ({"method": "bpe", "corpus_path": "tiny.txt", "vocab_size": 1000}, "VOCAB_TOO_LARGE", "/vocab_size"),
    ({"method": "char", "corpus_path": "tiny.txt"}, "DATA_TOO_SMALL", "/corpus_path"),
    ({"method": "char", "corpus_path": "one.txt"}, "DATA_TOO_SMALL", "/corpus_path"),
    ({**BPE_BODY, "split_by": "file"}, "DATA_TOO_SMALL", "/corpus_path"),
    ({**BPE_BODY, "vocab_size": -1}, "CONFIG_INVALID", "/vocab_size"),
    ({**BPE_BODY, "unknown": 1}, "CONFIG_INVALID", "/unknown"),
]


@pytest.mark.parametrize(("body", "code", "pointer"), REFUSED_TOKENIZERS)
def test_a_tokenizer_that_cannot_work_is_refused_by_field_and_leaves_nothing(
    connect: Connect, body: JsonObject, code: str, pointer: str
) -> None:
    service = Service(
        files={
            "demo/a.txt": "text\n" * 99,
            "tiny.txt": "hi\n",
            "one.txt": "x",
            "empty.txt": "",
            "latin.txt": b"\xff\xfe\xfa",
        }
    )

    answer = connect(service).post("/tokenizers/train", json=body)

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code), problem
    assert problem["errors"][0]["pointer"] == pointer
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["retryable"] is False
    assert service.runs.list_runs(RunQuery(kind=RunKind.TOKENIZER, limit=10)).records == ()


def test_a_character_tokenizer_takes_vocab_size_as_a_limit(client: TestClient) -> None:
    answer = client.post(
        "/tokenizers/train",
        json={"method": "char", "corpus_path": "tiny.txt", "vocab_size": 1000, "holdout_fraction": 0},
    )

    assert answer.status_code == 202


@pytest.mark.parametrize(
    ("files", "more", "status"),
    [
        ({"a.txt": "x" * 8, "b.txt": "y" * 8}, {}, 202),
        ({"a.txt": "x" * 8, "b.txt": "y" * 7}, {}, 422),
        ({"a.txt": "x" * 8, "b.txt": "\N{ARABIC LIGATURE SALLALLAHOU ALAYHE WASALLAM}"}, {}, 202),
        ({"a.txt": "x" * 8, "b.txt": "   y"}, {}, 202),
        (
            {"a.txt": "x" * 8, "b.txt": "y" * 8, "c.txt": "z"},
            {"holdout_fraction": 0.45, "test_fraction": 0.02, "seed": 4},
            202,
        ),
        ({"a.txt": "x" * 8, "b.txt": "y" * 8}, {"test_fraction": 0.1}, 422),
        ({"a.txt": "x" * 70_000, "b.txt": "y"}, {}, 202),
        ({f"{number}.txt": "y" for number in range(65)}, {}, 202),
    ],
)
def test_a_corpus_too_small_for_a_window_in_every_split_is_refused_when_that_is_certain(
    connect: Connect, files: dict[str, str | bytes], more: JsonObject, status: int
) -> None:
    """The toy's window needs nine tokens, one of which may be an end-of-text token."""
    files = {f"few/{name}": content for name, content in files.items()}
    service = Service(files={"demo/a.txt": TEXT, **files})
    client = connect(service)
    body = {
        "model_family": "toy",
        "corpus_path": "few",
        "split_by": "file",
        "tokenizer_id": tokenizer(client, service),
    }

    answer = client.post("/runs/train", json=body | more)

    assert answer.status_code == status, answer.text
    if status == 422:
        assert (answer.json()["code"], answer.json()["errors"][0]["pointer"]) == (
            "DATA_TOO_SMALL",
            "/corpus_path",
        )


@pytest.mark.parametrize(
    ("more", "code", "pointer"),
    [
        ({"n_embd": 100, "n_head": 3}, "CONFIG_INVALID", "/n_head"),
        ({"max_seq_len": 20_000}, "CONFIG_INVALID", "/max_seq_len"),
        ({"device": "cpu", "precision": "fp16"}, "CONFIG_INVALID", "/precision"),
        ({"device": "cpu", "pin_memory": True}, "CONFIG_INVALID", "/pin_memory"),
        ({"max_seq_len": 9000}, "DATA_TOO_SMALL", "/corpus_path"),
    ],
)
def test_what_no_machine_could_train_is_refused_without_a_worker(
    connect: Connect, more: JsonObject, code: str, pointer: str
) -> None:
    service = Service(families=[GPT2])
    client = connect(service)
    body = {"model_family": "gpt2", "corpus_path": "demo", "tokenizer_id": tokenizer(client, service)}

    answer = client.post("/runs/train", json=body | more)

    assert (answer.status_code, answer.json()["code"]) == (422, code)
    assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    "more",
    [
        {"device": "cuda", "precision": "fp16", "pin_memory": True},
        {"device": "cpu", "precision": "bf16"},
        {"model_size": "xl", "n_layer": 512},
    ],
)
def test_what_some_machine_could_train_waits_for_a_worker(connect: Connect, more: JsonObject) -> None:
    service = Service(families=[GPT2])
    client = connect(service)
    body = {
        "model_family": "gpt2",
        "corpus_path": "demo",
        "tokenizer_id": tokenizer(client, service),
        "max_seq_len": 64,
    }

    assert client.post("/runs/train", json=body | more).status_code == 202


def test_a_compressed_corpus_says_nothing_of_how_much_text_it_holds(connect: Connect) -> None:
    rows = '{"text": "hello"}\n'
    service = Service(files={"c/a.parquet": b"PAR1" + b"\0" * 40 + b"PAR1", "c/b.jsonl": rows})

    answer = connect(service).post(
        "/tokenizers/train", json={"method": "bpe", "corpus_path": "c", "vocab_size": 9000}
    )

    assert answer.json().get("code") != "VOCAB_TOO_LARGE"


def test_a_method_whose_library_no_worker_has_is_refused(client: TestClient, service: Service) -> None:
    body = {"method": "sentencepiece", "corpus_path": "demo"}
    service.worker_alive("short")
    refused = client.post("/tokenizers/train", json=body)
    service.worker_alive("short", extras=("sentencepiece",))
    accepted = client.post("/tokenizers/train", json=body)

    assert (refused.status_code, refused.json()["code"]) == (422, "TOKENIZER_UNAVAILABLE")
    assert "model-trainer[sentencepiece]" in refused.json()["message"]
    assert accepted.status_code == 202


def test_a_parquet_corpus_that_no_worker_can_read_is_refused(connect: Connect) -> None:
    service = Service(files={"demo/a.txt": TEXT, "c/a.PARQUET": b"PAR1" + b"\0" * 40 + b"PAR1"})
    client = connect(service)
    run_id = training(client, service)
    service.finished(run_id)
    tokenizer_id = tokenizer(client, service)
    orders: dict[str, JsonObject] = {
        "/tokenizers/train": {"method": "bpe", "corpus_path": "c"},
        "/runs/train": {"model_family": "toy", "corpus_path": "c", "tokenizer_id": tokenizer_id},
        f"/runs/{run_id}/evaluate": {"corpus_path": "c"},
    }

    def answers() -> list[tuple[int, str | None, str]]:
        found = [client.post(path, json=body) for path, body in orders.items()]
        return [(one.status_code, one.json().get("code"), one.text) for one in found]

    assert [status for status, _, _ in answers()] == [202, 202, 202]
    for queue in ("short", "training"):
        service.worker_alive(queue, extras=("sentencepiece",))
    for status, code, text in answers():
        assert (status, code) == (422, "DATA_FORMAT_UNSUPPORTED")
        assert "model-trainer[parquet]" in text
        assert '"pointer":"/corpus_path"' in text
    for queue in ("short", "training"):
        service.worker_alive(queue, extras=("parquet",))
    assert [status for status, _, _ in answers()] == [202, 202, 202]


def test_without_a_worker_the_library_is_left_to_the_worker(client: TestClient) -> None:
    assert (
        client.post("/tokenizers/train", json={"method": "sentencepiece", "corpus_path": "demo"}).status_code
        == 202
    )


def test_an_unfinished_tokenizer_cannot_train_a_model_yet(client: TestClient) -> None:
    waiting = client.post("/tokenizers/train", json=BPE_BODY).json()["tokenizer_id"]

    answer = client.post(
        "/runs/train", json={"model_family": "toy", "corpus_path": "demo", "tokenizer_id": waiting}
    )

    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert answer.json()["errors"][0]["pointer"] == "/tokenizer_id"


def test_a_tokenizer_that_does_not_fit_the_family_is_refused(client: TestClient, service: Service) -> None:
    other = tokenizer(client, service, "sentencepiece")

    answer = client.post(
        "/runs/train", json={"model_family": "toy", "corpus_path": "demo", "tokenizer_id": other}
    )

    assert (answer.status_code, answer.json()["code"]) == (422, "TOKENIZER_MISMATCH")
    assert "bpe, char" in answer.json()["message"]


def test_a_tokenizer_id_that_names_no_tokenizer_is_a_wrong_field(
    client: TestClient, service: Service
) -> None:
    for tokenizer_id in (new_ulid(), training(client, service)):
        body = {"model_family": "toy", "corpus_path": "demo", "tokenizer_id": tokenizer_id}
        answer = client.post("/runs/train", json=body)

        assert (answer.status_code, answer.json()["code"]) == (422, "CONFIG_INVALID")
        assert answer.json()["errors"][0]["pointer"] == "/tokenizer_id"


def test_a_run_to_compare_with_must_be_a_completed_training(client: TestClient, service: Service) -> None:
    known, waiting = training(client, service), training(client, service)
    service.finished(known)
    tokenizer_id = tokenizer(client, service)
    body = {"model_family": "toy", "corpus_path": "demo", "tokenizer_id": tokenizer_id}

    assert client.post("/runs/train", json={**body, "compare_to_run_id": known}).status_code == 202
    for stranger in (new_ulid(), tokenizer_id, waiting):
        for path, order in (("/runs/train", body), (f"/runs/{known}/evaluate", {"split": "train"})):
            answer = client.post(path, json={**order, "compare_to_run_id": stranger})
            assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/compare_to_run_id")


def test_a_model_too_large_for_every_worker_is_refused_with_numbers(
    client: TestClient, service: Service
) -> None:
    body = {
        "model_family": "toy",
        "corpus_path": "demo",
        "tokenizer_id": tokenizer(client, service),
        "num_layers": 9,
    }
    service.worker_alive("training", memory_bytes=4 * GIB)
    service.worker_alive("training", memory_bytes=8 * GIB)
    service.worker_alive("short", memory_bytes=640 * GIB)

    answer = client.post("/runs/train", json=body)

    assert (answer.status_code, answer.json()["code"]) == (422, "MODEL_TOO_LARGE")
    assert "9.3 GiB" in answer.json()["message"]
    assert "8.0 GiB" in answer.json()["message"]
    assert answer.json()["errors"][0] == {
        "pointer": "",
        "message": "most of it is for weights: ask for a smaller toy (num_layers)",
    }
    service.worker_alive("training", memory_bytes=10 * GIB)
    assert client.post("/runs/train", json=body).json()["code"] == "MODEL_TOO_LARGE", "10 % stay free"
    service.worker_alive("training", memory_bytes=16 * GIB)
    assert client.post("/runs/train", json=body).status_code == 202


def test_a_worker_that_cannot_tell_its_memory_is_believed(client: TestClient, service: Service) -> None:
    service.worker_alive("training", memory_bytes=0)

    assert client.get(f"/runs/{training(client, service, num_layers=99)}").status_code == 200


def test_a_device_that_no_worker_has_is_refused(client: TestClient, service: Service) -> None:
    body = {
        "model_family": "toy",
        "corpus_path": "demo",
        "tokenizer_id": tokenizer(client, service),
        "device": "cuda",
    }
    service.worker_alive("training")
    refused = client.post("/runs/train", json=body)
    service.worker_alive("training", cuda_memory_bytes=1 * GIB)
    too_small = client.post("/runs/train", json=body)
    service.worker_alive("training", cuda_memory_bytes=24 * GIB)

    assert (refused.status_code, refused.json()["code"]) == (422, "DEVICE_UNAVAILABLE")
    assert (too_small.status_code, too_small.json()["code"]) == (422, "MODEL_TOO_LARGE")
    assert client.post("/runs/train", json=body).status_code == 202


def test_only_a_completed_training_can_be_evaluated(client: TestClient, service: Service) -> None:
    run_id = training(client, service)

    early = client.post(f"/runs/{run_id}/evaluate", json={"split": "validation"})
    not_a_training = client.post(f"/runs/{tokenizer(client, service)}/evaluate", json={"split": "validation"})
    unknown = client.post(f"/runs/{new_ulid()}/evaluate", json={"split": "validation"})

    assert (early.status_code, early.json()["code"]) == (409, "CONFLICT")
    assert (not_a_training.status_code, not_a_training.json()["code"]) == (404, "RUN_NOT_FOUND")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "RUN_NOT_FOUND")


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"split": "test"}, "/split"),
        ({"split": "dev"}, "/split"),
        ({}, "/split"),
        ({"split": "train", "corpus_path": "demo"}, "/split"),
        ({"corpus_path": "absent"}, "/corpus_path"),
        ({"split": "train", "compare_to_run_id": "01J00000000000000000000000"}, "/compare_to_run_id"),
    ],
)
def test_an_evaluation_that_cannot_work_is_refused_by_field(
    client: TestClient, service: Service, body: JsonObject, pointer: str
) -> None:
    run_id = training(client, service)
    service.finished(run_id)

    answer = client.post(f"/runs/{run_id}/evaluate", json=body)

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
