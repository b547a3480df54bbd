"""Who may speak in the channel, and how often."""

from collections.abc import Sequence

import pytest

from model_trainer.discord_bot.notifications.limiter import NUM_REMEMBERED, Limiter, Turn, Waiting


def going_on(run_id: str, *, due_in_seconds: float = 0.0) -> Waiting:
    return Waiting(run_id, has_ended=False, due_in_seconds=due_in_seconds)


def ended(run_id: str) -> Waiting:
    return Waiting(run_id, has_ended=True, due_in_seconds=0.0)


def order_of(limiter: Limiter, waiting: Sequence[Waiting], *, now: float = 100.0) -> list[str]:
    """Whose turn it is, one after the other; nobody waits twice."""
    order: list[str] = []
    while turn := limiter.next_turn([each for each in waiting if each.run_id not in order], now=now):
        order.append(turn.run_id)
    return order


def test_three_calls_in_five_seconds_are_free_and_the_fourth_waits() -> None:
    limiter = Limiter()
    for now in (0.0, 1.0, 2.0):
        assert limiter.seconds_until_free(now) == 0.0
        limiter.called(now)
    assert limiter.seconds_until_free(2.0) == 3.0
    assert limiter.seconds_until_free(5.0) == 0.0
    limiter.called(5.0)
    assert limiter.seconds_until_free(5.0) == 1.0
    assert limiter.seconds_until_free(60.0) == 0.0


def test_whose_turn_it_is_waits_for_a_free_call() -> None:
    limiter = Limiter()
    for _ in range(3):
        limiter.called(100.0)
    assert limiter.next_turn([going_on("a")], now=101.0) == Turn("a", 4.0)


def test_nobody_is_next_when_nobody_waits() -> None:
    assert Limiter().next_turn([], now=0.0) is None


def test_who_is_due_first_is_next() -> None:
    waiting = [going_on("a", due_in_seconds=300.0), going_on("b", due_in_seconds=20.0)]
    assert Limiter().next_turn(waiting, now=0.0) == Turn("b", 20.0)


def test_ends_go_first() -> None:
    limiter = Limiter()
    limiter.had_turn("the end", 90.0)
    assert order_of(limiter, [going_on("a"), going_on("b"), ended("the end")])[0] == "the end"


def test_runs_take_turns_and_the_one_that_waited_longest_is_next() -> None:
    limiter = Limiter()
    for now, run_id in enumerate("cab"):
        limiter.had_turn(run_id, float(now))
    assert order_of(limiter, [going_on(each) for each in ("a", "b", "c", "new")]) == ["new", "c", "a", "b"]


def test_a_run_waits_two_seconds_between_its_turns_but_its_end_does_not() -> None:
    limiter = Limiter()
    limiter.had_turn("a", 100.0)
    assert limiter.next_turn([going_on("a")], now=100.5) == Turn("a", 1.5)
    assert limiter.next_turn([ended("a")], now=100.5) == Turn("a", 0.0)
    assert limiter.next_turn([going_on("a")], now=103.0) == Turn("a", 0.0)


@pytest.mark.parametrize("waiting", [going_on("a"), ended("a")])
def test_a_run_that_is_postponed_lets_others_go_first(waiting: Waiting) -> None:
    limiter = Limiter()
    limiter.postpone("a", 110.0)
    assert limiter.next_turn([waiting], now=100.0) == Turn("a", 10.0)
    assert limiter.next_turn([waiting, going_on("b")], now=100.0) == Turn("b", 0.0)
    assert limiter.next_turn([waiting], now=111.0) == Turn("a", 0.0)


def test_a_run_is_postponed_for_one_turn() -> None:
    limiter = Limiter()
    limiter.postpone("a", 110.0)
    limiter.had_turn("a", 90.0)
    assert limiter.next_turn([going_on("a")], now=100.0) == Turn("a", 0.0)


def test_what_discord_refused_comes_after_everybody_else_until_it_is_taken() -> None:
    limiter = Limiter()
    limiter.refused("the end")
    assert order_of(limiter, [ended("the end"), going_on("b")]) == ["b", "the end"]
    limiter.taken("the end")
    assert order_of(limiter, [ended("the end"), going_on("b")]) == ["the end", "b"]


def test_turns_of_so_many_runs_are_remembered() -> None:
    limiter = Limiter()
    limiter.had_turn("oldest", 0.0)
    for _ in range(2):
        for number in range(NUM_REMEMBERED):
            limiter.had_turn(str(number), 100.0)
    waiting = [going_on("0"), going_on("oldest")]
    assert limiter.next_turn(waiting, now=100.0) == Turn("oldest", 0.0)
    assert limiter.next_turn(waiting[:1], now=100.0) == Turn("0", 2.0)
