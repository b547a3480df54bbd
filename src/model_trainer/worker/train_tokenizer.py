"""The job that turns a corpus into a tokenizer, its statistics and its manifest."""

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from model_trainer.core.contracts.base import as_json, dump_json
from model_trainer.core.contracts.corpus import CorpusDigest
from model_trainer.core.contracts.run import Phase, RunRecord
from model_trainer.core.contracts.tokenizer import TokenizerSpec, TokenizerStats
from model_trainer.core.errors import ErrorCode
from model_trainer.core.files import write_atomically
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.storage import CorpusSource
from model_trainer.core.ports.tokenizers import Tokenizer
from model_trainer.engine.data.corpus import texts
from model_trainer.tokenizers.stats import measure
from model_trainer.worker.account import ArtifactAccount
from model_trainer.worker.corpora import scan_split
from model_trainer.worker.handing_in import hand_in
from model_trainer.worker.job import Job, JobResult
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.parts import WorkerParts

log = get_logger(__name__)


def train_tokenizer_job(parts: WorkerParts) -> Job:
    """Trains the tokenizer a record describes; its id is the record's."""
    return _TrainTokenizer(parts).job()


class _TrainTokenizer:
    def __init__(self, parts: WorkerParts) -> None:
        self._parts = parts
        self._account: ArtifactAccount | None = None

    def job(self) -> Job:
        return Job(
            work=self._work, folder=self._folder, ended=self._ended, fallback=ErrorCode.TOKENIZER_TRAIN_FAILED
        )

    def _folder(self, record: RunRecord) -> AbstractContextManager[Path]:
        self._parts.artifacts.create("tokenizers", record.run_id)
        return self._parts.artifacts.use("tokenizers", record.run_id)

    def _work(self, held: HeldRun, record: RunRecord) -> JobResult:
        spec = self._parts.registry.parse_tokenizer_spec(dump_json(record.spec))
        account = ArtifactAccount(
            kind="tokenizers",
            record=record,
            seed=spec.seed,
            folder=self._parts.artifacts.folder("tokenizers", record.run_id),
        )
        self._account = account
        source, digest = self._validate(held, spec, account)
        tokenizer = self._train(held, spec, account, source=source, digest=digest)
        stats = self._measure(held, spec, account, tokenizer=tokenizer, source=source, digest=digest)
        held.enter_phase(Phase.FINALIZING, "Accounting for every file")
        account.seal_done(record, self._parts.artifacts)
        hand_in(self._parts, held, record, account)
        info = tokenizer.inspect()
        log.info(
            "tokenizer_trained", tokenizer_id=record.run_id, vocab_size=info.vocab_size, method=info.method
        )
        return JobResult(
            message=f"{info.vocab_size} entries, {stats.bytes_per_token:.2f} bytes per token on the {stats.measured_on} text.",
            metrics={
                "coverage": stats.coverage,
                "oov_rate": stats.oov_rate,
                "bytes_per_token": stats.bytes_per_token,
                "tokens_per_word": stats.tokens_per_word,
            },
            result={"info": as_json(info), "stats": as_json(stats)},
        )

    def _validate(
        self, held: HeldRun, spec: TokenizerSpec, account: ArtifactAccount
    ) -> tuple[CorpusSource, CorpusDigest]:
        held.enter_phase(Phase.VALIDATING, "Reading the whole corpus once")
        with account.timed("validate"):
            source, digest = scan_split(
                self._parts.corpora, spec.corpus_path, held=held, plan=spec.split_plan()
            )
        account.corpus = digest
        return source, digest

    def _train(
        self,
        held: HeldRun,
        spec: TokenizerSpec,
        account: ArtifactAccount,
        *,
        source: CorpusSource,
        digest: CorpusDigest,
    ) -> Tokenizer:
        held.enter_phase(Phase.TRAINING, f"Training a {spec.method} tokenizer")
        backend = self._parts.registry.tokenizer(spec.method).backend()
        with account.timed("train"):
            facts = backend.train(
                texts(source, digest, plan=spec.split_plan(), split="train"),
                spec,
                num_bytes=int(digest.num_bytes * (1.0 - spec.holdout_fraction)),
                folder=account.folder,
                report=held.report,
            )
        held.check()
        tokenizer = backend.load(account.folder)
        account.tokenizer_id, account.tokenizer_sha256 = held.run_id, tokenizer.inspect().sha256
        account.resolved = {**facts, "info": as_json(tokenizer.inspect())}
        return tokenizer

    def _measure(
        self,
        held: HeldRun,
        spec: TokenizerSpec,
        account: ArtifactAccount,
        *,
        tokenizer: Tokenizer,
        source: CorpusSource,
        digest: CorpusDigest,
    ) -> TokenizerStats:
        held.enter_phase(Phase.EVALUATING, "Measuring on the holdout")
        held_out = spec.holdout_fraction > 0
        sample = texts(source, digest, plan=spec.split_plan(), split="validation" if held_out else "train")
        with account.timed("evaluate"):
            stats = measure(
                tokenizer, _checked(sample(), held), measured_on="holdout" if held_out else "train"
            )
        write_atomically(account.folder / "stats.json", (stats.model_dump_json(indent=2) + "\n").encode())
        account.metrics = as_json(stats)
        return stats

    def _ended(self, record: RunRecord) -> None:
        if self._account is not None:
            self._account.seal_as_recorded(record, self._parts.artifacts)


def _checked(texts_of_split: Iterator[str], held: HeldRun) -> Iterator[str]:
    """The same texts; a cancelled job ends between two."""
    for text in texts_of_split:
        held.check()
        yield text
