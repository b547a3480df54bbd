"""How every job reads a corpus first: located under the data root, scanned whole, with progress."""

from model_trainer.core.contracts.corpus import CorpusDigest, EncodingErrors, SplitPlan
from model_trainer.core.ports.storage import CorpusRoot, CorpusSource
from model_trainer.engine.data.corpus import check_splits, scan_corpus
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.outcomes import faults_at

CORPUS_FIELD = "/corpus_path"


def scan_split(
    corpora: CorpusRoot, corpus_path: str, *, held: HeldRun, plan: SplitPlan
) -> tuple[CorpusSource, CorpusDigest]:
    """As scan(); raises DATA_TOO_SMALL too, when a split that is wanted would stay empty. Faults name the corpus."""
    with faults_at(CORPUS_FIELD):
        source, digest = scan(corpora, corpus_path, held=held, encoding_errors=plan.encoding_errors)
        check_splits(source, digest, plan=plan)
    return source, digest


def scan(
    corpora: CorpusRoot, corpus_path: str, *, held: HeldRun, encoding_errors: EncodingErrors
) -> tuple[CorpusSource, CorpusDigest]:
    """The files of a corpus and what they hold now; raises DATA_* for what cannot be trained on."""

    def fetched(done: int, total: int) -> None:
        held.report(done / max(1, total), f"Fetched {done:,} of {total:,} bytes")

    source = corpora.locate(corpus_path, report=fetched)

    def report(done: int, total: int) -> None:
        held.report(done / max(1, total), f"Read {done:,} of {total:,} bytes")

    return source, scan_corpus(source, encoding_errors=encoding_errors, report=report)
