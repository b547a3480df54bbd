"""What is asked of a training before it is accepted, by what its family learns from."""

import re

from model_trainer.api.validators.corpus import check_corpus, check_size
from model_trainer.api.validators.detector import check_labelled
from model_trainer.api.validators.training import (
    check_capacity,
    check_comparison,
    check_origin,
    check_tokenizer,
)
from model_trainer.container import Container
from model_trainer.core.contracts.detector import OWN_VOCABULARY, DetectorSpec
from model_trainer.core.contracts.run import Worker
from model_trainer.core.contracts.training import LanguageModelSpec, TrainSpec
from model_trainer.core.errors import AppError, ErrorCode, FieldFault
from model_trainer.models.family import Family

_ON_THE_HUB = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
NOT_KNOWN_YET = 0
"""Entries of a hub's tokenizer: the worker asks the hub, the API does not."""


def check_order(spec: TrainSpec, container: Container) -> None:
    """Raises, naming the field, what keeps this training from working."""
    family = container.registry.family(spec.model_family)
    workers = container.workers_of(container.settings.rq.queue_name)
    match spec:
        case LanguageModelSpec():
            _check_language_model(spec, family, workers, container)
        case DetectorSpec():
            _check_detector(spec, family, workers, container)
        case _:
            message = f"{family.name} learns neither from a corpus nor from labelled texts; no worker of this version trains it."
            raise AppError(ErrorCode.FAMILY_UNKNOWN, message, faults=[FieldFault("/model_family", message)])


def _check_language_model(
    spec: LanguageModelSpec, family: Family, workers: tuple[Worker, ...], container: Container
) -> None:
    source = check_corpus(
        container.corpora, spec.corpus_path, encoding_errors=spec.encoding_errors, workers=workers
    )
    vocab_size = check_tokenizer(spec.tokenizer_id, family, container.tokenizers)
    check_comparison(spec.compare_to_run_id, container.runs)
    origin = check_origin(spec, container.training, container.artifacts)
    recipe = check_capacity(spec, family, vocab_size=vocab_size, workers=workers, origin=origin)
    check_size(source, spec.split_plan(), window=recipe.max_seq_len)


def _check_detector(
    spec: DetectorSpec, family: Family, workers: tuple[Worker, ...], container: Container
) -> None:
    _check_encoder(spec.model_name)
    check_labelled(container.corpora, spec.data_paths, columns=spec.columns, workers=workers)
    named = None
    if spec.tokenizer_id is not None:
        named = check_tokenizer(spec.tokenizer_id, family, container.tokenizers)
    check_comparison(spec.compare_to_run_id, container.runs)
    origin = check_origin(spec, container.training, container.artifacts)
    if named is None and origin is not None:
        named = origin.vocab_size
    if named is None and spec.brings_tokenizer:
        # The encoder brings its tokenizer; how large it is, the worker asks the hub before it counts parameters.
        no_demand: dict[str, object] = {"min_params": None}
        spec = spec.model_copy(update=no_demand)
        named = NOT_KNOWN_YET
    vocab_size = spec.vocab_size or OWN_VOCABULARY if named is None else named
    check_capacity(spec, family, vocab_size=vocab_size, workers=workers, origin=origin)


def _check_encoder(model_name: str | None) -> None:
    """A name on the hub: folders of a worker's disk are not the API's callers' to read. The command line takes them."""
    if model_name is not None and _ON_THE_HUB.fullmatch(model_name) is None:
        message = "must be the name of an encoder on the hub: owner/name. A folder can be given to `model-trainer pipeline`."
        raise AppError(
            ErrorCode.CONFIG_INVALID, f"model_name {message}", faults=[FieldFault("/model_name", message)]
        )
