import pytest

from model_trainer.core.errors import AppError, ErrorCode, FieldFault, Reason
from model_trainer.discord_bot.cards.sentences import error_card, error_text, reason_sentence, sentence

RUN = "01JCB4Y1Q5W9D2ZK7N3M8XV6HT"


def refused(*pointers: str, request_id: str | int | None = None) -> AppError:
    faults = [FieldFault(pointer=pointer, message="/srv/secret.txt is wrong") for pointer in pointers]
    return AppError(
        ErrorCode.CONFIG_INVALID, "/srv/secret.txt is wrong", faults=faults, facts={"request_id": request_id}
    )


@pytest.mark.parametrize("code", ErrorCode)
def test_every_code_has_one_short_sentence_of_its_own(code: ErrorCode) -> None:
    text = sentence(code)

    assert text.endswith((".", "?"))
    assert 20 <= len(text) <= 120
    assert [other for other in ErrorCode if sentence(other) == text] == [code]


@pytest.mark.parametrize("reason", [None, *Reason])
def test_every_reason_has_a_sentence(reason: Reason | None) -> None:
    assert reason_sentence(reason).endswith(".")


def test_a_run_that_waits_for_disk_space_goes_on_by_itself() -> None:
    assert "by itself" in reason_sentence(Reason.DISK_FULL)
    assert "by itself" not in reason_sentence(None)


def test_an_error_says_what_to_do_and_where_and_under_which_request() -> None:
    error = refused("/max_steps", "/optimizer/learning_rate", request_id=RUN)

    assert error_text(error, known=["max_steps", "optimizer.learning_rate"]) == (
        "Some settings do not fit, alone or together; the server's log says why. "
        "Look at: max_steps, optimizer.learning_rate. "
        f"(request {RUN})"
    )


def test_an_error_without_fields_or_request_is_its_sentence() -> None:
    assert error_text(AppError(ErrorCode.DISK_FULL, "x")) == sentence(ErrorCode.DISK_FULL)


def test_an_error_is_a_card_in_red() -> None:
    card = error_card(refused("/max_steps"), known=["max_steps"])

    assert (card.tone, card.text) == ("bad", error_text(refused("/max_steps"), known=["max_steps"]))


def test_each_wrong_field_is_named_once_and_five_at_most() -> None:
    named = error_text(refused("/a", "/a", "/b", "/c/0", "/d", "/e", "/f"), known="abcdef")

    assert named.endswith("Look at: a, b, c, d, e.")


@pytest.mark.parametrize(
    "pointer", ["", "/", "/etc", "/metadata/my_secret", "/max_steps/x", "/A", "/0", "/@everyone"]
)
def test_what_is_no_field_of_the_schema_is_not_named(pointer: str) -> None:
    assert error_text(refused(pointer), known=["max_steps"]) == sentence(ErrorCode.CONFIG_INVALID)


@pytest.mark.parametrize("field", ["@everyone", "a b", "A", "x" * 41, "a.b.c.d.e", "a\n"])
def test_a_schema_cannot_make_us_say_anything_else_than_names(field: str) -> None:
    assert error_text(refused("/" + field.replace(".", "/")), known=[field]) == sentence(
        ErrorCode.CONFIG_INVALID
    )


@pytest.mark.parametrize("request_id", ["123e4567-e89b-12d3-a456-426614174000", RUN])
def test_requests_are_named_by_ids(request_id: str) -> None:
    assert error_text(refused(request_id=request_id)).endswith(f"(request {request_id})")


@pytest.mark.parametrize("request_id", ["", "secret.txt", "@everyone", RUN + "\n", 7, None, "a" * 9000])
def test_what_is_no_id_of_a_request_is_left_out(request_id: str | int | None) -> None:
    assert error_text(refused(request_id=request_id)) == sentence(ErrorCode.CONFIG_INVALID)
