"""Door: questions to trained models. A parent that has imported everything, and one forked child that computes.

Import only: a parallel tensor operation before the fork would hang every child, so nothing is computed in the parent.
"""

import gc
import importlib.util
import threading
from functools import partial

from model_trainer import __version__
from model_trainer.container import die_with_parent, live, load_process_control, stop_on_signals
from model_trainer.core.compute.machine import usable_cpus
from model_trainer.core.config import Settings
from model_trainer.core.config.settings import export_for_libraries
from model_trainer.core.contracts.inference import INFERENCE_QUEUE
from model_trainer.core.logging import get_logger
from model_trainer.engine.devices import probe_machine, select_device, set_threads
from model_trainer.worker.inference.answering import Answering
from model_trainer.worker.inference.child import Line, answer_batches
from model_trainer.worker.inference.forked import ForkedChild
from model_trainer.worker.inference.loaded import LoadedModels
from model_trainer.worker.inference.serving import InferenceServer
from model_trainer.worker.preloading import preload
from model_trainer.worker.presence import REGISTRATION_SECONDS, describe_worker, say_goodbye

log = get_logger(__name__)

SHARE_OF_MEMORY = 4
"""Loaded models get one part in so many of the memory that they compute in, where the settings do not say."""
_LIBRARIES = ("onnxruntime", "tokenizers", "transformers.models.gpt2.modeling_gpt2")
"""What the first request would have to wait for: transformers reads its parts when they are asked for, in a second."""


def serve_inference(settings: Settings) -> None:
    """Answers questions to trained models until SIGTERM or SIGINT."""
    export_for_libraries(settings)
    container = live(settings)
    there = [name for name in _LIBRARIES if importlib.util.find_spec(name.partition(".")[0]) is not None]
    preload(container.registry, modules=there)
    gc.freeze()  # what was imported stays: no child looks through it again, which takes 0.2 s at a time
    worker = describe_worker(INFERENCE_QUEUE, host=container.locks.host)
    stop = threading.Event()
    with stop_on_signals(stop):
        log.info("worker_started", worker_id=worker.worker_id, queue=INFERENCE_QUEUE, version=__version__)
        server = InferenceServer(
            container.inference,
            owner=worker.worker_id,
            settings=settings.inference,
            make_child=partial(ForkedChild, partial(work_as_child, settings, worker.worker_id)),
            say_alive=lambda: container.workers.register(worker, ttl_seconds=REGISTRATION_SECONDS),
            stop_grace_seconds=settings.app.stop_grace_seconds,
        )
        server.serve(stop)
    say_goodbye(container.workers, worker)
    log.info("worker_stopped", worker_id=worker.worker_id, queue=INFERENCE_QUEUE)


def work_as_child(  # pragma: no cover - runs in the forked child alone
    settings: Settings, worker_id: str, line: Line, parent_pid: int
) -> None:
    """What the forked child does."""
    die_with_parent(parent_pid, control=load_process_control())
    answer_questions(settings, worker_id, line)


def answer_questions(settings: Settings, worker_id: str, line: Line) -> None:
    """Answers what comes over `line`, until its other end hangs up. Connections are this process' own: two processes on one
    would read each other's answers."""
    parts = live(settings).worker_parts(worker_id)
    machine = probe_machine()
    device = select_device("cuda" if machine.cuda_memory_bytes else "cpu")
    share = (machine.cuda_memory_bytes or machine.memory_bytes) // SHARE_OF_MEMORY
    models = LoadedModels(
        parts,
        device=device,
        memory_bytes=settings.inference.memory_bytes or share,
        use_threads=set_threads,
        cpus=usable_cpus(),
    )
    answering = Answering(models, parts.corpora, most_rows=settings.inference.max_batch)
    answer_batches(line, answering)
