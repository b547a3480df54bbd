"""What must never work over HTTP, one row an input."""

import json

from tests.e2e.attacks import (
    AUTH,
    CLOSED,
    ITEM,
    KEY,
    REFUSED,
    ULID,
    Attack,
    get,
    post,
    tokenizer_of,
    training_raw,
    training_with,
)

UNAUTHORIZED = frozenset({401})
KEYS = [
    Attack("no key", get("/runs", auth=""), UNAUTHORIZED),
    Attack("empty key", get("/runs", auth="X-Api-Key:\r\n"), UNAUTHORIZED),
    Attack("blank key", get("/runs", auth="X-Api-Key:   \r\n"), UNAUTHORIZED),
    Attack("good key, then bad", get("/runs", auth=AUTH + "X-API-Key: bad\r\n"), UNAUTHORIZED),
    Attack("bad key, then good", get("/runs", auth="X-API-Key: bad\r\n" + AUTH), UNAUTHORIZED),
    Attack("the same key twice", get("/runs", auth=AUTH + AUTH), UNAUTHORIZED),
    Attack("key and bearer", get("/runs", auth=AUTH + f"Authorization: Bearer {KEY}\r\n"), UNAUTHORIZED),
    Attack("key with a NUL", get("/runs", auth=f"X-Api-Key: {KEY}\0\r\n"), REFUSED),
    Attack("key of 70 KB", get("/runs", auth=f"X-Api-Key: {'k' * 70_000}\r\n"), REFUSED | CLOSED),
    Attack("key of 10 KB", get("/runs", auth=f"X-Api-Key: {'k' * 10_000}\r\n"), UNAUTHORIZED),
    Attack("key that is not ASCII", get("/runs", auth="X-Api-Key: sch\xfcssel\r\n"), UNAUTHORIZED),
    Attack("key in the query", get(f"/runs?api_key={KEY}", auth=""), UNAUTHORIZED),
    Attack("key in the query besides", get(f"/runs?api_key={KEY}")),
    Attack("basic instead of bearer", get("/runs", auth=f"Authorization: Basic {KEY}\r\n"), UNAUTHORIZED),
    Attack("key as user info", get(f"http://{KEY}@localhost/runs", auth=""), REFUSED),
    Attack("no key on metrics", get("/metrics", auth=""), UNAUTHORIZED),
    Attack("health with a suffix", get("/healthz/../runs", auth=""), UNAUTHORIZED),
    Attack("health twice", get("//healthz", auth=""), UNAUTHORIZED),
    Attack("health encoded into another path", get("/runs%2f..%2fhealthz", auth=""), UNAUTHORIZED),
    Attack("health with a parameter", get("/healthz;/runs", auth=""), UNAUTHORIZED),
    Attack("health as host", get("/runs", "X-Forwarded-Prefix: /healthz", auth=""), UNAUTHORIZED),
    Attack("another absolute target", get("http://evil/runs", auth=""), REFUSED),
    Attack("a target that is a host", get("@evil.example", auth=""), REFUSED),
    Attack("a host with a path", b"GET /runs HTTP/1.1\r\nHost: evil/healthz\r\n\r\n", REFUSED),
    Attack("a path rewritten by header", get("/runs", "X-Original-URL: /healthz", auth=""), UNAUTHORIZED),
    Attack("no key, unknown path", get("/nowhere", auth=""), UNAUTHORIZED),
    Attack("no key on a POST", post("/runs/train", b"{}", auth=""), UNAUTHORIZED),
    Attack("no key with a long body", post("/runs/train", b"x" * 12_000, auth=""), UNAUTHORIZED),
]

BAD_IDS = [
    "..", "...", "..%2f..%2fetc%2fpasswd", "a:b", "*", "runs:hb:1", "x%0d%0aSET%20k%20v", "%00", ULID.lower(), ULID + "0",
    ULID[:-1], ULID + "%0a", "I" * 26, "%F0%9F%98%80", "0" * 5_000, "%7B%7D", "-1", "null", "'%20OR%201=1", "%252e%252e",
]  # fmt: skip
ID_PATHS = ["/runs/{}", "/runs/{}/events", "/runs/{}/logs", "/tokenizers/{}", "/artifacts/models/{}"]
IDS = [Attack(f"id {bad[:30]} at {path}", get(path.format(bad))) for bad in BAD_IDS for path in ID_PATHS]

METHODS = [
    *(
        Attack(f"{method} {path}", f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{AUTH}\r\n".encode())
        for method in ("TRACE", "PUT", "DELETE", "PATCH", "OPTIONS", "BREW")
        for path in ("/runs", "/healthz", f"/runs/{ULID}")
    ),
    Attack("override by header", get("/runs/train", "X-HTTP-Method-Override: POST")),
    Attack(
        "CONNECT",
        b"CONNECT localhost:6379 HTTP/1.1\r\nHost: localhost\r\n" + AUTH.encode() + b"\r\n",
        REFUSED | CLOSED,
    ),
    Attack(
        "cross origin",
        f"OPTIONS /runs HTTP/1.1\r\nHost: localhost\r\nOrigin: null\r\nAccess-Control-Request-Method: POST\r\n{AUTH}\r\n".encode(),
    ),
]

BAD_CORPORA: list[object] = [
    "../../etc/passwd", "/etc/passwd", "..%2f..%2fetc%2fpasswd", "%252e%252e%252fetc", "..\\..\\etc", "....//etc/passwd",
    "file:///etc/passwd", "FILE:/etc/passwd", "file://localhost/etc/passwd", "s3://b/../../x", "C:\\windows", "\\\\host\\share",
    "link.txt", "linked", "linked/secret.txt", "twin", "twin/a.txt", "pipe.txt", "/dev/zero", "/proc/self/environ", "/dev/stdin",
    "demo/../../x", "demo/./../..", "a\x00.txt", "x" * 5_000, "x/" * 300 + "y", "a\u202etxt.exe", "", " ", ".", "./", "~", "~root",
    "$HOME", "`id`", "$(id)", '"; rm -rf ~"', "-rf", "<img onerror>", "*", "demo/*", "empty.txt", "nul.bin", "nul.txt",
    "latin.txt", "utf16.txt", "surrogate.txt", "absent", None, 1, True, ["demo"], {"path": "demo"}, "\ud800", "con", "demo\n",
]  # fmt: skip
CORPORA = [Attack(f"corpus {str(bad)[:40]!a}", tokenizer_of(bad)) for bad in BAD_CORPORA]

BIG_INT = "9" * 4_400
BAD_FIELDS: list[tuple[str, str]] = [
    *(("max_steps", value) for value in ("-1", "0", "1e308", "true", '"5"', "NaN", "Infinity", BIG_INT, "9007199254740993", "1.5")),
    *(("seed", value) for value in ("-1", "18446744073709551616", '"1"', "1e3", "[]")),
    *(("dropout", value) for value in ("1", "-0.1", "NaN", "-Infinity", "1e400", '"0.1"')),
    *(("batch_size", value) for value in ("0", "-1", "99999999999", "true")),
    *(("max_seq_len", value) for value in ("1", "0", "-5", "99999999999")),
    *(("num_epochs", value) for value in ("0", "-1", "1e9", "NaN")),
    *(("optimizer", value) for value in ('{"learning_rate":0}', '{"learning_rate":-1}', '{"learning_rate":1e-400}', '{"name":"x"}', "[]")),
    *(("checkpoint", value) for value in ('{"every_steps":0}', '{"keep_last":0}', '{"keep_last":-1}', '{"x":1}')),
    *(("device", value) for value in ('"tpu"', '"cuda:0"', "null", '"/dev/sda"')),
    *(("metadata", value) for value in ('{"":"x"}', '{"a":1}', '{"a":"' + "x" * 600 + '"}', "[]")),
    ("metadata", json.dumps({f"k{number}": "v" for number in range(17)})),
    ("metadata", json.dumps({f"k{number}": "v" for number in range(1000)})),
    *(("user_id", value) for value in ('""', '"a b"', '"\\n"', '"' + "x" * 200 + '"', "1")),
    *(("status", value) for value in ('"completed"',)),
    *(("epoch", "9"), ("owner", '"b"'), ("artifact_path", '"/"'), ("run_id", f'"{ULID}"'), ("__class__", '"x"')),
    ("sample_prompts", '["' + "x" * 2001 + '"]'),
    ("sample_prompts", json.dumps(["x"] * 17)),
    ("model_family", '"toy"'),
    ("tokenizer_id", '"../x"'),
    ("compare_to_run_id", '"*"'),
    ("holdout_fraction", "0.99"),
    ("corpus_path", '"demo"'),
]  # fmt: skip
SPECS = [
    Attack(f"{number} {name}={value[:40]}", training_raw(name, value))
    for number, (name, value) in enumerate(BAD_FIELDS)
]
BAD_RESUMES = (
    b'{"step":-1}',
    b'{"step":1e999}',
    b'{"step":NaN}',
    b'{"step":true}',
    b'{"step":"1"}',
    b'{"step":99999999999999999999}',
    b'{"step":' + b"9" * 5_000 + b"}",
    b'{"step":1,"step":2}',
    b'{"force":true}',
    b'{"spec":{}}',
    b'{"spec":{"model_family":"../toy"}}',
    b'{"spec":' * 500 + b"1" + b"}" * 500,
    b"[]",
    b"null",
    b"step=1",
    b'"\xff"',
)
SPECS += [
    Attack("an unknown family", training_with(model_family="nope")),
    Attack("a family that is a path", training_with(model_family="../../x")),
    Attack("a family that is none", training_with(model_family=None)),
    Attack("a corpus of one byte", training_with(corpus_path="one.txt")),
    Attack("a vocabulary of one byte", post("/tokenizers/train", b'{"method":"char","corpus_path":"one.txt"}')),
    Attack("a split by files of one file", training_with(split_by="file")),
    Attack("a tokenizer nobody made", training_with(tokenizer_id=ULID)),
    Attack("a million entries of nothing", post("/tokenizers/train", b'{"method":"bpe","corpus_path":"demo","vocab_size":1000000}')),
    Attack("deep JSON", post("/runs/train", b"[" * 8_000)),
    Attack("deep objects", post("/runs/train", b'{"a":' * 3_000)),
    Attack("a lone surrogate", post("/runs/train", b'{"model_family":"\\ud800"}')),
    Attack("bytes that are not UTF-8", post("/runs/train", b'{"model_family":"\xff"}')),
    Attack("two of one key", post("/runs/train", b'{"model_family":"toy","model_family":"toy"}')),
    Attack("not JSON", post("/runs/train", b"model_family=toy")),
    Attack("a list", post("/runs/train", b"[]")),
    Attack("nothing", post("/runs/train", b"")),
    Attack("null", post("/runs/train", b"null")),
    Attack("gzip", post("/runs/train", b"\x1f\x8b\x08\x00\x00\x00\x00\x00", "Content-Encoding: gzip")),
    Attack("a byte order mark", post("/runs/train", b"\xef\xbb\xbf{}")),
    Attack("a key of 300 characters", post("/tokenizers/train", b"{}", "Idempotency-Key: " + "k" * 300)),
    Attack("two keys", post("/tokenizers/train", b"{}", "Idempotency-Key: a", "Idempotency-Key: b")),
    Attack("an evaluation of nothing", post(f"/runs/{ULID}/evaluate", b'{"split":"train"}')),
    Attack("an evaluation of a tokenizer", post(f"/runs/{ITEM}/evaluate", b'{"corpus_path":"/etc"}')),
    Attack("a cancel with a body", post(f"/runs/{ULID}/cancel", b'{"force":true}')),
    Attack("a pause with a body", post(f"/runs/{ITEM}/pause", b'{"force":true}')),
    Attack("a pause of a tokenizer", post(f"/runs/{ITEM}/pause", b"")),
    Attack("a resume of a tokenizer", post(f"/runs/{ITEM}/resume", b"")),
    Attack("a resume of nothing", post(f"/runs/{ULID}/resume", b'{"step":1}')),
    Attack("a pause under an id that is a path", post("/runs/..%2f..%2fetc/pause", b"")),
    Attack("a resume under an id that is a path", post("/runs/..%2f..%2fetc/resume", b"")),
    Attack("checkpoints of a path", get("/runs/..%2f..%2fetc/checkpoints")),
    Attack("checkpoints of a tokenizer", get(f"/runs/{ITEM}/checkpoints")),
    Attack("checkpoints with a parameter", get(f"/runs/{ITEM}/checkpoints?path=/etc/passwd")),
    *(Attack(f"a resume with {body[:30]!r}", post(f"/runs/{ITEM}/resume", body)) for body in BAD_RESUMES),
    Attack("a training from a step of nobody", training_with(init_from={"run_id": ULID, "step": -1})),
    Attack("a training from a path", training_with(init_from={"run_id": "../../../etc"})),
    Attack("a training from a tokenizer", training_raw("init_from", f'{{"run_id":"{ITEM}"}}')),
]  # fmt: skip

BAD_FILES = [
    "..%2f..%2fmanifest.json", "../tokenizer.json", "/etc/passwd", "%2fetc%2fpasswd", "link.json", "..", ".", "", "a%00b",
    "%252e%252e%252f", "..%5c..%5cx", "tokenizer.json%00.png", "tokenizer.json%2f", "file%3A%2F%2F%2Fetc%2Fpasswd", "x" * 2_000,
    "C%3A%5Cx", "%ed%a0%80", "%ff", "logs.jsonl%0d%0aX-Evil%3A%201", "~", "*",
]  # fmt: skip
OK = frozenset({200})
BAD_RANGES: list[tuple[str, frozenset[int]]] = [
    ("bytes=" + ",".join(f"{number}-{number}" for number in range(0, 2_000, 2)), OK),
    ("bytes=-0", frozenset({416})),
    ("bytes=5-1", OK),
    ("bytes=-99999999999999999999", frozenset({206})),
    ("bytes=99999999999999999999-", frozenset({416})),
    ("bytes=0-,0-,0-", OK),
    ("items=0-1", OK),
    ("bytes=" + "9" * 9_000 + "-", frozenset({416})),
    ("bytes=1-" + "9" * 9_000, frozenset({206})),
    ("bytes=\xb2-\xb3", OK),
    ("bytes=0x10-", OK),
    ("bytes=1e3-", OK),
    ("bytes", OK),
    ("=", OK),
]
DOWNLOAD = f"/artifacts/tokenizers/{ITEM}/download?path="
FILES = [
    *(Attack(f"file {bad[:40]}", get(DOWNLOAD + bad)) for bad in BAD_FILES),
    *(Attack(f"range {sent[:40]}", get(DOWNLOAD + "tokenizer.json", f"Range: {sent}"), expected) for sent, expected in BAD_RANGES),
    Attack("two paths", get(DOWNLOAD + "tokenizer.json&path=../x")),
    Attack("another kind", get(f"/artifacts/..%2fruns/{ITEM}")),
    Attack("a kind that is a cache", get(f"/artifacts/cache/{ITEM}")),
    Attack("a stale If-Range", get(DOWNLOAD + "tokenizer.json", "Range: bytes=0-1", 'If-Range: "stale"'), OK),
    Attack("a weak If-Range", get(DOWNLOAD + "tokenizer.json", "Range: bytes=0-1", 'If-Range: W/"x"'), OK),
]  # fmt: skip

HEAD = (
    b"POST /runs/train HTTP/1.1\r\nHost: localhost\r\n"
    + AUTH.encode()
    + b"Content-Type: application/json\r\n"
)
FRAMING = [
    Attack("length and chunked", HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    Attack("two lengths", HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}"),
    Attack("the same length twice", HEAD + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}"),
    Attack("a list of lengths", HEAD + b"Content-Length: 2, 2\r\n\r\n{}"),
    Attack("a negative length", HEAD + b"Content-Length: -1\r\n\r\n"),
    Attack("a length that is no number", HEAD + b"Content-Length: x\r\n\r\n"),
    Attack("a length of 1 TB", HEAD + b"Content-Length: 1099511627776\r\n\r\n"),
    Attack("a length of a thousand digits", HEAD + b"Content-Length: " + b"9" * 1000 + b"\r\n\r\n"),
    Attack("a chunk of 2^64", HEAD + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", REFUSED | CLOSED, 0.3),
    Attack("a chunk that is no number", HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", REFUSED | CLOSED),
    Attack("an unknown encoding", HEAD + b"Transfer-Encoding: gzip\r\n\r\n"),
    Attack("chunked twice", HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    Attack("a space before the colon", HEAD + b"Content-Length : 2\r\n\r\n{}"),
    Attack("a folded header", HEAD + b"X-A: b\r\n c\r\nContent-Length: 2\r\n\r\n{}"),
    Attack("a bare line feed", b"GET /runs HTTP/1.1\nHost: localhost\nX-Api-Key: bad\n\n"),
    Attack("no host", b"GET /runs HTTP/1.1\r\n" + AUTH.encode() + b"\r\n"),
    Attack("two hosts", b"GET /runs HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + AUTH.encode() + b"\r\n"),
    Attack("no HTTP at all", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", REFUSED | CLOSED),
    Attack("an unknown version", b"GET /runs HTTP/9.9\r\nHost: localhost\r\n\r\n", REFUSED | CLOSED | {505}),
    Attack("HTTP/1.0", get("/runs", version="1.0"), OK),
    Attack("a header of 70 KB", get("/runs", "X-A: " + "a" * 70_000), REFUSED | CLOSED),
    Attack("ten thousand headers", get("/runs", *(f"X-{number}: a" for number in range(10_000))), REFUSED | CLOSED),
    Attack("a path of 20 KB", get("/" + "a" * 20_000), REFUSED | CLOSED),
    Attack("a NUL in the path", b"GET /runs\0 HTTP/1.1\r\nHost: localhost\r\n\r\n", REFUSED | CLOSED),
    Attack("a body over the limit", post("/runs/train", b"x" * 20_000), frozenset({413})),
    Attack("chunks over the limit", HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"2000\r\n" + b"x" * 8192 + b"\r\n") * 4 + b"0\r\n\r\n", frozenset({413})),
    Attack("a form with files", post("/runs/train", b"--x\r\n", "Content-Type: multipart/form-data; boundary=x")),
    Attack("a web socket", get("/runs", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Key: eA==", "Sec-WebSocket-Version: 13"), REFUSED | CLOSED),
]  # fmt: skip

EVENTS = "Accept: text/event-stream"
STREAMS = [
    *(
        Attack(f"Last-Event-ID {bad!r} at {path}", get(f"/runs/{ITEM}/{path}", EVENTS, f"Last-Event-ID: {bad}"))
        for bad in ("-1", "abc", "1e9", "0x1", "9" * 40, "1,2", "\xb2")
        for path in ("events", "logs/stream")
    ),
    *(Attack(f"events?{bad}", get(f"/runs/{ITEM}/events?{bad}")) for bad in ("after=-1", "after=x", "after=9" + "9" * 30, "limit=0", "after=1&after=2")),
    *(Attack(f"logs?{bad}", get(f"/runs/{ITEM}/logs?{bad}")) for bad in ("tail=-1", "tail=1e9", "tail=99999", "tail=", "tail=%00")),
    *(Attack(f"runs?{bad}", get(f"/runs?{bad}")) for bad in ("limit=-1", "after=*", "status=%00", "metadata[a=b", "family=", "x=y", "user_id=" + "u" * 500)),
    Attack("a stream of nobody", get(f"/runs/{ULID}/events", EVENTS)),
]  # fmt: skip

STORED = "0" * 64
"""The id of no file."""
BAD_FILE_IDS = [
    "..%2f..%2fetc%2fpasswd",
    "%00",
    "*",
    STORED[:-1],
    STORED + "0",
    "A" * 64,
    "%2e%2e",
    "uploads%2f..",
    "x" * 5_000,
]
STORE = [
    *(Attack(f"stored file {bad[:70]}", get(f"/files/{bad}")) for bad in BAD_FILE_IDS),
    *(Attack(f"upload {bad[:70]}", get(f"/files/uploads/{bad}")) for bad in (*BAD_FILE_IDS, ULID)),
    *(
        Attack(f"{verb} {path}", get(path).replace(b"GET", verb.encode(), 1))
        for verb in ("PUT", "PATCH")
        for path in ("/files", f"/files/{STORED}")
    ),
    *(Attack(f"files?{bad}", get(f"/files?{bad}")) for bad in ("prefix=..", "prefix=%2f", "after=x", "limit=0", "limit=1e9", "prefix=" + "0" * 65)),
    *(Attack(f"a file called {bad}", post(f"/files?name={bad}", b"x", "Content-Type: application/octet-stream")) for bad in ("..%2f..%2fetc%2fpasswd", "a.t%00xt", "a.%0d%0aX-Evil")),
    Attack("a form as a file", post("/files", b"--x--").replace(b"application/json", b"multipart/form-data; boundary=x")),
    Attack("a gzipped file", post("/files", b"\x1f\x8b", "Content-Encoding: gzip")),
    Attack("a file with another digest", post("/files", b"x", f"X-Content-SHA256: {STORED}")),
    Attack("a file with a digest that is none", post("/files", b"x", "X-Content-SHA256: ../../x")),
    Attack("an upload of 2^80 bytes", post("/files/uploads", b'{"num_bytes":1208925819614629174706176}')),
    Attack("an upload of fewer than none", post("/files/uploads", b'{"num_bytes":-1}')),
    Attack("an upload to a path", post("/files/uploads", b'{"path":"/etc/passwd"}')),
    Attack("a completion of nothing", post(f"/files/uploads/{ULID}/complete", b"")),
    *(Attack(f"a corpus of the store {bad[:90]}", tokenizer_of(bad)) for bad in (f"sha256:{STORED}", "sha256:../../etc", f"sha256:{STORED}/../x", f"sha256:{STORED}.exe")),
]  # fmt: skip

QUESTIONS = {
    "generate": [b"{}", b'{"prompt_text":"a","prompt_path":"demo/a.txt"}', b'{"prompt_path":"../../etc/passwd"}', b'{"prompt_path":"link.txt"}',
                 b'{"prompt_text":""}', b'{"prompt_text":"a","max_new_tokens":513}', b'{"prompt_text":"a","temperature":NaN}',
                 b'{"prompt_text":"a","stop_sequences":[""]}', b'{"prompt_text":"a","num_return_sequences":1000000}', b'{"prompt_text":"\\ud800"}'],
    "score": [b"{}", b'{"text":"a","path":"demo/a.txt"}', b'{"path":"/etc/passwd"}', b'{"text":"a","top_k":-1}', b'{"text":"a","detail_level":"x"}'],
    "chat": [b"{}", b'{"message":""}', b'{"message":"a","conversation_id":"../../x"}', b'{"message":"a","conversation_id":"chat:*"}'],
}  # fmt: skip
ASKED = [
    *(
        Attack(f"{kind} of {target} {number}", post(f"/runs/{target}/{kind}", body))
        for kind, bodies in QUESTIONS.items()
        for target in (ITEM, ULID)
        for number, body in enumerate(bodies)
    ),
    *(Attack(f"an answer of {kind} {bad[:30]}", get(f"/runs/{ITEM}/{kind}/{bad}")) for kind in QUESTIONS for bad in ("..%2f..%2fetc", "*", ULID, "%00")),
    *(Attack(f"wait={bad}", post(f"/runs/{ITEM}/generate", b'{"prompt_text":"a"}', f"Prefer: wait={bad}")) for bad in ("-1", "1e9", "9" * 400)),
]  # fmt: skip

TABLE = [*KEYS, *IDS, *METHODS, *CORPORA, *SPECS, *FILES, *FRAMING, *STREAMS, *STORE, *ASKED]
