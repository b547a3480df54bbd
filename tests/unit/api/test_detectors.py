"""Ordering detectors, and jobs on trained ones: what is accepted, what is refused, and by which field."""

import sys
from pathlib import Path

import pyarrow
import pytest
from pyarrow.parquet import write_table
from starlette.testclient import TestClient

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import RunKind, RunQuery
from model_trainer.registry import Registry
from model_trainer.tokenizers.bpe import TOKENIZER as BPE
from tests.unit.api.conftest import Connect
from tests.unit.api.orders import tokenizer, training
from tests.unit.api.service import GIB, Service
from tests.unit.api.toy_detector import ROWS, body, detectors, trained


@pytest.fixture
def service() -> Service:
    """With a family of detectors."""
    return detectors()


def test_a_detector_is_ordered_like_any_training(client: TestClient, service: Service) -> None:
    answer = client.post("/runs/train", json=body(data_paths=["texts.csv", "shelf"], metadata={"team": "a"}))

    run = answer.json()
    assert answer.status_code == 202, answer.text
    assert (run["kind"], run["family"], run["spec"]["data_paths"]) == (
        "train",
        "toy_detector",
        ["texts.csv", "shelf"],
    )
    assert service.queue.depth("training") == 1
    assert {"predict", "model_card", "calibrate", "export"}.isdisjoint(run["links"])


def test_a_trained_detector_says_what_it_can_be_asked_for(client: TestClient, service: Service) -> None:
    run_id = trained(client, service)

    links = client.get(f"/runs/{run_id}").json()["links"]

    assert {name: links[name] for name in ("predict", "model_card", "calibrate", "export")} == {
        "predict": f"/runs/{run_id}/predict",
        "model_card": f"/runs/{run_id}/model-card",
        "calibrate": f"/runs/{run_id}/calibrate",
        "export": f"/runs/{run_id}/export",
    }


def test_a_trained_language_model_offers_none_of_that(client: TestClient, service: Service) -> None:
    run_id = training(client, service)
    service.finished(run_id)

    links = client.get(f"/runs/{run_id}").json()["links"]

    assert {"predict", "model_card", "calibrate", "export"}.isdisjoint(links)


UNPROVEN = ROWS.replace("human", "0").replace("ai\n", "1\n")
REFUSED: list[tuple[dict[str, object], str, str]] = [
    ({"unknown": 1}, "CONFIG_INVALID", "/unknown"),
    ({"columns": {"text": "text"}}, "CONFIG_INVALID", "/columns/text"),
    ({"data_paths": []}, "CONFIG_INVALID", "/data_paths"),
    ({"data_paths": "texts.csv"}, "CONFIG_INVALID", "/data_paths"),
    ({"corpus_path": "demo"}, "CONFIG_INVALID", "/corpus_path"),
    ({"data_paths": ["texts.csv", "absent"]}, "DATA_NOT_FOUND", "/data_paths/1"),
    ({"data_paths": ["../texts.csv"]}, "DATA_PATH_FORBIDDEN", "/data_paths/0"),
    ({"data_paths": ["demo"]}, "DATA_FORMAT_UNSUPPORTED", "/data_paths/0"),
    ({"data_paths": ["empty.csv"]}, "DATA_EMPTY", "/data_paths/0"),
    ({"data_paths": ["texts.csv", "quotes.csv"]}, "DATA_FORMAT_UNSUPPORTED", "/data_paths/1"),
    ({"data_paths": ["numbers.jsonl"]}, "CONFIG_INVALID", "/columns/text_col"),
    ({"data_paths": ["damaged.parquet"]}, "DATA_FORMAT_UNSUPPORTED", "/data_paths/0"),
    ({"data_paths": ["unlabelled.csv"]}, "CONFIG_INVALID", "/columns/label_col"),
    ({"data_paths": ["two.csv"]}, "CONFIG_INVALID", "/columns/text_col"),
    ({"data_paths": ["unproven.csv"]}, "CONFIG_INVALID", "/columns/label_col"),
    ({"columns": {"label_col": "verdict"}}, "CONFIG_INVALID", "/columns/label_col"),
    ({"tokenizer_id": new_ulid(), "vocab_size": None}, "CONFIG_INVALID", "/tokenizer_id"),
    ({"compare_to_run_id": new_ulid()}, "CONFIG_INVALID", "/compare_to_run_id"),
    ({"init_from": {"run_id": new_ulid()}}, "CONFIG_INVALID", "/init_from/run_id"),
    ({"from_scratch": False}, "CONFIG_INVALID", "/vocab_size"),
    ({"min_params": 503}, "CONFIG_INVALID", "/min_params"),
    ({"min_params": 8195, "vocab_size": None}, "CONFIG_INVALID", "/min_params"),
    ({"min_params": 503, "model_name": "some/encoder"}, "CONFIG_INVALID", "/min_params"),
    ({"device": "cuda", "layers": 1}, "DEVICE_UNAVAILABLE", ""),
    ({"model_name": "/etc"}, "CONFIG_INVALID", "/model_name"),
    ({"model_name": "../encoder"}, "CONFIG_INVALID", "/model_name"),
    ({"model_name": "a/b/c"}, "CONFIG_INVALID", "/model_name"),
]


@pytest.mark.parametrize(("more", "code", "pointer"), REFUSED)
def test_a_detector_that_cannot_work_is_refused_by_field_and_leaves_nothing(
    connect: Connect, more: dict[str, object], code: str, pointer: str
) -> None:
    service = detectors(
        {
            "empty.csv": "",
            "quotes.csv": 'text,label\n"never closed,human\n',
            "numbers.jsonl": '{"text": 1, "label": "human"}\n{"text": 2, "label": "ai"}\n',
            "damaged.parquet": b"PAR1 no more",
            "unlabelled.csv": "text,words\na text,2\nanother text,2\n",
            "two.csv": "text,article,label\na,b,human\nc,d,ai\n",
            "unproven.csv": f"text,label\n{UNPROVEN}",
        }
    )
    service.worker_alive("training", extras=("parquet",))

    answer = connect(service).post("/runs/train", json=body(**more))

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, code), problem
    assert [fault["pointer"] for fault in problem["errors"]][:1] == ([pointer] if problem["errors"] else [])
    assert bool(problem["errors"]) is (code != "DEVICE_UNAVAILABLE")
    assert "corpus_path " not in problem["message"]
    assert service.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=10)).records == ()


@pytest.mark.parametrize(
    ("file", "columns"),
    [
        ("unproven.csv", {"label_map": {"0": 0, "1": 1}}),
        ("unlabelled.csv", {"unlabeled_default_label": 0}),
        ("two.csv", {"text_col": "article"}),
        ("later.csv", {}),
        ("unsure.csv", {}),
        ("gap.jsonl", {}),
    ],
)
def test_what_is_open_may_be_said_or_left_to_the_worker(
    connect: Connect, file: str, columns: dict[str, object]
) -> None:
    """In later.csv the generators that prove what 0 means come after the first look; unsure.csv is cut in a cell."""
    unknown = "".join(f"words of text {row},0,other\n" for row in range(300))
    service = detectors(
        {
            "unproven.csv": f"text,label\n{UNPROVEN}",
            "unlabelled.csv": "text,words\na text,2\nanother text,2\n",
            "two.csv": "text,article,label\na,b,human\nc,d,ai\n",
            "later.csv": f"text,label,generator\n{unknown}the end,0,human\nthe end too,1,gpt-4\n",
            "unsure.csv": 'text,label\n"' + "a line\n" * 200_000 + '",human\n',
            "gap.jsonl": '{"text": "one", "label": "human"}\n{"text": "two", "label": null}\n',
        }
    )

    answer = connect(service).post("/runs/train", json=body(data_paths=[file], columns=columns))

    assert answer.status_code == 202, answer.text


@pytest.mark.parametrize("name", ["long.jsonl", "long.csv"])
def test_a_long_file_is_judged_by_its_whole_rows(connect: Connect, name: str) -> None:
    words = "some words " * 2000
    rows = {
        "long.jsonl": "".join(f'{{"text": "{words}", "tag": {row}}}\n' for row in range(100)),
        "long.csv": "text,tag\n" + "".join(f"{words},{row}\n" for row in range(100)),
    }

    answer = connect(detectors({name: rows[name]})).post("/runs/train", json=body(data_paths=[name]))

    assert answer.status_code == 422, "the cut goes through a row that is not looked at"
    assert answer.json()["errors"][0]["pointer"] == "/columns/label_col"


def test_generators_within_the_first_look_leave_nothing_open(connect: Connect) -> None:
    rows = "text,label,generator\none,0,gpt-4\ntwo,1,human\n"
    against = f"{rows}three,0,human\n"
    client = connect(detectors({"proven.csv": rows, "against.csv": against}))

    accepted = client.post("/runs/train", json=body(data_paths=["proven.csv"]))
    refused = client.post("/runs/train", json=body(data_paths=["against.csv"]))

    assert accepted.status_code == 202, accepted.text
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/columns/label_col")


def test_only_so_many_files_are_looked_into(connect: Connect) -> None:
    files: dict[str, str | bytes] = {f"many/{number:02}.csv": f"text,label\n{ROWS}" for number in range(33)}
    client = connect(detectors({**files, "many/31.csv": "text\n", "many/32.csv": "text\n"}))

    inside = client.post("/runs/train", json=body(data_paths=["many"]))
    outside = client.post("/runs/train", json=body(data_paths=["shelf", "many"]))

    assert (inside.status_code, inside.json()["code"]) == (422, "DATA_EMPTY")
    assert inside.json()["errors"][0]["pointer"] == "/data_paths/0"
    assert outside.status_code == 202, "two of the shelf, then thirty of many"


def parquet(folder: Path, **columns: list[str]) -> bytes:
    """A file with these columns."""
    write_table(pyarrow.table(columns), folder / "a.parquet")
    return (folder / "a.parquet").read_bytes()


def test_the_first_rows_of_parquet_are_looked_into_where_this_server_can(
    connect: Connect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files: dict[str, str | bytes] = {
        "good.parquet": parquet(tmp_path, text=["one text", "another"], label=["human", "ai"]),
        "unlabelled.parquet": parquet(tmp_path, text=["one text", "another"]),
        "empty.parquet": parquet(tmp_path, text=[], label=[]),
    }
    client = connect(detectors(files))

    def order(name: str) -> tuple[int, str]:
        answer = client.post("/runs/train", json=body(data_paths=[name]))
        errors = answer.json().get("errors")
        return answer.status_code, errors[0]["pointer"] if errors else ""

    assert order("good.parquet") == (202, "")
    assert order("unlabelled.parquet") == (422, "/columns/label_col")
    assert order("empty.parquet") == (202, ""), "the worker says that it is empty"
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert order("unlabelled.parquet") == (202, "")


def test_labelled_parquet_that_no_worker_can_read_is_refused(connect: Connect) -> None:
    service = detectors({"a.parquet": b"PAR1"})
    service.worker_alive("training")

    answer = connect(service).post("/runs/train", json=body(data_paths=["a.parquet"]))

    assert (answer.status_code, answer.json()["code"]) == (422, "DATA_FORMAT_UNSUPPORTED")
    assert "model-trainer[parquet]" in answer.json()["message"]
    assert answer.json()["errors"][0]["pointer"] == "/data_paths/0"


def test_a_tokenizer_may_be_named_and_must_fit(client: TestClient, service: Service) -> None:
    fits = tokenizer(client, service, "char", vocab_size=40)
    other = tokenizer(client, service, "sentencepiece")

    accepted = client.post("/runs/train", json=body(tokenizer_id=fits, vocab_size=None))
    refused = client.post("/runs/train", json=body(tokenizer_id=other, vocab_size=None))

    assert accepted.status_code == 202, accepted.text
    assert (refused.status_code, refused.json()["code"]) == (422, "TOKENIZER_MISMATCH")


@pytest.mark.parametrize(
    ("more", "needed"),
    [
        ({"vocab_size": 8192}, "10.0 GiB"),
        ({"vocab_size": None}, "6.0 GiB"),
        ({"vocab_size": None, "from_scratch": False, "model_name": "some/encoder"}, "2.0 GiB"),
        ({"vocab_size": None, "model_name": "some/encoder"}, "2.0 GiB"),
        ({"vocab_size": 1024, "model_name": "some/encoder"}, "3.0 GiB"),
    ],
)
def test_memory_is_counted_with_the_vocabulary_that_there_will_be(
    client: TestClient, service: Service, more: dict[str, object], needed: str
) -> None:
    service.worker_alive("training", memory_bytes=GIB)

    answer = client.post("/runs/train", json=body(**more))

    assert (answer.status_code, answer.json()["code"]) == (422, "MODEL_TOO_LARGE")
    assert f"at least {needed}" in answer.json()["message"]


def test_parameters_are_not_counted_before_the_hubs_tokenizer_is_known(client: TestClient) -> None:
    order = body(min_params=1_000_000, model_name="some/encoder", vocab_size=None)

    assert client.post("/runs/train", json=order).status_code == 202


def test_a_vocabulary_of_its_own_counts_with_its_4096_entries(client: TestClient) -> None:
    order = body(min_params=4098, vocab_size=None)

    assert client.post("/runs/train", json=order).status_code == 202


def test_memory_is_counted_with_the_named_tokenizer(client: TestClient, service: Service) -> None:
    named = tokenizer(client, service, vocab_size=2048)
    service.worker_alive("training", memory_bytes=GIB)

    answer = client.post("/runs/train", json=body(tokenizer_id=named, vocab_size=None))

    assert "at least 4.0 GiB" in answer.json()["message"]


def test_a_family_of_detectors_is_listed_like_the_others(client: TestClient) -> None:
    families = {one["name"]: one for one in client.get("/families").json()["families"]}

    assert families["toy_detector"]["example"]["data_paths"] == ["texts.csv"]
    assert "data_paths" in families["toy_detector"]["json_schema"]["properties"]


def test_the_description_has_every_request_of_detectors(client: TestClient) -> None:
    document = client.get("/openapi.json").json()

    schemas = document["components"]["schemas"]
    assert {"CalibrateSpec", "ExportSpec", "PredictSpec", "EvaluateDetectorSpec", "Predictions"} <= set(
        schemas
    )
    for verb in ("calibrate", "export"):
        operation = document["paths"][f"/runs/{{run_id}}/{verb}"]["post"]
        assert operation["requestBody"]["required"] is False
        assert {"202", "404", "409", "422"} <= set(operation["responses"])
    card = document["paths"]["/runs/{run_id}/model-card"]["get"]["responses"]["200"]
    assert set(card["content"]) == {"application/json", "text/markdown"}


def test_every_example_of_a_request_fits_its_schema(client: TestClient, service: Service) -> None:
    document = client.get("/openapi.json").json()
    run_id = trained(client, service)

    for verb in ("calibrate", "export"):
        content = document["paths"][f"/runs/{{run_id}}/{verb}"]["post"]["requestBody"]["content"]
        for example in content["application/json"]["examples"].values():
            assert client.post(f"/runs/{run_id}/{verb}", json=example["value"]).status_code == 202


def test_the_registry_of_this_installation_offers_its_detector_over_the_api(connect: Connect) -> None:
    family = Registry.discover().family("text_detector")
    service = Service(files={"my-texts.csv": f"text,label\n{ROWS}"}, families=[family])

    answer = connect(service).post("/runs/train", json={**family.example(), "data_paths": ["my-texts.csv"]})

    assert answer.status_code == 202, answer.text
    assert BPE.name in family.supported_tokenizers()
