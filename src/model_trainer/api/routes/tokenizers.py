"""/tokenizers: order, list and look at."""

from functools import partial

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from model_trainer.api.middleware.request_id import current_request_id
from model_trainer.api.openapi import tokenizer_body
from model_trainer.api.requests import idempotency_of, parse_query, read_json_body
from model_trainer.api.routes.accepted import ACCEPTED, accepted, once
from model_trainer.api.routes.endpoints import IDEMPOTENCY_KEY, TokenizerIdPath, add
from model_trainer.api.schemas.page import Page, TokenizerListQuery
from model_trainer.api.schemas.tokenizer import TokenizerView, view_tokenizer, view_tokenizers
from model_trainer.api.validators.corpus import check_corpus, check_size, check_vocabulary
from model_trainer.api.validators.tokenizer import check_library
from model_trainer.container import Container
from model_trainer.core.contracts.ids import TokenizerId
from model_trainer.core.contracts.run import IdempotencyKey, RunKind, RunQuery, Submission
from model_trainer.core.contracts.tokenizer import TokenizerSpec


class TokenizerRoutes:
    """Handlers of /tokenizers."""

    def __init__(self, container: Container) -> None:
        self._container = container

    def add_to(self, app: FastAPI) -> None:
        """Adds the routes."""
        add(
            app,
            "POST",
            "/tokenizers/train",
            self.train,
            operation_id="train_tokenizer",
            summary="Order a tokenizer",
            tag="tokenizers",
            view=TokenizerView,
            status=202,
            headers=[IDEMPOTENCY_KEY],
            body=tokenizer_body(self._container.registry),
            answers=ACCEPTED,
            problems=[413],
        )
        add(
            app,
            "GET",
            "/tokenizers",
            self.list_tokenizers,
            operation_id="list_tokenizers",
            summary="List tokenizers, newest first",
            tag="tokenizers",
            view=Page[TokenizerView],
            query=TokenizerListQuery,
        )
        add(
            app,
            "GET",
            "/tokenizers/{tokenizer_id}",
            self.get_tokenizer,
            operation_id="get_tokenizer",
            summary="Where a tokenizer stands, and its statistics",
            tag="tokenizers",
            view=TokenizerView,
            problems=[404],
        )

    async def train(self, request: Request) -> Response:
        """Checks the spec, records the tokenizer and puts its training in the short queue."""
        body = await read_json_body(request)
        spec = self._container.registry.parse_tokenizer_spec(body)
        key = idempotency_of(request, body, operation="train_tokenizer")
        submission = await run_in_threadpool(once, self._container.runs, key, partial(self._start, spec))
        tokenizer_id = submission.record.run_id
        return accepted(submission, view_tokenizer(submission.record), location=f"/tokenizers/{tokenizer_id}")

    def list_tokenizers(self, request: Request) -> Page[TokenizerView]:
        """One page; ask again with after=last_id while has_more."""
        wanted = parse_query(request, TokenizerListQuery)
        query = RunQuery(
            kind=RunKind.TOKENIZER,
            limit=wanted.limit,
            after=wanted.after,
            status=wanted.status,
            family=wanted.method,
            user_id=wanted.user_id,
            metadata=wanted.metadata,
        )
        return view_tokenizers(self._container.tokenizers.list_tokenizers(query))

    def get_tokenizer(self, tokenizer_id: TokenizerIdPath) -> TokenizerView:
        """One tokenizer, trained or in the making."""
        return view_tokenizer(self._container.tokenizers.find(TokenizerId(tokenizer_id)))

    def _start(self, spec: TokenizerSpec, idempotency: IdempotencyKey | None) -> Submission:
        container = self._container
        workers = container.workers_of(container.settings.rq.short_queue_name)
        check_library(container.registry.tokenizer(spec.method), workers=workers)
        source = check_corpus(
            container.corpora, spec.corpus_path, encoding_errors=spec.encoding_errors, workers=workers
        )
        check_vocabulary(spec, source)
        check_size(source, spec.split_plan(), window=0)
        return container.tokenizers.start(spec, request_id=current_request_id(), idempotency=idempotency)
