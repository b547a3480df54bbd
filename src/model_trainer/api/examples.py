"""What answers look like: one example of each main view, put into the API's description."""

from model_trainer.core.contracts.base import JsonObject

_RUN_ID = "01JCB1Q2ZK4X7M9T3V6W8Y0A5C"
_TOKENIZER_ID = "01JCB0A8N7Q4T2V5W6X9Y0Z1AB"
_REQUEST_ID = "01JCB1Q2YV3B5D7F9H1K3M5P7R"
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

EXAMPLES: JsonObject = {
    "RunView": RUN,
    "TokenizerView": TOKENIZER,
    "Predictions": PREDICTIONS,
    "ProblemDocument": PROBLEM,
}
"""By the name of the schema."""
