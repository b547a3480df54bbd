"""What is written down of a run."""

from structlog.testing import capture_logs

from model_trainer.core.contracts.ids import new_ulid
from model_trainer.core.contracts.run import RunStatus
from model_trainer.discord_bot.cards.run_story import RunStory
from model_trainer.discord_bot.notifications.notes import NUM_ENDED_KEPT, RunNote, outdated, read_note


def ended(run_id: str, *, at_ms: int, is_told: bool = True, is_muted: bool = False) -> RunNote:
    story = RunStory(run_id=run_id, seq=5, status=RunStatus.COMPLETED, heard_at_ms=at_ms)
    return RunNote(story=story, told=story if is_told else None, is_muted=is_muted)


def test_a_note_comes_back_as_it_was_written_down() -> None:
    story = RunStory(run_id=new_ulid(), seq=3, kind="train", metrics={"loss": 2.5})
    note = RunNote(story=story).about_to_send().after_telling(story, message_id="m1", at_ms=7).muted()
    assert read_note(story.run_id, note.model_dump_json()) == note


def test_a_note_that_cannot_be_read_is_begun_anew_and_its_message_looked_for() -> None:
    run_id = new_ulid()
    with capture_logs() as lines:
        note = read_note(run_id, '{"from": "a newer bot"}')
    assert note == RunNote(story=RunStory(run_id=run_id), may_be_sent=True, by_hand=True)
    assert [(line["event"], line["run_id"]) for line in lines] == [("discord_note_unreadable", run_id)]


def test_a_note_has_news_until_all_is_told() -> None:
    story = RunStory(run_id=new_ulid(), seq=3)
    note = RunNote(story=story)
    assert note.has_news
    told = note.after_telling(story, message_id="m1", at_ms=0)
    assert not told.has_news
    assert told.heard(story.model_copy(update={"seq": 4})).has_news


def test_a_story_that_is_shorter_than_what_was_told_is_news() -> None:
    story = RunStory(run_id=new_ulid(), seq=3, heard_at_ms=30)
    told = RunNote(story=story).after_telling(story, message_id="m1", at_ms=0)
    assert told.heard(story.model_copy(update={"seq": 2, "heard_at_ms": 40})).has_news
    assert told.heard(story.model_copy(update={"heard_at_ms": 40})).has_news


def test_nothing_is_news_of_a_run_without_events_or_of_a_muted_one() -> None:
    assert not RunNote(story=RunStory(run_id=new_ulid())).has_news
    assert not RunNote(story=RunStory(run_id=new_ulid(), seq=3)).muted().has_news


def test_all_of_a_muted_runs_story_is_news_when_it_is_watched_again() -> None:
    story = RunStory(run_id=new_ulid(), seq=3)
    told = RunNote(story=story).after_telling(story, message_id="m1", at_ms=0)
    assert told.muted().watched().has_news
    assert not told.watched().has_news


def test_a_message_that_takes_the_place_of_a_deleted_one_has_another_nonce() -> None:
    note = RunNote(story=RunStory(run_id="01ARZ3NDEKTSV4RRFFQ69G5FAV"))
    assert note.nonce == "1ARZ3NDEKTSV4RRFFQ69G5FAV"
    nonces = [note.nonce, note.after_deletion().nonce, note.after_deletion().after_deletion().nonce]
    assert len(set(nonces)) == 3
    assert {len(nonce) for nonce in nonces} == {25}


def test_the_newest_ended_runs_are_kept_and_all_that_go_on() -> None:
    notes = [ended(f"run{number:03}", at_ms=number) for number in range(NUM_ENDED_KEPT + 2)]
    going_on = [RunNote(story=RunStory(run_id=f"going on {number}")) for number in range(NUM_ENDED_KEPT)]
    assert outdated([*reversed(notes), *going_on]) == {"run000", "run001"}


def test_an_end_that_is_still_to_be_told_is_kept_however_old_it_is() -> None:
    newer = [ended(f"run{number:03}", at_ms=10 + number) for number in range(NUM_ENDED_KEPT)]
    assert outdated([ended("untold", at_ms=1, is_told=False), *newer]) == frozenset()
    assert outdated([ended("muted", at_ms=1, is_told=False, is_muted=True), *newer]) == {"muted"}
