"""Files that come to the API in parts: where each part begins, what is missing, and what does not fit."""

import pytest
from starlette.testclient import TestClient

from model_trainer.api.schemas.problem import ProblemDocument
from tests.unit.api.conftest import Connect
from tests.unit.api.filing import DATA, FILE_ID, NO_FILE, Answer, code_of, nothing_is_left, small_files, store
from tests.unit.api.service import Service

NO_UPLOAD = "01J00000000000000000000000"


def begin(client: TestClient, **announced: object) -> str:
    """Where the upload is."""
    answer = client.post("/files/uploads", json=announced)
    assert answer.status_code == 201
    return answer.headers["location"]


def send(client: TestClient, place: str, data: bytes, *, offset: int | str) -> Answer:
    return client.patch(place, content=data, headers={"Upload-Offset": str(offset)})


def test_a_file_comes_in_parts(client: TestClient) -> None:
    begun = client.post("/files/uploads", json={"num_bytes": len(DATA), "sha256": FILE_ID})
    place = begun.headers["location"]
    assert (begun.json()["offset"], begun.headers["upload-offset"]) == (0, "0")
    assert begun.json()["links"] == {"self": place, "complete": f"{place}/complete"}

    first = send(client, place, DATA[:70000], offset=0)
    assert (first.status_code, first.headers["upload-offset"], first.content) == (204, "70000", b"")
    shown = client.get(place)
    assert (shown.json()["offset"], shown.headers["upload-offset"]) == (70000, "70000")
    assert (shown.json()["num_bytes"], shown.json()["sha256"]) == (len(DATA), FILE_ID)
    assert client.head(place).headers["upload-offset"] == "70000"
    assert send(client, place, DATA[70000:], offset=70000).headers["upload-offset"] == str(len(DATA))

    whole = client.post(f"{place}/complete?name=a.csv")
    assert (whole.status_code, whole.headers["location"]) == (201, f"/files/{FILE_ID}")
    assert whole.json()["reference"] == f"sha256:{FILE_ID}.csv"
    assert client.get(f"/files/{FILE_ID}").content == DATA
    assert client.get(place).status_code == 404


def test_an_upload_of_which_nothing_is_known_is_whatever_comes(client: TestClient) -> None:
    store(client)
    begun = client.post("/files/uploads")
    place = begun.headers["location"]
    send(client, place, DATA, offset=0)

    assert (begun.json()["num_bytes"], begun.json()["sha256"]) == (None, None)
    assert client.post(f"{place}/complete").status_code == 200


@pytest.mark.parametrize("offset", [0, 11])
def test_a_part_out_of_order_is_told_where_it_should_begin(client: TestClient, offset: int) -> None:
    place = begin(client)
    send(client, place, DATA[:10], offset=0)
    answer = send(client, place, DATA[:10], offset=offset)

    assert (answer.status_code, code_of(answer)) == (409, "CONFLICT")
    assert (answer.headers["upload-offset"], answer.headers["connection"]) == ("10", "close")
    assert client.get(place).json()["offset"] == 10


@pytest.mark.parametrize("offset", ["", "-1", "1e3", "x", "9" * 30, "+0", " 0x0"])
def test_a_part_must_say_where_it_begins(client: TestClient, offset: str) -> None:
    answer = send(client, begin(client), DATA, offset=offset)

    assert answer.status_code == 422
    problem = ProblemDocument.model_validate_json(answer.content)
    assert [error.pointer for error in problem.errors] == ["/header/Upload-Offset"]
    assert client.patch(begin(client), content=DATA).status_code == 422


def test_a_part_is_no_form(client: TestClient) -> None:
    place = begin(client)
    answer = client.patch(
        place, content=DATA, headers={"Upload-Offset": "0", "Content-Type": "multipart/form-data"}
    )

    assert (answer.status_code, client.get(place).json()["offset"]) == (422, 0)


def test_two_parts_at_once_are_one_too_many(client: TestClient, service: Service) -> None:
    place = begin(client)
    coming = service.container.files.append(place.rpartition("/")[2], offset=0)
    answer = send(client, place, DATA, offset=0)
    coming.close()

    assert (answer.status_code, code_of(answer)) == (409, "CONFLICT")
    assert send(client, place, DATA, offset=0).status_code == 204


def test_more_than_was_announced_is_refused_and_what_fitted_stays(client: TestClient) -> None:
    place = begin(client, num_bytes=100)
    send(client, place, DATA[:100], offset=0)
    answer = send(client, place, DATA[:1], offset=100)

    assert (answer.status_code, code_of(answer)) == (413, "REQUEST_TOO_LARGE")
    assert client.get(place).json()["offset"] == 100


def test_a_part_beyond_the_largest_file_is_refused(connect: Connect) -> None:
    _, client = small_files(connect)
    place = begin(client)
    send(client, place, DATA[:900], offset=0)

    assert send(client, place, DATA[:900], offset=900).status_code == 413
    assert client.post("/files/uploads", json={"num_bytes": 1001}).status_code == 413


def test_an_upload_that_lacks_bytes_is_not_complete(client: TestClient) -> None:
    place = begin(client, num_bytes=len(DATA))
    send(client, place, DATA[:-1], offset=0)
    early = client.post(f"{place}/complete")
    send(client, place, DATA[-1:], offset=len(DATA) - 1)

    assert (early.status_code, code_of(early)) == (409, "CONFLICT")
    assert client.post(f"{place}/complete").status_code == 201


def test_an_upload_that_is_not_what_was_announced_is_thrown_away(
    client: TestClient, service: Service
) -> None:
    place = begin(client, sha256=NO_FILE)
    send(client, place, DATA, offset=0)
    answer = client.post(f"{place}/complete")

    assert (answer.status_code, code_of(answer)) == (422, "DIGEST_MISMATCH")
    assert nothing_is_left(service)


def test_an_upload_can_be_given_up(client: TestClient, service: Service) -> None:
    place = begin(client)
    send(client, place, DATA, offset=0)

    assert client.delete(place).status_code == 204
    assert nothing_is_left(service)


def test_an_upload_that_is_not_there_is_not_found(client: TestClient) -> None:
    place = f"/files/uploads/{NO_UPLOAD}"
    answers: list[Answer] = [
        client.get(place),
        client.delete(place),
        send(client, place, DATA, offset=0),
        client.post(f"{place}/complete"),
    ]

    assert [(answer.status_code, code_of(answer)) for answer in answers] == [(404, "FILE_NOT_FOUND")] * 4
    assert client.head(place).status_code == 404


@pytest.mark.parametrize(
    "body",
    [
        '{"num_bytes":-1}',
        '{"num_bytes":"5"}',
        '{"num_bytes":1e999}',
        '{"sha256":"x"}',
        '{"size":1}',
        "[]",
        "{",
    ],
)
def test_what_is_said_of_an_upload_must_make_sense(client: TestClient, service: Service, body: str) -> None:
    answer = client.post("/files/uploads", content=body, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert nothing_is_left(service)


def test_completing_takes_no_body(client: TestClient) -> None:
    assert client.post(f"{begin(client)}/complete", content=b"x").status_code == 422
