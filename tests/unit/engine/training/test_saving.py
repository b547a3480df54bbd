from model_trainer.engine.training.intervals import Intervals
from model_trainer.engine.training.saving import SaveSchedule


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def schedule(clock: Clock, *, steps: int | None, seconds: float | None) -> SaveSchedule:
    every = Intervals(log=1, evaluate=1, checkpoint=steps, checkpoint_seconds=seconds)
    return SaveSchedule(every, total_steps=10, now=clock)


def test_steps_and_the_end_make_a_checkpoint_due() -> None:
    saves = schedule(Clock(), steps=4, seconds=None)
    due = []
    for step in range(1, 11):
        if saves.is_due(step):
            due.append(step)
            saves.taken(step)
    assert due == [4, 8, 10]
    assert saves.last_step == 10


def test_one_that_could_not_be_taken_stays_due() -> None:
    saves = schedule(Clock(), steps=4, seconds=None)
    assert [saves.is_due(step) for step in (3, 4, 5, 6)] == [False, True, True, True]
    saves.taken(6)
    assert not saves.is_due(7)


def test_by_the_clock_it_is_so_long_after_the_last_one() -> None:
    clock = Clock()
    saves = schedule(clock, steps=None, seconds=5.0)
    assert not saves.is_due(4)
    clock.seconds += 5.0
    assert saves.is_due(5)
    saves.taken(5)
    clock.seconds += 4.9
    assert not saves.is_due(6)
    clock.seconds += 0.1
    assert saves.is_due(7)


def test_whichever_comes_first_and_then_the_clock_begins_anew() -> None:
    clock = Clock()
    saves = schedule(clock, steps=4, seconds=5.0)
    clock.seconds += 4.0
    assert saves.is_due(4)
    saves.taken(4)
    clock.seconds += 4.0
    assert not saves.is_due(5)
    clock.seconds += 1.0
    assert saves.is_due(6)


def test_the_clock_begins_when_training_does() -> None:
    clock = Clock()
    saves = schedule(clock, steps=None, seconds=5.0)
    clock.seconds += 60.0
    saves.begin(3)
    assert not saves.is_due(4)
    assert saves.last_step == 3
