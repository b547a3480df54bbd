"""A clean-up done once, on request, and what it removed or would remove."""

from collections.abc import Sequence

from model_trainer.cli import rendering
from model_trainer.cli.rebuilding import stack_settings
from model_trainer.cli.session import CleanUp, Removal, Session

FATES = {"removed": "removed", "due": "would go", "failed": "could not be removed"}


def run_cleanup(session: Session, what: CleanUp, *, dry_run: bool, state: str | None) -> None:
    """Shows each removal. Services may be at work meanwhile; Redis must be."""
    removals = session.ways.doors.clean_up(stack_settings(session, state), what, dry_run=dry_run)
    session.output.show(
        [
            {
                "path": str(one.path),
                "fate": one.fate,
                "bytes_freed": one.num_bytes,
                "files_deleted": one.num_files,
                "run_id": one.run_id,
                "detail": one.detail,
            }
            for one in removals
        ],
        render=lambda: rendering.plain_table(
            "path",
            "cleanup",
            "files",
            "bytes",
            "detail",
            rows=[
                (str(one.path), FATES[one.fate], str(one.num_files), str(one.num_bytes), one.detail)
                for one in removals
            ],
        ),
    )
    session.output.note(summary(removals))


def summary(removals: Sequence[Removal]) -> str:
    """What it comes to, in a sentence."""
    if not removals:
        return "There is nothing to remove."
    parts: list[str] = []
    for fate, word in FATES.items():
        ones = [one for one in removals if one.fate == fate]
        if ones:
            parts.append(f"{len(ones)} {word} ({sum(one.num_bytes for one in ones)} bytes)")
    return f"{', '.join(parts)}."
