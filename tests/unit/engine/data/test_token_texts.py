from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

from model_trainer.engine.data.token_texts import token_texts


def test_bytes_become_the_text_they_stand_for(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<end>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(["so the cat and the dog and the caf\u00e9"] * 3, trainer)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    texts = token_texts(tmp_path / "tokenizer.json", vocab_size=310)
    assert texts[tokenizer.get_vocab()["<end>"]] == ""
    assert " the" in texts
    assert "\u010ethe" not in texts
    assert texts[300:] == [""] * 10


def test_the_mark_of_a_space_becomes_a_space(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"<unk>": 0, "\u2581the": 1, "cat": 2, "far": 9}, "<unk>"))
    tokenizer.add_special_tokens([AddedToken("<unk>", special=True)])
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert token_texts(tmp_path / "tokenizer.json", vocab_size=4) == ["", " the", "cat", ""]
