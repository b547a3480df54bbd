from collections.abc import Mapping
from datetime import timedelta

class S3Store:
    def __new__(
        cls,
        bucket: str | None = None,
        *,
        prefix: str | None = None,
        config: Mapping[str, str] | None = None,
        client_options: Mapping[str, timedelta | bool] | None = None,
        retry_config: Mapping[str, int | timedelta | Mapping[str, timedelta | float]] | None = None,
        credential_provider: object = None,
        **kwargs: str,
    ) -> S3Store: ...
