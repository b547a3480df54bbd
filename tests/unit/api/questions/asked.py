"""A question of each kind, and the files that questions name."""

from model_trainer.core.contracts.inference import LONGEST_DETAILED_TEXT

FILES: dict[str, str | bytes] = {
    "prompt.txt": "Once",
    "shelf/a.txt": "a",
    "shelf/b.md": "b",
    "rows.jsonl": '{"text": "a"}\n',
    "long.txt": "a" * (4 * LONGEST_DETAILED_TEXT + 1),
    "longer.md": "a" * 400_001,
    "empty.txt": "",
}
QUESTIONS: dict[str, dict[str, object]] = {
    "generate": {"prompt_text": "Once"},
    "score": {"text": "Once upon a time"},
    "chat": {"message": "Who are you?"},
    "predict": {"texts": ["One.", "Two."]},
}
