"""What answers look like: one example of each main view, put into the API's description."""

from model_trainer.core.contracts.base import JsonObject

_RUN_ID = "01JCB1Q2ZK4X7M9T3V6W8Y0A5C"
_TOKENIZER_ID = "01JCB0A8N7Q4T2V5W6X9Y0Z1AB"
_REQUEST_ID = "01JCB1Q2YV3B5D7F9H1K3M5P7R"
_QUESTION_ID = "01JCB3M5ZK4X7M9T3V6W8Y0A5E"
_CONVERSATION_ID = "01JCB1Q2ZK4X7M9T3V6W8Y0A5D"
_RUN = f"/runs/{_RUN_ID}"
_TOKENIZER_RUN = f"/runs/{_TOKENIZER_ID}"
_MESSAGE = "The request does not fit: see /max_steps."

RUN: JsonObject = {
    "run_id": _RUN_ID,
    "kind": "train",
    "family": "gpt2",
    "status": "running",
    "phase": "training",
    "message": "Training gpt2",
    "progress": {
        "step": 400,
        "total_steps": 1000,
        "fraction": 0.4,
        "epoch": 0.8,
        "tokens_per_second": 21500.0,
        "eta_seconds": 57.2,
    },
    "heartbeat_age_seconds": 0.6,
    "metrics": {"loss": 2.31, "learning_rate": 0.004},
    "result": {},
    "reason": None,
    "failure_class": None,
    "problem": None,
    "cancel_requested": False,
    "pause_requested": False,
    "checkpoint": {"step": 300, "path": "checkpoints/step-0000000300", "num_bytes": 10485760},
    "resume_order": None,
    "host": "host-17",
    "attempt": 1,
    "attempts": [{"epoch": 1, "owner": "host-17-8QX2ZD", "started_at_ms": 1731240000000}],
    "queue": "training",
    "user_id": None,
    "metadata": {"project": "first steps"},
    "parent_run_id": None,
    "request_id": _REQUEST_ID,
    "created_at": "2024-11-10T11:59:58Z",
    "updated_at": "2024-11-10T12:00:39Z",
    "started_at": "2024-11-10T12:00:00Z",
    "finished_at": None,
    "last_event_seq": 57,
    "artifact_file_id": None,
    "spec": {
        "model_family": "gpt2",
        "corpus_path": "books",
        "tokenizer_id": _TOKENIZER_ID,
        "max_steps": 1000,
    },
    "links": {
        "self": _RUN,
        "events": f"{_RUN}/events",
        "logs": f"{_RUN}/logs",
        "log_stream": f"{_RUN}/logs/stream",
        "cancel": f"{_RUN}/cancel",
        "pause": f"{_RUN}/pause",
        "checkpoints": f"{_RUN}/checkpoints",
        "metrics": f"{_RUN}/metrics",
        "eval": f"{_RUN}/eval",
        "artifact": f"/artifacts/models/{_RUN_ID}",
    },
}

TOKENIZER: JsonObject = {
    "tokenizer_id": _TOKENIZER_ID,
    "method": "bpe",
    "status": "completed",
    "phase": "done",
    "message": "8000 entries, 3.91 bytes per token on the holdout text.",
    "progress": {"step": 0, "total_steps": 0, "fraction": 1.0, "epoch": 0.0},
    "heartbeat_age_seconds": 80.2,
    "vocab_size": 8000,
    "stats": {"measured_on": "holdout", "coverage": 1.0, "oov_rate": 0.0, "bytes_per_token": 3.91},
    "result": {"info": {"method": "bpe", "vocab_size": 8000}},
    "reason": None,
    "failure_class": None,
    "problem": None,
    "user_id": None,
    "metadata": {},
    "request_id": _REQUEST_ID,
    "created_at": "2024-11-10T11:58:10Z",
    "started_at": "2024-11-10T11:58:11Z",
    "finished_at": "2024-11-10T11:58:19Z",
    "spec": {"method": "bpe", "corpus_path": "books", "vocab_size": 8000},
    "artifact_file_id": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "links": {
        "self": f"/tokenizers/{_TOKENIZER_ID}",
        "run": _TOKENIZER_RUN,
        "events": f"{_TOKENIZER_RUN}/events",
        "logs": f"{_TOKENIZER_RUN}/logs",
        "artifact": f"/artifacts/tokenizers/{_TOKENIZER_ID}",
    },
}

PROBLEM: JsonObject = {
    "type": "about:blank",
    "title": "Unprocessable Content",
    "status": 422,
    "detail": _MESSAGE,
    "code": "CONFIG_INVALID",
    "message": _MESSAGE,
    "request_id": _REQUEST_ID,
    "retryable": False,
    "errors": [{"pointer": "/max_steps", "message": "Input should be greater than or equal to 1"}],
}

PREDICTIONS: JsonObject = {
    "run_id": _RUN_ID,
    "predictions": [
        {
            "probability": 0.0312,
            "verdict": "human",
            "band": "human",
            "threshold": 0.4178,
            "threshold_name": "max_f1",
            "length_bucket": "120-249",
            "logit": -4.87,
            "num_words": 187,
            "num_tokens": 243,
            "windows": [{"start": 0, "end": 1104, "logit": -4.87, "probability": 0.0312}],
            "warnings": [],
        },
        {
            "probability": 0.5291,
            "verdict": "ai",
            "band": "uncertain",
            "threshold": 0.4502,
            "threshold_name": "max_f1",
            "length_bucket": None,
            "logit": 0.21,
            "num_words": 12,
            "num_tokens": 15,
            "windows": [{"start": 0, "end": 71, "logit": 0.21, "probability": 0.5291}],
            "warnings": ["Fewer than 60 words: too short to be judged well."],
        },
    ],
}


def _answered(kind: str, result: JsonObject, *, conversation_id: str | None = None) -> JsonObject:
    """A question that has its answer."""
    here = f"{_RUN}/{kind}/{_QUESTION_ID}"
    links: JsonObject = {"self": here, "run": _RUN}
    if kind in ("generate", "chat"):
        links["events"] = f"{here}/events"
    if conversation_id is not None:
        links["conversation"] = f"{_RUN}/chat/conversations/{conversation_id}"
    return {
        "request_id": _QUESTION_ID,
        "run_id": _RUN_ID,
        "kind": kind,
        "status": "completed",
        "conversation_id": conversation_id,
        "created_at": "2024-11-10T12:30:00.000000Z",
        "started_at": "2024-11-10T12:30:00.004000Z",
        "finished_at": "2024-11-10T12:30:00.219000Z",
        "timings": {"queued": 4.1, "load": 0.0, "model": 213.6, "total": 219.0},
        "problem": None,
        "result": result,
        "links": links,
    }


GENERATION = _answered(
    "generate",
    {
        "outputs": [
            {"text": " there was a king.", "steps": 7, "eos_terminated": True, "finish_reason": "eos"}
        ],
        "prompt_tokens": 4,
        "context": 128,
    },
)
SCORE = _answered(
    "score",
    {
        "loss": 1.5,
        "perplexity": 4.48,
        "bits_per_byte": 0.72,
        "num_tokens": 1,
        "num_characters": 3,
        "num_bytes": 3,
        "stride": None,
        "seed": 42,
        "tokens": [
            {
                "token_id": 271,
                "token": "the",
                "start": 0,
                "end": 3,
                "surprisal": 1.5,
                "top_k": [{"token_id": 98, "token": "a", "probability": 0.31}],
            }
        ],
    },
)
CHAT = _answered(
    "chat",
    {
        "conversation_id": _CONVERSATION_ID,
        "reply": "A small model of your own.",
        "steps": 9,
        "eos_terminated": True,
        "finish_reason": "eos",
        "prompt_tokens": 23,
        "dropped_turns": 0,
        "template": "plain",
    },
    conversation_id=_CONVERSATION_ID,
)

EXAMPLES: JsonObject = {
    "RunView": RUN,
    "TokenizerView": TOKENIZER,
    "GenerationView": GENERATION,
    "ScoreView": SCORE,
    "ChatView": CHAT,
    "PredictionsView": _answered("predict", PREDICTIONS),
    "ProblemDocument": PROBLEM,
}
"""By the name of the schema."""
