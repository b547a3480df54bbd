"""Orders that are accepted, by their ids."""

from starlette.testclient import TestClient

from model_trainer.core.contracts.base import JsonObject
from tests.unit.api.service import Service

BPE_BODY: JsonObject = {"method": "bpe", "corpus_path": "demo", "vocab_size": 300}


def tokenizer(client: TestClient, service: Service, method: str = "bpe", vocab_size: int = 300) -> str:
    """A completed tokenizer."""
    answer = client.post("/tokenizers/train", json={"method": method, "corpus_path": "demo"})
    tokenizer_id = str(answer.json()["tokenizer_id"])
    service.finished(tokenizer_id, {"info": {"vocab_size": vocab_size}, "stats": {"coverage": 1.0}})
    return tokenizer_id


def training(client: TestClient, service: Service, **more: object) -> str:
    """A queued training."""
    body = {"model_family": "toy", "corpus_path": "demo", "tokenizer_id": tokenizer(client, service), **more}
    return str(client.post("/runs/train", json=body).json()["run_id"])
