"""The face of a kind: cheap to import, honest about what is missing."""

import dataclasses
import subprocess
import sys

import pytest

from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.tokenizers.bpe import TOKENIZER as BPE
from model_trainer.tokenizers.kind import LibraryKind


def test_a_kind_whose_library_is_missing_says_which_extra_brings_it() -> None:
    assert isinstance(BPE, LibraryKind)
    lacking = dataclasses.replace(BPE, requires=("tokenizers", "no_such_module"), extra="some-extra")
    with pytest.raises(
        AppError, match=r"need no_such_module on the worker.*model-trainer\[some-extra\]"
    ) as error:
        lacking.backend()
    assert error.value.code == ErrorCode.TOKENIZER_UNAVAILABLE


def test_faces_specs_corpora_and_statistics_import_no_heavy_library() -> None:
    program = (
        "import sys, model_trainer.tokenizers.bpe, model_trainer.tokenizers.char, "
        "model_trainer.tokenizers.sentencepiece, model_trainer.tokenizers.stats, "
        "model_trainer.tokenizers.huggingface, model_trainer.engine.data.corpus; "
        "heavy = {'torch', 'transformers', 'tokenizers', 'sentencepiece', 'numpy', 'pyarrow'} & set(sys.modules); "
        "sys.exit(' '.join(heavy) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
