"""What one training works with: the ports, the run that is held, its account, and a recipe that is decided once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from model_trainer.core.artifact_files import RECIPE
from model_trainer.core.compute.machine import Machine
from model_trainer.core.config import Settings
from model_trainer.core.contracts.run import RunRecord
from model_trainer.core.contracts.training import Recipe, TrainSpec
from model_trainer.engine.devices import probe_machine
from model_trainer.engine.training.checkpoint import Commit
from model_trainer.models.inheritance import check_inherited, inherit_sizes
from model_trainer.models.recipe_file import read_recipe, write_recipe
from model_trainer.worker.account import ArtifactAccount
from model_trainer.worker.lease import HeldRun
from model_trainer.worker.parents import parent_recipe
from model_trainer.worker.parts import WorkerParts

Resolve = Callable[[TrainSpec], Recipe]
"""Makes every choice that a spec leaves open, for this machine."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """One attempt at one training."""

    parts: WorkerParts
    held: HeldRun
    record: RunRecord
    account: ArtifactAccount
    commit: Commit
    """How its checkpoints come to stand under their names."""

    @property
    def folder(self) -> Path:
        """Of the artifact."""
        return self.account.folder

    @property
    def cache(self) -> Path:
        """Where what can be made again is kept."""
        return self.parts.artifacts.cache_folder()

    def machine(self) -> Machine:
        """This machine, as far as a job may use it."""
        return with_thread_limit(probe_machine(), self.parts.settings)

    def decide_recipe(
        self, spec: TrainSpec, *, machine: Machine, tokenizer_sha256: str, resolve: Resolve
    ) -> Recipe:
        """What `auto` became, decided once: a second attempt, perhaps on another machine, keeps the first one's choices,
        or its checkpoints would be of another training. Only a device that is missing here is chosen anew."""
        if (self.folder / RECIPE).exists():
            known = read_recipe(self.folder)
            if known.device == "cpu" or machine.has_cuda:
                return known
        parent = parent_recipe(self.parts, spec, tokenizer_sha256=tokenizer_sha256)
        recipe = resolve(spec if parent is None else inherit_sizes(spec, parent))
        if parent is not None:
            check_inherited(spec, recipe, parent)
        write_recipe(self.folder, recipe)
        return recipe


def with_thread_limit(machine: Machine, settings: Settings) -> Machine:
    """`machine` with no more CPUs than OMP_NUM_THREADS and MKL_NUM_THREADS leave to a job."""
    limits = [limit for limit in (settings.omp_num_threads, settings.mkl_num_threads) if limit is not None]
    return machine.limited_to(min(limits, default=machine.cpu_count))
