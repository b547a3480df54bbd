"""A process that takes a run's lock for tests: `python lock_holder.py FOLDER HOST RUN_ID EPOCH`; says `held`, waits."""

import sys
from pathlib import Path

from model_trainer.infra.storage.run_locks import LocalRunLocks

if __name__ == "__main__":
    folder, host, run_id, epoch = sys.argv[1:]
    lock = LocalRunLocks(Path(folder), host=host).take(run_id, epoch=int(epoch))
    sys.stdout.write("held\n" if lock is not None else "refused\n")
    sys.stdout.flush()
    sys.stdin.read()
