"""Storage in memory is gone when its owner is."""

import gc

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.infra.storage.memory import MemoryArtifactTree, MemoryCorpusRoot


def test_a_memory_tree_leaves_nothing_behind() -> None:
    tree = MemoryArtifactTree()
    root = tree.root
    tree.create("models", new_ulid())
    assert root.exists()

    del tree
    gc.collect()

    assert not root.exists()


def test_a_memory_corpus_holds_the_files_it_was_given() -> None:
    corpora = MemoryCorpusRoot({"shelf/a.txt": "å", "shelf/b.txt": b"\xff"})

    source = corpora.locate("shelf")

    assert source.names == ("a.txt", "b.txt")
    assert [(source.base / name).read_bytes() for name in source.names] == ["å".encode(), b"\xff"]
