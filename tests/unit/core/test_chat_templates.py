"""Chat templates: what is refused before anything runs, and what a running one can reach."""

from datetime import datetime

import pytest
from jinja2 import TemplateError
from jinja2.exceptions import SecurityError

from model_trainer.core.chat_templates import compiled, template_fault


def text_of(template: str, **values: object) -> str:
    return "".join(compiled(template)(values))


@pytest.mark.parametrize(
    ("template", "fault"),
    [
        ("{{ messages", "line 1: "),
        ("a\n{% for m in messages %}", "line 2: "),
        ("a\n{{ messages | nonsense }}", "line 2: there is no filter called nonsense"),
        ("{% if messages is nonsense %}{% endif %}", "line 1: there is no test called nonsense"),
        ("{{ " + "(" * 9000 + " }}", "it is nested too deeply"),
    ],
)
def test_what_is_no_template_has_its_fault_and_line_named(template: str, fault: str) -> None:
    assert (template_fault(template) or "").startswith(fault)


@pytest.mark.parametrize(
    "template",
    [
        "plain text",
        "{% for m in messages %}{% if m.role is defined %}{{ m.content | trim }}{% continue %}{% endif %}{% endfor %}",
        "{% set ns = namespace(found=false) %}{% set ns.found = true %}{{ ns.found | tojson }}",
    ],
)
def test_what_is_a_template_has_no_fault(template: str) -> None:
    assert template_fault(template) is None


def test_checking_computes_nothing() -> None:
    """Were constants folded, this would ask for a petabyte."""
    assert template_fault("{{ 'a' | center(999999999999999) }}{{ 'a' * 999999999999999 }}") is None


def test_blocks_leave_no_lines_behind() -> None:
    assert text_of("{% if true %}\n  {% set a = 1 %}\nx\n{% endif %}\ny") == "x\ny"


def test_loops_can_be_left() -> None:
    assert text_of("{% for n in [1, 2, 3] %}{% if n == 2 %}{% break %}{% endif %}{{ n }}{% endfor %}") == "1"


def test_json_is_not_escaped_for_web_pages() -> None:
    assert text_of("{{ {'a': '<é>'} | tojson }}") == '{"a": "<é>"}'
    assert text_of("{{ {'a': 'é'} | tojson(indent=1, ensure_ascii=true) }}") == '{\n "a": "\\u00e9"\n}'


def test_a_template_may_refuse() -> None:
    with pytest.raises(TemplateError, match="no such role"):
        text_of("{{ raise_exception('no such role') }}")


def test_a_template_may_ask_for_the_date() -> None:
    before = datetime.now().astimezone().date()
    told = text_of("{{ strftime_now('%Y-%m-%d') }}")
    assert before.isoformat() <= told <= datetime.now().astimezone().date().isoformat()


def test_namespaces_keep_variables() -> None:
    assert text_of("{% set n = namespace({'a': 1}, b=2) %}{% set n.a = 5 %}{{ n.a + n.b }}") == "7"
    assert text_of("{{ dict({'a': 1}, b=2) }}") == "{'a': 1, 'b': 2}"


@pytest.mark.parametrize(
    "template",
    [
        "{% set n = namespace(__class__=1) %}",
        "{% set n = namespace() %}{% set n.__class__ = 1 %}",
        "{% set n = namespace({'_a': 1}) %}",
        "{{ [].append(1) }}",
        "{{ namespace.__globals__.json }}",
        "{{ 'a' * 3 }}",
        "{{ 3 * [1] }}",
        "{{ 2 ** 3 }}",
    ],
)
def test_nothing_leads_out_of_the_sandbox_or_fills_the_memory(template: str) -> None:
    with pytest.raises(SecurityError):
        text_of(template)


def test_numbers_are_multiplied() -> None:
    assert text_of("{{ 2 * 3.5 }}") == "7.0"
