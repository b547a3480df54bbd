"""Lists by cursor and by filter, and what a query may say."""

import pytest
from starlette.testclient import TestClient

from model_trainer.core.contracts.run import Outcome, Problem, ProblemFault, RunStatus
from model_trainer.core.errors import ErrorCode, Reason
from tests.unit.api.service import Service


def order(client: TestClient, **more: object) -> str:
    """One tokenizer, queued."""
    body = {"method": "bpe", "corpus_path": "demo", "vocab_size": 300, **more}
    return str(client.post("/tokenizers/train", json=body).json()["tokenizer_id"])


def test_an_empty_list_has_no_cursor(client: TestClient) -> None:
    assert client.get("/runs").json() == {"data": [], "has_more": False, "first_id": None, "last_id": None}


def test_pages_follow_one_another_newest_first_without_gaps(client: TestClient) -> None:
    ids = [order(client) for _ in range(5)]
    seen: list[str] = []
    query: dict[str, str | int] = {"limit": 2}
    while True:
        page = client.get("/tokenizers", params=query).json()
        seen += [item["tokenizer_id"] for item in page["data"]]
        assert (page["first_id"], page["last_id"]) == (seen[-len(page["data"])], seen[-1])
        if not page["has_more"]:
            break
        query["after"] = page["last_id"]

    assert seen == sorted(ids, reverse=True)


def test_lists_are_filtered(client: TestClient, service: Service) -> None:
    mine = order(client, user_id="me", metadata={"team": "a", "stage": "x"})
    done = order(client, method="char", metadata={"team": "b"})
    service.finished(done)

    def found(**query: str) -> list[str]:
        return [item["tokenizer_id"] for item in client.get("/tokenizers", params=query).json()["data"]]

    assert found(user_id="me") == [mine]
    assert found(method="char") == [done]
    assert found(status="completed") == [done]
    assert found(status="queued", **{"metadata[team]": "a", "metadata[stage]": "x"}) == [mine]
    assert found(**{"metadata[team]": "nobody"}) == []


def test_runs_of_other_kinds_are_listed_on_request(client: TestClient) -> None:
    made = order(client)

    assert client.get("/runs").json()["data"] == []
    listed = client.get("/runs", params={"kind": "tokenizer", "family": "bpe"}).json()["data"]
    assert [(run["run_id"], run["links"]["tokenizer"]) for run in listed] == [(made, f"/tokenizers/{made}")]


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=101",
        "limit=abc",
        "limit=5&limit=6",
        "limt=5",
        "after=xyz",
        "status=done",
        "kind=all",
        "metadata=x",
        "metadata[a=x",
        "metadata[a]=x&metadata[a]=y",
        "metadata=x&metadata[a]=x",
        "metadata[a]=x&metadata=x",
        "limit[a]=1",
        "api_key=secret",
    ],
)
def test_a_query_that_does_not_fit_is_refused(client: TestClient, query: str) -> None:
    answer = client.get(f"/runs?{query}")

    assert (answer.status_code, answer.json()["code"]) == (422, "CONFIG_INVALID")
    assert answer.json()["errors"][0]["pointer"].startswith("/")
    assert "secret" not in answer.text


def test_paths_without_parameters_refuse_all_of_them(client: TestClient) -> None:
    assert client.get("/families?verbose=1").status_code == 422


def test_a_finished_tokenizer_shows_its_vocabulary_and_statistics(
    client: TestClient, service: Service
) -> None:
    made = order(client)
    service.finished(made, {"info": {"vocab_size": 290}, "stats": {"coverage": 1.0}})

    shown = client.get(f"/tokenizers/{made}").json()

    assert (shown["vocab_size"], shown["stats"], shown["status"]) == (290, {"coverage": 1.0}, "completed")
    assert "cancel" not in shown["links"]
    assert shown["started_at"] is not None


def test_an_unknown_tokenizer_is_not_found(client: TestClient) -> None:
    answer = client.get("/tokenizers/01J00000000000000000000000")

    assert (answer.status_code, answer.json()["code"]) == (404, "TOKENIZER_NOT_FOUND")


def test_an_id_of_another_shape_never_reaches_the_store(client: TestClient) -> None:
    for path in ("/runs/xyz", "/runs/01j00000000000000000000000", "/tokenizers/a:b", "/artifacts/models/*"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (422, "CONFIG_INVALID")


def test_a_failed_run_shows_the_problem_that_a_refusal_would_have_shown(
    client: TestClient, service: Service
) -> None:
    made = order(client)
    problem = Problem(
        code=ErrorCode.DATA_ENCODING_INVALID,
        message="a.txt is not UTF-8.",
        faults=(ProblemFault(pointer="/corpus_path", message="not UTF-8"),),
        exception="UnicodeDecodeError: x",
    )
    outcome = Outcome(status=RunStatus.FAILED, message="failed", reason=Reason.INVALID_DATA, problem=problem)
    service.runs.finish(service.claim(made), outcome)

    for path in (f"/tokenizers/{made}", f"/runs/{made}"):
        shown = client.get(path).json()
        assert (shown["status"], shown["reason"], shown["failure_class"]) == (
            "failed",
            "invalid_data",
            "USER_INPUT",
        )
        assert (shown["problem"]["status"], shown["problem"]["code"]) == (422, "DATA_ENCODING_INVALID")
        assert shown["problem"]["errors"] == [{"pointer": "/corpus_path", "message": "not UTF-8"}]
        assert shown["problem"]["request_id"] == shown["request_id"]
