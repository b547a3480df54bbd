"""What our tokenizer training costs over calling the library directly: paired runs, medians, ratio.

`python benchmarks/tokenizer_training.py [text file] [--rounds 7] [--vocab-size 8000] [--megabytes 4]`
Ours reads the corpus from disk, splits it, samples, hashes again and writes all files; the direct call gets the same
text from memory. Both run in a fresh process each time, in turn, so that neither profits from a warm library.
"""

import argparse
import json
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from model_trainer.core.contracts.corpus import SplitPlan
from model_trainer.core.ports.storage import CorpusSource
from model_trainer.engine.data.corpus import scan_corpus, texts
from model_trainer.registry import Registry

CASES = {
    "bpe": {"method": "bpe"},
    "sentencepiece bpe": {"method": "sentencepiece", "model_type": "bpe"},
    "sentencepiece unigram": {"method": "sentencepiece", "model_type": "unigram"},
}


def main() -> None:
    arguments = parse_arguments()
    if arguments.measure:
        print(json.dumps(measured(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        text = Path(folder) / "corpus.txt"
        text.write_bytes(default_text(arguments.text, arguments.megabytes << 20))
        print(f"{text.stat().st_size:,} bytes, vocabulary {arguments.vocab_size}, {arguments.rounds} rounds")
        for case in arguments.only or CASES:
            seconds: dict[str, list[float]] = {"direct": [], "ours": []}
            for _ in range(arguments.rounds):
                for side in seconds:
                    seconds[side].append(in_a_process_of_its_own(case, side, text, arguments.vocab_size))
            medians = {side: statistics.median(rounds) for side, rounds in seconds.items()}
            ratio = statistics.median(
                own / direct for direct, own in zip(seconds["direct"], seconds["ours"], strict=True)
            )
            print(
                f"{case:22s} direct {medians['direct']:7.3f} s   ours {medians['ours']:7.3f} s   median of paired ratios {ratio:.3f}"
            )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "text", nargs="?", type=Path, help="any UTF-8 text; the standard library when left out"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--vocab-size", type=int, default=8000)
    parser.add_argument("--megabytes", type=int, default=4, help="of text, at most")
    parser.add_argument("--only", nargs="+", choices=CASES)
    parser.add_argument("--measure", nargs=2, metavar=("CASE", "SIDE"), help=argparse.SUPPRESS)
    return parser.parse_args()


def default_text(path: Path | None, limit: int) -> bytes:
    if path is not None:
        text = path.read_bytes()
    else:
        sources = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("**/*.py"))
        own = [
            source for source in sources if "site-packages" not in source.parts and "test" not in source.parts
        ]
        text = b"".join(source.read_bytes() for source in own)
    return text[:limit].decode(errors="ignore").encode()


def in_a_process_of_its_own(case: str, side: str, text: Path, vocab_size: int) -> float:
    command = [sys.executable, __file__, str(text), "--vocab-size", str(vocab_size), "--measure", case, side]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(json.loads(done.stdout))


def measured(arguments: argparse.Namespace) -> float:
    case, side = arguments.measure
    with tempfile.TemporaryDirectory() as folder:
        prepare = ours if side == "ours" else DIRECT[case]
        train = prepare(arguments.text, arguments.vocab_size, Path(folder), case)
        began = time.perf_counter()
        train()
        return time.perf_counter() - began


def ours(text: Path, vocab_size: int, folder: Path, case: str) -> Callable[[], object]:
    body = {**CASES[case], "corpus_path": text.name, "vocab_size": vocab_size, "holdout_fraction": 0.0}
    spec = Registry.discover().parse_tokenizer_spec(json.dumps(body))
    backend = Registry.discover().tokenizer(spec.method).backend()
    source = CorpusSource(text.name, text.parent, (text.name,), text.stat().st_size)
    digest = scan_corpus(source, encoding_errors="strict", report=lambda done, total: None)
    plan: SplitPlan = spec.split_plan()
    return lambda: backend.train(
        texts(source, digest, plan=plan, split="train"),
        spec,
        num_bytes=digest.num_bytes,
        folder=folder,
        report=lambda fraction, message: None,
    )


def direct_bpe(text: Path, vocab_size: int, folder: Path, case: str) -> Callable[[], object]:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    content = text.read_bytes().decode()
    pages = [content[begin : begin + 8192] for begin in range(0, len(content), 8192)]

    def train() -> None:
        tokenizer.train_from_iterator(pages, trainer=trainer)
        tokenizer.save(str(folder / "tokenizer.json"))

    return train


def direct_sentencepiece(text: Path, vocab_size: int, folder: Path, case: str) -> Callable[[], object]:
    import sentencepiece

    from model_trainer.core.compute.machine import usable_cpus

    sentencepiece.set_min_log_level(2)
    return lambda: sentencepiece.SentencePieceTrainer.train(
        input=str(text),
        model_prefix=str(folder / "tokenizer"),
        model_type=case.split()[1],
        vocab_size=vocab_size,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        allow_whitespace_only_pieces=True,
        byte_fallback=True,
        max_sentence_length=16000,
        control_symbols=["<|endoftext|>"],
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=usable_cpus(),
        minloglevel=2,
    )


DIRECT = {
    "bpe": direct_bpe,
    "sentencepiece bpe": direct_sentencepiece,
    "sentencepiece unigram": direct_sentencepiece,
}


if __name__ == "__main__":
    main()
