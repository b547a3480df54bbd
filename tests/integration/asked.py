"""The inference process' own answers, in this process: real models, real bundles."""

from model_trainer.container import Container
from model_trainer.core.contracts.base import JsonObject
from model_trainer.core.contracts.inference import InferenceRecord
from model_trainer.core.contracts.run import Problem
from model_trainer.core.errors import AppError
from model_trainer.engine.devices.cpu import CpuDevice
from model_trainer.worker.inference.answering import Answering
from model_trainer.worker.inference.frames import Answered, Order, Refused, Told
from model_trainer.worker.inference.loaded import LoadedModels
from model_trainer.worker.outcomes import problem_of
from tests.unit.api.answering import Answer, presence


def models_of(container: Container) -> LoadedModels:
    """Models that stay loaded, as in one inference process."""
    device = CpuDevice()
    return LoadedModels(
        container.worker_parts("w-inference"),
        device=device,
        memory_bytes=1 << 30,
        use_threads=lambda _: None,
        cpus=1,
    )


def answers_of(container: Container) -> Answer:
    """How such a process answers."""
    answering = Answering(models_of(container), container.corpora, most_rows=8)

    def answer(record: InferenceRecord) -> JsonObject | Problem:
        told: list[Told | Answered | Refused] = []
        try:
            answering.answer([Order(record=record)], told.append)
        except AppError as error:
            return problem_of(error, error)
        end = told[-1]
        assert not isinstance(end, Told)
        return end.result if isinstance(end, Answered) else end.problem

    return answer


def be_present(container: Container) -> None:
    """Says that somebody answers."""
    container.workers.register(presence(), ttl_seconds=600)
