import os
import signal
import threading

from model_trainer.worker.stopping import StopSignal


def test_a_signal_is_told_once_it_comes_and_to_who_asks_later_too() -> None:
    told: list[str] = []
    with StopSignal() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.was_asked
        stop.on_request(lambda: told.append("late"))
        assert told == ["late"]
        os.kill(os.getpid(), signal.SIGTERM)
    assert told == ["late", "late"]


def test_the_handler_before_is_back_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopSignal() as stop:
        assert signal.getsignal(signal.SIGTERM) is not before
        assert not stop.was_asked
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_thread_hears_nothing_and_breaks_nothing() -> None:
    before = signal.getsignal(signal.SIGTERM)
    seen: list[bool] = []

    def listen() -> None:
        with StopSignal() as stop:
            seen.append(stop.was_asked)

    thread = threading.Thread(target=listen)
    thread.start()
    thread.join()
    assert seen == [False]
    assert signal.getsignal(signal.SIGTERM) is before
