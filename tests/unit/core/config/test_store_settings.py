"""STORE__*: what cannot work is refused before anything is opened, with the variable's name."""

import pytest

from model_trainer.core.config import load_settings
from model_trainer.core.errors import AppError, ErrorCode

S3 = {"STORE__KIND": "s3", "STORE__S3__BUCKET": "models"}


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"STORE__KIND": "s3"}, "STORE__S3__BUCKET"),
        ({"STORE__KIND": "databank"}, "STORE__DATABANK__URL"),
        ({**S3, "STORE__S3__ENDPOINT": "http://minio:9000"}, "STORE__S3__ALLOW_HTTP"),
        ({**S3, "STORE__S3__ENDPOINT": "minio:9000"}, "STORE__S3__ENDPOINT"),
        ({**S3, "STORE__S3__ENDPOINT": "https://"}, "STORE__S3__ENDPOINT"),
        ({**S3, "STORE__S3__ENDPOINT": "https://mi nio"}, "STORE__S3__ENDPOINT"),
        ({**S3, "STORE__S3__ENDPOINT": "https://minio:0"}, "STORE__S3__ENDPOINT"),
        ({**S3, "STORE__S3__ENDPOINT": "https://minio:99999"}, "STORE__S3__ENDPOINT"),
        ({**S3, "STORE__S3__BUCKET": "my bucket"}, "STORE__S3__BUCKET"),
        ({**S3, "STORE__S3__PREFIX": "a b"}, "STORE__S3__PREFIX"),
        ({**S3, "STORE__S3__REGION": "eu west"}, "STORE__S3__REGION"),
        ({**S3, "STORE__S3__ACCESS_KEY_ID": "schlüssel"}, "STORE__S3__ACCESS_KEY_ID"),
        ({"STORE__KIND": "databank", "STORE__DATABANK__URL": "bank"}, "STORE__DATABANK__URL"),
    ],
)
def test_a_store_that_cannot_work_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], named: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(AppError, match=named) as caught:
        load_settings(env_file=None)

    assert caught.value.code is ErrorCode.CONFIG_INVALID


@pytest.mark.parametrize(
    "variables",
    [
        S3,
        {**S3, "STORE__S3__ENDPOINT": "https://minio:9000/path", "STORE__S3__PREFIX": "a/b-c_d.e"},
        {**S3, "STORE__S3__ENDPOINT": "http://[::1]:9000", "STORE__S3__ALLOW_HTTP": "true"},
        {"STORE__KIND": "databank", "STORE__DATABANK__URL": "http://bank:8000"},
    ],
)
def test_a_store_that_can_work_is_taken(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    assert load_settings(env_file=None).store.kind == variables["STORE__KIND"]
