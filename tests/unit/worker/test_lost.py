from model_trainer.core.contracts.run import Holder
from model_trainer.infra.storage.memory import MemoryRunLocks
from model_trainer.worker.lost import lost_holders

DEAD, ALIVE, ELSEWHERE, NOWHERE = (f"01ARZ3NDEKTSV4RRFFQ69G5FA{n}" for n in range(4))


class Held:
    """A store that knows of four owners."""

    def held(self) -> tuple[Holder, ...]:
        return (
            Holder(run_id=DEAD, epoch=1, owner="w-1", host="here"),
            Holder(run_id=ALIVE, epoch=1, owner="w-2", host="here"),
            Holder(run_id=ELSEWHERE, epoch=1, owner="w-3", host="there"),
            Holder(run_id=NOWHERE, epoch=1, owner="w-4", host=None),
        )


def test_an_owner_is_lost_when_it_was_here_and_nobody_has_its_lock() -> None:
    locks = MemoryRunLocks(host="here")
    locks.take(ALIVE, epoch=0)
    assert [holder.run_id for holder in lost_holders(Held(), locks)] == [DEAD]
