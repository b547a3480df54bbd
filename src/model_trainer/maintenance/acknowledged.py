"""Whether the store has an artifact whole, asked before a local copy goes; what is damaged there is replaced from that copy."""

import hashlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

from model_trainer.core.config.settings import CleanupSettings
from model_trainer.core.errors import AppError, ErrorCode
from model_trainer.core.logging import get_logger
from model_trainer.core.ports.store import ArtifactStore, References
from model_trainer.core.stored_artifact import StoredForm
from model_trainer.worker.manifests import verify
from model_trainer.worker.storing import store_artifact

log = get_logger(__name__)


class Acknowledged:
    """Asks one store."""

    def __init__(
        self,
        *,
        store: ArtifactStore,
        references: References,
        policy: CleanupSettings,
        go_on: Callable[[], None],
    ) -> None:
        """`go_on` is called between two files and pieces, and may raise to stop."""
        self._store = store
        self._references = references
        self._policy = policy
        self._go_on = go_on

    def require(self, form: StoredForm, file_id: str, folder: Path | None) -> None:
        """Raises ARTIFACT_CORRUPT unless the store has every file, and, where the policy says so, gives it back as it was. What
        is damaged there is replaced from the folder, where there is one that has all of it."""
        lacking = self._lacking(form, file_id)
        if lacking and folder is not None and not self._policy.dry_run:
            self._heal(form, file_id, folder, lacking)
            lacking = self._lacking(form, file_id)
        if lacking:
            message = f"The store has not, or not as it was, the file {lacking[0]}; the local copy stays."
            raise AppError(ErrorCode.ARTIFACT_CORRUPT, message)

    def _lacking(self, form: StoredForm, file_id: str) -> list[str]:
        """What the store has not acknowledged, or does not give back as it was."""
        sizes = {file_id: len(form.manifest_bytes)} | {file.sha256: file.num_bytes for file in form.files}
        if file_id != form.manifest_sha256:
            sizes = {file_id: 0}
        lacking: list[str] = []
        for each, num_bytes in sizes.items():
            self._go_on()
            found = self._store.find(each)
            is_there = found is not None and found.num_bytes >= num_bytes
            if not is_there or (self._policy.verify_upload and self._digest_in_store(each) != each):
                lacking.append(each)
        return lacking

    def _heal(self, form: StoredForm, file_id: str, folder: Path, damaged: list[str]) -> None:
        wrong = verify(folder)
        if wrong:
            message = f"The store has a damaged file {damaged[0]}, and so has this copy: {wrong[0].path!r}. Restore it from a backup."
            raise AppError(ErrorCode.ARTIFACT_CORRUPT, message)
        for each in damaged:
            self._store.delete(each)  # a put passes over what is there
        run_id = form.manifest.item_id
        store_artifact(
            form,
            folder,
            self._store,
            layout="files" if file_id == form.manifest_sha256 else "tarball",
            refer=partial(self._references.refer, run_id),
            report=lambda _: self._go_on(),
        )
        log.warning(
            "stored_files_replaced", run_id=run_id, num_files=len(damaged), detail=", ".join(damaged[:10])
        )

    def _digest_in_store(self, file_id: str) -> str:
        digest = hashlib.sha256()
        for piece in self._store.read(file_id):
            self._go_on()
            digest.update(piece)
        return digest.hexdigest()
