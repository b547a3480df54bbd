#!/usr/bin/env bash
# Builds the image and brings the stack up on a copy of this tree, waits until it is ready, trains a tokenizer and a
# model on a few kilobytes of text over HTTP, and takes everything down again. Not part of `make test`.
#
#   scripts/check_containers.sh [--host-network] [--keep-image]
#
# --host-network  for an engine without a bridge network: every container shares the host's network
# --keep-image    leave the image, so that the next check starts from its layers
# Exit status: 0 all well, 1 something failed, 3 no container engine runs here.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

host_network=no
image_removal=(--rmi local)
for argument in "$@"; do
  case "$argument" in
    --host-network) host_network=yes ;;
    --keep-image) image_removal=() ;;
    *) echo "unknown argument: $argument" >&2; exit 2 ;;
  esac
done

if ! docker info >/dev/null 2>&1; then
  echo "No container engine answers (docker info): nothing was checked." >&2
  exit 3
fi
if docker compose version >/dev/null 2>&1; then
  compose=(docker compose)
elif command -v docker-compose >/dev/null; then
  compose=(docker-compose)
else
  echo "The engine runs, but neither 'docker compose' nor docker-compose is installed: nothing was checked." >&2
  exit 3
fi
python="$(command -v python3.11 || command -v python3)"

work="$(mktemp -d)"
export COMPOSE_PROJECT_NAME="model-trainer-check-$$" COMPOSE_PROFILES=prod APP_ENV=prod
API_PORT="$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
export API_PORT SECURITY__API_KEY="check-$$-$RANDOM"
if [ "$(id -u)" -ne 0 ]; then
  CONTAINER_UID="$(id -u)" CONTAINER_GID="$(id -g)"
  export CONTAINER_UID CONTAINER_GID
fi

take_down() {
  status=$?
  cd "$work"
  if [ "$status" -ne 0 ]; then "${compose[@]}" logs --tail=60 || true; fi
  "${compose[@]}" down --volumes --remove-orphans "${image_removal[@]}" || true
  cd /
  rm -rf "$work"
  exit "$status"
}

# A copy: the check neither reads nor writes this tree's corpus/ and artifacts/.
cp -r Dockerfile .dockerignore docker-compose.yml pyproject.toml constraints.txt scripts src "$work/"
cd "$work"
trap take_down EXIT
"$python" scripts/prepare_folders.py
chmod 0777 artifacts runs logs
"$python" - <<'PYTHON'
from pathlib import Path

sentence = "The {} of {} sheep went over the hill and came back with {} stories to tell.\n"
lines = (sentence.format(n % 7, n, n * n % 101) for n in range(400))
Path("corpus/check.txt").write_text("".join(lines), encoding="utf-8")
PYTHON

if [ "$host_network" = yes ]; then
  redis_port="$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
  "$python" - "$API_PORT" "$redis_port" <<'PYTHON'
import re
import sys
from pathlib import Path

api_port, redis_port = sys.argv[1:]
file = Path("docker-compose.yml")
text = file.read_text(encoding="utf-8")
text = text.replace("redis://redis:6379", f"redis://127.0.0.1:{redis_port}")
text = text.replace('--port, "8000"', f'--port, "{api_port}"')
text = re.sub(r"    ports:\n(      - .*\n)+", "", text)
text = text.replace("    context: .\n", "    context: .\n    network: host\n")
text = text.replace("  init: true\n", "  init: true\n  network_mode: host\n", 1)
text = text.replace("    user: redis\n", "    user: redis\n    network_mode: host\n")
text = text.replace("[redis-server,", f'[redis-server, --port, "{redis_port}", --bind, 127.0.0.1,')
text = text.replace("[CMD, redis-cli, ping]", f'[CMD, redis-cli, -p, "{redis_port}", ping]')
file.write_text(text, encoding="utf-8")
PYTHON
fi

"${compose[@]}" config -q
"${compose[@]}" up -d --build

"$python" - <<'PYTHON'
import json
import os
import sys
import time
import urllib.error
import urllib.request

ROOT = f"http://127.0.0.1:{os.environ['API_PORT']}"
KEY = os.environ["SECURITY__API_KEY"]
OVER = {"completed", "failed", "cancelled"}


def ask(path, body=None, key=KEY):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **({"X-Api-Key": key} if key else {})}
    request = urllib.request.Request(ROOT + path, data=data, headers=headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.headers, json.load(answer)


def wait_until_ready(seconds):
    until = time.monotonic() + seconds
    while True:
        try:
            return ask("/readyz", key=None)[1]
        except (OSError, ValueError) as fault:
            if time.monotonic() > until:
                sys.exit(f"not ready after {seconds} s: {fault}")
            time.sleep(1)


def refused_without_key():
    try:
        ask("/runs", key=None)
    except urllib.error.HTTPError as refusal:
        return refusal.code == 401
    return False


def follow(what, body, seconds=300):
    headers, _ = ask(what, body)
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        state = ask(headers["Location"])[1]
        if state["status"] in OVER:
            print(f"{what}: {state['status']}")
            if state["status"] != "completed":
                sys.exit(json.dumps(state, indent=2))
            return headers["Location"].rsplit("/", 1)[-1]
        time.sleep(0.5)
    sys.exit(f"{what}: not over after {seconds} s")


print("readyz:", wait_until_ready(120))
if not refused_without_key():
    sys.exit("the API answered a request that carries no key")
print("families:", len(json.dumps(ask("/families")[1])), "bytes")
tokenizer = follow("/tokenizers/train", {"method": "char", "corpus_path": "check.txt"})
follow(
    "/runs/train",
    {"model_family": "char_lstm", "corpus_path": "check.txt", "tokenizer_id": tokenizer, "max_steps": 20, "max_seq_len": 32},
)
PYTHON

# Files arrive on the host; the containers stop well within their grace period.
find artifacts -type f -name manifest.json | grep -q . || { echo "no manifest on the host" >&2; exit 1; }
begun=$SECONDS
"${compose[@]}" stop
took=$((SECONDS - begun))
echo "stopped after $took s"
[ "$took" -lt 60 ] || { echo "stopping took too long" >&2; exit 1; }
echo "containers: all well"
