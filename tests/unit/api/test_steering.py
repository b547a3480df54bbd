"""Pausing, resuming and branching off: what goes on, what is refused with which reason, and what checkpoints show."""

import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from model_trainer.api.validators.training import ANY_MACHINE
from model_trainer.core.checkpoints import CONTENT, name_of
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.checkpoint import (
    BestState,
    CheckpointManifest,
    FileDigest,
    LossScaleState,
    TrainingState,
    WindowState,
)
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import HandBack, Outcome, RunKind, RunQuery, RunStatus
from model_trainer.models.recipe_file import write_recipe
from tests.manifests import completed_manifest
from tests.unit.api.orders import tokenizer, training
from tests.unit.api.service import Service, ToyFamily, ToySpec


def put_checkpoint(service: Service, run_id: str, step: int, *, best: int | None = None) -> Path:
    """A checkpoint as a worker leaves it, without tensors in it."""
    folder = service.artifacts.create("models", run_id) / "checkpoints" / name_of(step)
    folder.mkdir(parents=True)
    state = TrainingState(
        schema_version=1,
        recipe_sha256="r",
        data_sha256="d",
        torch_version="2",
        step=step,
        total_steps=100,
        batch_size=1,
        gradient_accumulation_steps=1,
        window=WindowState(),
        best=BestState(step=best),
        loss_scale=LossScaleState(),
        metrics={"validation_loss": 2.0},
    )
    for name in CONTENT:
        (folder / name).write_text(state.model_dump_json() if name == "state.json" else "tensors")
    files = {name: FileDigest(sha256="0", num_bytes=(folder / name).stat().st_size) for name in CONTENT}
    manifest = CheckpointManifest(schema_version=1, step=step, files=files)
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    return folder


def put_manifest(
    service: Service, run_id: str, *, spec: JsonObject | None = None, installation_id: str | None = None
) -> None:
    """A run's manifest.json as its worker leaves it."""
    spec = service.runs.get(run_id).spec if spec is None else spec
    changed: dict[str, object] = {"status": "running", "installation_id": installation_id}
    manifest = completed_manifest("models", run_id, spec=spec).model_copy(update=changed)
    service.write("models", run_id, "manifest.json", manifest.model_dump_json().encode())


def paused(client: TestClient, service: Service) -> str:
    """A training that stands still."""
    run_id = training(client, service)
    assert client.post(f"/runs/{run_id}/pause").json()["status"] == "paused"
    return run_id


def test_a_queued_training_pauses_at_once_and_resumes_into_the_queue(
    client: TestClient, service: Service
) -> None:
    run_id = training(client, service)
    first = client.get(f"/runs/{run_id}").json()
    assert "pause" in first["links"]
    assert "resume" not in first["links"]

    answer = client.post(f"/runs/{run_id}/pause")
    assert (answer.status_code, answer.json()["status"]) == (202, "paused")
    assert answer.json()["links"]["resume"] == f"/runs/{run_id}/resume"
    assert "pause" not in answer.json()["links"]
    assert client.post(f"/runs/{run_id}/pause").json()["status"] == "paused"

    resumed = client.post(f"/runs/{run_id}/resume")
    assert (resumed.status_code, resumed.json()["status"]) == (202, "queued")
    assert service.queue.depth("training") >= 1
    names = [event["event"]["type"] for event in client.get(f"/runs/{run_id}/events").json()["data"]]
    assert names == ["trainer.job.queued.v1", "trainer.job.paused.v1", "trainer.job.queued.v1"]


def test_an_ended_training_links_to_its_resume_unless_it_completed(
    client: TestClient, service: Service
) -> None:
    cancelled = training(client, service)
    client.post(f"/runs/{cancelled}/cancel")
    failed = training(client, service)
    lease = service.claim(failed)
    service.runs.finish(lease, Outcome(status=RunStatus.FAILED, message="No."), ())
    completed = training(client, service)
    service.finished(completed)

    links = {
        run_id: client.get(f"/runs/{run_id}").json()["links"] for run_id in (cancelled, failed, completed)
    }

    assert [("resume" in shown, "cancel" in shown) for shown in links.values()] == [
        (True, False),
        (True, False),
        (False, False),
    ]


def test_a_running_training_is_asked_to_pause_and_says_so(client: TestClient, service: Service) -> None:
    run_id = training(client, service)
    lease = service.claim(run_id)

    asked = client.post(f"/runs/{run_id}/pause").json()
    assert (asked["status"], asked["pause_requested"], asked["host"]) == ("running", True, "h1")
    assert client.post(f"/runs/{run_id}/resume").status_code == 409
    service.runs.release(lease, HandBack(status=RunStatus.PAUSED, message="Paused."))

    assert client.get(f"/runs/{run_id}").json()["status"] == "paused"
    assert client.post(f"/runs/{run_id}/resume", json={}).json()["pause_requested"] is False


def test_a_resume_sent_again_after_its_answer_was_lost_is_answered_alike(
    client: TestClient, service: Service
) -> None:
    run_id, headers = paused(client, service), {"Idempotency-Key": "intent"}
    first = client.post(f"/runs/{run_id}/resume", headers=headers)
    again = client.post(f"/runs/{run_id}/resume", headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json() == again.json()
    assert first.headers["location"] == again.headers["location"] == f"/runs/{run_id}"
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert client.post(f"/runs/{run_id}/resume", headers={"Idempotency-Key": "another"}).status_code == 409


def test_a_key_stands_for_one_run_and_one_body(client: TestClient, service: Service) -> None:
    run_id, other = paused(client, service), paused(client, service)
    for headers, spec in (({"Idempotency-Key": "bare"}, None), ({"Idempotency-Key": "full"}, True)):
        sent: JsonObject | None = None if spec is None else {"spec": service.runs.get(run_id).spec}
        assert client.post(f"/runs/{run_id}/resume", headers=headers, json=sent).status_code == 202
        for path, body in ((other, sent), (run_id, {"step": 20})):
            refused = client.post(f"/runs/{path}/resume", headers=headers, json=body)
            assert (refused.status_code, refused.json()["code"]) == (422, "IDEMPOTENCY_KEY_REUSED")
        client.post(f"/runs/{run_id}/pause")


def test_only_trainings_pause_and_resume(client: TestClient, service: Service) -> None:
    tokenizer_id = client.post("/tokenizers/train", json={"method": "bpe", "corpus_path": "demo"}).json()[
        "tokenizer_id"
    ]
    assert client.post(f"/runs/{tokenizer_id}/pause").status_code == 409
    while_queued = client.post(f"/runs/{tokenizer_id}/resume").json()["message"]
    client.post(f"/runs/{tokenizer_id}/cancel")

    answer = client.post(f"/runs/{tokenizer_id}/resume")
    assert (answer.status_code, answer.json()["code"]) == (409, "CONFLICT")
    assert "order it again" in answer.json()["message"]
    done = service.runs.get(tokenizer(client, service)).run_id
    while_completed = client.post(f"/runs/{done}/resume").json()["message"]
    for message in (while_queued, while_completed):
        assert "of kind tokenizer" in message
        assert "init_from" not in message
    assert client.get(f"/runs/{tokenizer_id}/checkpoints").status_code == 404
    assert client.post(f"/runs/{new_ulid()}/resume").status_code == 404


def test_what_goes_on_or_is_done_is_not_resumed(client: TestClient, service: Service) -> None:
    run_id = training(client, service)
    for take, word in (
        (lambda: None, "queued: it goes on by itself"),
        (lambda: service.claim(run_id), "running: pause or cancel it first"),
        (lambda: client.post(f"/runs/{run_id}/cancel"), "cancelling: wait"),
    ):
        take()
        answer = client.post(f"/runs/{run_id}/resume")
        assert (answer.status_code, word in answer.json()["message"]) == (409, True), answer.json()
    other = training(client, service)
    service.finished(other)
    answer = client.post(f"/runs/{other}/resume", json={"step": 1})
    assert (answer.status_code, "init_from" in answer.json()["message"]) == (409, True)


def test_a_folder_of_another_installation_or_spec_is_not_resumed(
    client: TestClient, service: Service
) -> None:
    run_id = paused(client, service)
    put_manifest(service, run_id, installation_id=new_ulid())
    foreign = client.post(f"/runs/{run_id}/resume")
    assert (foreign.status_code, "another installation" in foreign.json()["message"]) == (409, True)

    put_manifest(service, run_id, spec={**service.runs.get(run_id).spec, "seed": 7})
    changed = client.post(f"/runs/{run_id}/resume")
    assert (changed.status_code, "another seed" in changed.json()["message"]) == (409, True)

    without = {name: value for name, value in service.runs.get(run_id).spec.items() if name != "seed"}
    put_manifest(service, run_id, spec=without)
    assert client.post(f"/runs/{run_id}/resume").status_code == 409

    service.write("models", run_id, "manifest.json", b"{")
    assert client.post(f"/runs/{run_id}/resume").status_code == 409

    put_manifest(service, run_id, installation_id=service.artifacts.installation_id())
    assert client.post(f"/runs/{run_id}/resume").status_code == 202


def test_a_spec_sent_along_must_be_the_one_ordered(client: TestClient, service: Service) -> None:
    run_id = paused(client, service)
    spec = client.get(f"/runs/{run_id}").json()["spec"]
    asked = {name: spec[name] for name in ("model_family", "corpus_path", "tokenizer_id")}

    changed = client.post(f"/runs/{run_id}/resume", json={"spec": {**asked, "seed": 7}})
    assert (changed.status_code, [fault["pointer"] for fault in changed.json()["errors"]]) == (
        409,
        ["/spec/seed"],
    )
    assert "init_from" in changed.json()["message"]
    family = {**asked, "model_family": "other"}
    assert client.post(f"/runs/{run_id}/resume", json={"spec": family}).status_code == 422
    invalid = client.post(f"/runs/{run_id}/resume", json={"spec": {**asked, "seed": -1}})
    assert (invalid.status_code, invalid.json()["errors"][0]["pointer"]) == (422, "/spec/seed")
    assert invalid.json()["message"] == "The spec sent along does not fit: see /spec/seed."
    not_a_number = json.dumps({"spec": {**asked, "compare_to_run_id": float("nan")}})
    headers = {"Content-Type": "application/json"}
    assert client.post(f"/runs/{run_id}/resume", content=not_a_number, headers=headers).status_code == 422
    assert client.post(f"/runs/{run_id}/resume", json={"spec": asked}).status_code == 202


def test_checkpoints_are_listed_newest_first_and_one_can_be_chosen(
    client: TestClient, service: Service
) -> None:
    run_id = paused(client, service)
    assert client.get(f"/runs/{run_id}/checkpoints").json()["data"] == []
    for step in (10, 20, 30):
        put_checkpoint(service, run_id, step, best=20 if step >= 20 else None)
    (put_checkpoint(service, run_id, 40) / "state.json").write_text("{}")

    found = client.get(f"/runs/{run_id}/checkpoints").json()["data"]

    assert [one["step"] for one in found] == [40, 30, 20, 10]
    assert [one["resumable"] for one in found] == [False, True, True, True]
    assert [one["step"] for one in found if one["is_last"]] == [30]
    assert [one["step"] for one in found if one["is_best"]] == [20]
    assert found[1]["path"] == "checkpoints/step-0000000030"
    assert found[1]["metrics"] == {"validation_loss": 2.0}
    assert (found[0]["saved_at"], found[1]["saved_at"] is None) == (None, False)

    for step, words in ((15, "Choose one of these: 30, 20, 10."), (40, "does not fit")):
        refused = client.post(f"/runs/{run_id}/resume", json={"step": step})
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/step")
        assert words in refused.json()["message"]
        assert refused.json()["errors"][0]["message"] in refused.json()["message"]
    resumed = client.post(f"/runs/{run_id}/resume", json={"step": 20})
    assert (resumed.status_code, resumed.json()["resume_order"]["step"]) == (202, 20)


def test_without_a_good_checkpoint_no_step_can_be_chosen(client: TestClient, service: Service) -> None:
    run_id = paused(client, service)
    refused = client.post(f"/runs/{run_id}/resume", json={"step": 5})
    assert (refused.status_code, "leave the step out" in refused.json()["message"]) == (422, True)


@pytest.mark.parametrize(
    "body", ["[]", '{"step":-1}', '{"step":1.5}', '{"step":NaN}', '{"step":1,"step":2}', "{"]
)
def test_a_resume_that_cannot_be_read_changes_nothing(
    client: TestClient, service: Service, body: str
) -> None:
    run_id = paused(client, service)
    answer = client.post(f"/runs/{run_id}/resume", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert service.runs.get(run_id).status is RunStatus.PAUSED


def branched(client: TestClient, service: Service, **changes: object) -> tuple[int, dict[str, object]]:
    """The answer to a training that begins from a completed one with a checkpoint at step 10."""
    parent = training(client, service)
    spec = service.runs.get(parent).spec
    put_checkpoint(service, parent, 10)
    toy = ToySpec.model_validate_json(json.dumps(spec))
    recipe = ToyFamily().resolve(toy, ANY_MACHINE, vocab_size=300)
    write_recipe(service.artifacts.folder("models", parent), recipe)
    service.finished(parent)
    origin = {"run_id": parent}
    asked = changes.pop("init_from", {})
    assert isinstance(asked, dict)
    body = {
        "model_family": "toy",
        "corpus_path": "demo",
        "tokenizer_id": spec["tokenizer_id"],
        "init_from": {**origin, **asked},
        **changes,
    }
    answer = client.post("/runs/train", json=body)
    found: dict[str, object] = answer.json()
    return answer.status_code, found


def test_a_training_can_begin_from_another_one_and_names_it_as_its_parent(
    client: TestClient, service: Service
) -> None:
    for asked in ({}, {"step": 10}, {"step": 10, "keep_optimizer": True}):
        status, run = branched(client, service, init_from=asked)
        assert status == 202, run
        spec = run["spec"]
        assert isinstance(spec, dict)
        assert run["parent_run_id"] == spec["init_from"]["run_id"]


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"init_from": {"step": 11}}, "/init_from/step"),
        ({"init_from": {"keep_optimizer": True}}, "/init_from/keep_optimizer"),
        ({"init_from": {"run_id": "01J00000000000000000000000"}}, "/init_from/run_id"),
        ({"num_layers": 3}, "/num_layers"),
    ],
)
def test_a_parent_that_does_not_fit_is_refused_and_leaves_nothing(
    client: TestClient, service: Service, changes: dict[str, object], pointer: str
) -> None:
    status, problem = branched(client, service, **changes)

    assert (status, pointer in str(problem["errors"])) == (422, True), problem
    assert len(service.runs.list_runs(RunQuery(kind=RunKind.TRAIN, limit=9)).records) == 1


def test_a_tokenizer_is_no_parent_and_a_lost_recipe_neither(client: TestClient, service: Service) -> None:
    tokenizer_id = tokenizer(client, service)
    status, problem = branched(client, service, init_from={"run_id": tokenizer_id})
    assert (status, "/init_from/run_id" in str(problem["errors"])) == (422, True)

    parent = training(client, service)
    service.finished(parent)
    spec = service.runs.get(parent).spec
    body = {name: spec[name] for name in ("model_family", "corpus_path", "tokenizer_id")}
    answer = client.post("/runs/train", json={**body, "init_from": {"run_id": parent}})
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/init_from/run_id")
