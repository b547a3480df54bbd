"""What stays loaded and what goes; and that nothing stale is ever used."""

import os
import shutil
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from model_trainer.core.artifact_files import BUNDLE, MANIFEST, ONNX
from model_trainer.core.contracts.detector import DecisionName
from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.prediction import Prediction
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.engine.devices.cpu import CpuDevice
from model_trainer.engine.protocols import Decoder
from model_trainer.worker.inference.loaded import (
    SMALL_MODEL_BYTES,
    AskedDetector,
    AskedModel,
    Judge,
    LoadedModels,
)
from tests.integration.workshop import TINY_GPT2
from tests.unit.worker.inference.shop import Shop


def load_milliseconds(models: LoadedModels, run: RunRecord) -> float:
    with models.use(run.run_id) as in_use:
        return in_use.load_milliseconds


@contextmanager
def away(path: Path) -> Iterator[None]:
    """Inside, what lies there does not."""
    hidden = path.with_name(f"hidden-{path.name}")
    path.rename(hidden)
    try:
        yield
    finally:
        hidden.rename(path)


def test_a_model_is_loaded_once_for_as_long_as_it_is_kept(shop: Shop) -> None:
    models = shop.models()
    assert load_milliseconds(models, shop.gpt2) > 0
    assert load_milliseconds(models, shop.detector) > 0
    assert load_milliseconds(models, shop.gpt2) == load_milliseconds(models, shop.detector) == 0
    with models.use(shop.gpt2.run_id) as asked, models.use(shop.detector.run_id) as judging:
        assert isinstance(asked.model, AskedModel)
        assert isinstance(judging.model, AskedDetector)
        assert asked.model.eval_stride == 8
    assert models.drop() == (shop.gpt2.run_id, shop.detector.run_id)
    assert models.run_ids == ()
    assert load_milliseconds(models, shop.gpt2) > 0


def test_what_was_asked_for_longest_ago_goes_when_memory_is_short(shop: Shop) -> None:
    size = sum(
        path.stat().st_size
        for run in (shop.gpt2, shop.char_lstm)
        for path in (
            *(shop.folder(run) / name for name in ("model.safetensors", "config.json", "recipe.json")),
            *shop.parts.artifacts.folder("tokenizers", shop.tokenizer.run_id).glob("tokenizer*.json"),
        )
    )
    exactly = shop.models(memory_bytes=int(size * 1.5) + 1)
    for run in (shop.gpt2, shop.char_lstm, shop.gpt2):
        load_milliseconds(exactly, run)
    assert exactly.run_ids == (shop.char_lstm.run_id, shop.gpt2.run_id)
    load_milliseconds(exactly, shop.other_lstm)
    assert exactly.run_ids == (shop.gpt2.run_id, shop.other_lstm.run_id)
    less = shop.models(memory_bytes=int(size * 1.5) - 1)
    for run in (shop.gpt2, shop.char_lstm):
        load_milliseconds(less, run)
    assert less.run_ids == (shop.char_lstm.run_id,)


class Releasing(CpuDevice):
    """Keeps whether anything that was loaded is still there whenever it is to give memory back."""

    def __init__(self) -> None:
        super().__init__()
        self.decoders: list[weakref.ref[Decoder]] = []
        self.alive: list[list[bool]] = []

    def release(self) -> None:
        self.alive.append([decoder() is not None for decoder in self.decoders])

    def watch(self, models: LoadedModels, run: RunRecord) -> None:
        with models.use(run.run_id) as in_use:
            assert isinstance(in_use.model, AskedModel)
            self.decoders.append(weakref.ref(in_use.model.decoder))


class Circle:
    """A judge that holds itself."""

    def __init__(self) -> None:
        self.me = self

    def judge(self, texts: Sequence[str], *, decision: DecisionName | None) -> Sequence[Prediction]:
        raise NotImplementedError


class CircleDevice(CpuDevice):
    """Keeps whether its circle is still there when it is to give memory back."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: list[bool] = []

    def circle(self) -> Circle:
        made = Circle()
        self._made = weakref.ref(made)
        return made

    def release(self) -> None:
        self.alive.append(self._made() is not None)


def test_the_device_gives_memory_back_whenever_a_model_has_gone(shop: Shop) -> None:
    device = Releasing()
    models = LoadedModels(shop.parts, device=device, memory_bytes=1, use_threads=shop.threads.append, cpus=6)
    device.watch(models, shop.gpt2)
    assert device.alive == []
    device.watch(models, shop.char_lstm)
    assert device.alive == [[False]]
    path = shop.folder(shop.char_lstm) / "model.safetensors"
    os.utime(path)
    device.watch(models, shop.char_lstm)  # written anew: the stale one goes before the new one comes
    assert device.alive == [[False], [False, False]]
    models.drop()
    assert device.alive[2:] == [[False, False, False]]


def test_what_hangs_together_in_a_circle_goes_too(shop: Shop) -> None:
    device = CircleDevice()
    models = LoadedModels(
        shop.parts,
        device=device,
        memory_bytes=1,
        use_threads=shop.threads.append,
        cpus=6,
        load_bundle=lambda _: device.circle(),
    )
    load_milliseconds(models, shop.detector)
    load_milliseconds(models, shop.gpt2)
    assert device.alive == [False]


def test_a_model_larger_than_all_memory_is_used_all_the_same(shop: Shop) -> None:
    models = shop.models(memory_bytes=1)
    assert load_milliseconds(models, shop.gpt2) > 0
    assert load_milliseconds(models, shop.gpt2) == 0


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "recipe.json"])
def test_weights_that_were_written_anew_are_loaded_anew(shop: Shop, name: str) -> None:
    models = shop.models()
    load_milliseconds(models, shop.gpt2)
    path = shop.folder(shop.gpt2) / name
    shutil.copy(path, path.with_name("copy"))
    path.with_name("copy").rename(path)
    assert load_milliseconds(models, shop.gpt2) > 0
    assert load_milliseconds(models, shop.gpt2) == 0


def test_a_tokenizer_that_was_written_anew_is_loaded_anew(shop: Shop) -> None:
    models = shop.models()
    load_milliseconds(models, shop.gpt2)
    path = shop.parts.artifacts.folder("tokenizers", shop.tokenizer.run_id) / "tokenizer.json"
    os.utime(path)
    assert load_milliseconds(models, shop.gpt2) > 0


def test_a_bundle_that_was_exported_again_is_loaded_anew(shop: Shop) -> None:
    models = shop.models()
    load_milliseconds(models, shop.detector)
    exported = shop.workshop.export(shop.detector)
    assert exported.problem is None
    assert load_milliseconds(models, shop.detector) > 0


def test_a_model_that_has_left_this_machine_is_brought_back_and_loaded_anew(shop: Shop) -> None:
    models = shop.models()
    load_milliseconds(models, shop.gpt2)
    assert shop.parts.artifacts.remove("models", shop.gpt2.run_id, if_still=lambda _: True)
    assert load_milliseconds(models, shop.gpt2) > 0
    assert shop.folder(shop.gpt2).is_dir()


def test_a_model_in_use_does_not_leave_this_machine(shop: Shop) -> None:
    with shop.models().use(shop.gpt2.run_id):
        tree = shop.parts.artifacts
        assert not tree.remove("models", shop.gpt2.run_id, if_still=lambda _: True)
        assert not tree.remove("tokenizers", shop.tokenizer.run_id, if_still=lambda _: True)


def test_a_model_that_was_deleted_is_gone_although_it_is_loaded(shop: Shop) -> None:
    models = shop.models()
    run = shop.workshop.train(TINY_GPT2, tokenizer_id=shop.tokenizer.run_id)
    load_milliseconds(models, run)
    stored = shop.workshop.record(run.run_id).artifact_file_id
    assert stored is not None
    shop.parts.store.delete(stored)
    shutil.rmtree(shop.folder(run))
    with pytest.raises(AppError) as caught:
        load_milliseconds(models, run)
    assert caught.value.code in (ErrorCode.ARTIFACT_NOT_FOUND, ErrorCode.ARTIFACT_CORRUPT)


def test_a_model_whose_weights_were_deleted_is_not_served_from_memory(shop: Shop) -> None:
    models = shop.models()
    load_milliseconds(models, shop.gpt2)
    with away(shop.folder(shop.gpt2) / "model.safetensors"), pytest.raises(AppError) as caught:
        load_milliseconds(models, shop.gpt2)
    assert caught.value.code is ErrorCode.ARTIFACT_CORRUPT
    assert models.run_ids == ()


def test_a_run_without_a_bundle_says_how_to_get_one(shop: Shop) -> None:
    with away(shop.folder(shop.detector) / BUNDLE / MANIFEST), pytest.raises(AppError) as caught:
        load_milliseconds(shop.models(), shop.detector)
    assert caught.value.code is ErrorCode.ARTIFACT_NOT_FOUND
    assert f"POST /runs/{shop.detector.run_id}/export" in caught.value.message


def test_a_missing_library_is_no_fault_of_the_bundle(shop: Shop) -> None:
    def load(_bundle: Path) -> Judge:
        raise AppError(ErrorCode.SERVICE_UNAVAILABLE, "Install onnxruntime.")

    models = shop.models(load_bundle=load)
    with pytest.raises(AppError, match=r"^Install onnxruntime\.$"):
        load_milliseconds(models, shop.detector)


def test_a_run_that_is_not_completed_is_refused(shop: Shop) -> None:
    run_id = shop.workshop.submit(TINY_GPT2, tokenizer_id=shop.tokenizer.run_id)
    shop.parts.artifacts.create("models", run_id)
    with pytest.raises(AppError) as caught, shop.models().use(run_id):
        pass
    assert caught.value.code is ErrorCode.CONFLICT


def test_a_run_that_nobody_knows_is_refused(shop: Shop) -> None:
    run_id = new_ulid()
    with pytest.raises(AppError) as caught, shop.models().use(run_id):
        pass
    assert caught.value.code is ErrorCode.ARTIFACT_NOT_FOUND


def test_a_small_model_is_asked_with_one_thread_and_a_large_one_with_all(shop: Shop) -> None:
    models = shop.models(load_bundle=lambda _: Unasked())
    weights = shop.folder(shop.detector) / BUNDLE / ONNX
    whole = weights.read_bytes()
    shop.threads.clear()
    load_milliseconds(models, shop.detector)
    try:
        with weights.open("r+b") as file:
            file.truncate(SMALL_MODEL_BYTES)
        load_milliseconds(models, shop.detector)
    finally:
        weights.write_bytes(whole)
    load_milliseconds(models, shop.gpt2)
    assert shop.threads == [1, 6, 1]


class Unasked:
    """A detector that nobody asks."""

    def judge(self, texts: Sequence[str], *, decision: DecisionName | None) -> Sequence[Prediction]:
        raise NotImplementedError
