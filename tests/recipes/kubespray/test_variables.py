"""Variables by themselves: what Ansible would make of a template, and that a hostile tree gets nowhere."""

from __future__ import annotations

import time
import tracemalloc
from typing import Any

import pytest

from bundler.errors import ProfileError
from bundler.recipes.kubespray.variables import Variables


def value_of(template: Any, **others: Any) -> Any:
    return Variables(({"asked": template, **others},), "tree")["asked"]


# What ansible-core 2.18 gives for each; test_ansible.py holds the whole tree against it.
@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ version }}", "1.10"),
        ("v{{ version }}", "v1.10"),
        ("{{ number }}", 7),
        ("{{ number }}0", "70"),
        ("{{ flag }}", True),
        ("{{ not flag }}", False),
        ("{{ nothing }}", ""),
        ("{{ names | map('upper') }}", ["A", "B"]),
        ("{{ {'a': 1} | combine({'b': version}) }}", {"a": 1, "b": "1.10"}),
        ("{{ {'a': {'x': 1}} | combine({'a': {'y': 2}}, recursive=true) }}", {"a": {"x": 1, "y": 2}}),
        ("{{ absent | default('none') }}", "none"),
        ("{{ absent.deep.er is defined }}", False),
        ("{{ flag | ternary('yes', 'no') }}", "yes"),
        ("{{ 'yes' | bool }}", True),
        ("{{ version is version('1.9', '>=') }}", True),
        ("{{ version is version('1.10.1', 'ge') }}", False),
        ("{{ 'a/b' | split('/') | first }}", "a"),
        (r"{{ 'v1.2' | regex }}", None),
        ("{{ lookup('vars', 'ver' ~ 'sion') }}", "1.10"),
        ("{{ lookup('vars', 'absent', default='d') }}", "d"),
        ("{{ lookup('env', 'HOME') }}", ""),
        ("{% if flag %}\nyes\n{% endif %}\n", "yes\n"),
        (r"{{ 'a\d' }}", r"a\d"),
        ({"{{ version }}": ["{{ number }}", {"deep": "{{ flag }}"}]}, {"1.10": [7, {"deep": True}]}),
    ],
)
def test_as_ansible(template: Any, value: Any) -> None:
    others = {"version": "1.10", "number": 7, "flag": True, "nothing": None, "names": ["a", "b"]}
    if value is None:
        with pytest.raises(ProfileError, match="cannot be evaluated"):
            value_of(template, **others)
    else:
        found = value_of(template, **others)
        assert found == value
        assert type(found) is type(value)


def test_the_first_layer_wins_wherever_it_is_asked_from() -> None:
    variables = Variables(({"host": "site"}, {"host": "upstream", "url": "https://{{ host }}/x"}), "tree")
    assert variables["url"] == "https://site/x"
    assert variables.raw("url") == "https://{{ host }}/x"
    assert "absent" not in variables
    with pytest.raises(KeyError):
        variables["absent"]


@pytest.mark.parametrize(
    ("template", "why"),
    [
        ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "no variable should|not defined"),
        ("{{ asked.__init__.__globals__ }}", "leads back to itself"),
        ("{{ lookup('pipe', 'id') }}", "lookup 'pipe' is not to be had"),
        ("{{ lookup('file', '/etc/passwd') }}", "lookup 'file' is not to be had"),
        ("{{ 9 ** 9 ** 9 }}", r"\*\* for none"),
        ("{{ 'a' * 999999999 }}", r"\* is for numbers"),
        ("{{ [0] * 999999999 }}", r"\* is for numbers"),
        ("{{ range(99999999999) | list }}", "cannot be evaluated|Range too big|no variable should"),
        ("{{ names.append('x') }}", "no variable should|not safe"),
        ("{% include '/etc/passwd' %}", "cannot be evaluated"),
        ("{% import 'os' as os %}", "cannot be evaluated"),
        ("{{ absent }}", "'absent' is undefined"),
        ("{{ absent.deep }}", "undefined"),
        ("{{ 1 / 0 }}", "cannot be evaluated"),
        ("{{ unclosed", "cannot be evaluated"),
        ("{{ x | no_such_filter }}", "cannot be evaluated"),
        ("{{ '1' is version('1', '~') }}", "compares no versions"),
        ("{{ " + "(" * 5000 + ")" * 5000 + " }}", "cannot be evaluated|nested too deep"),
    ],
)
def test_what_no_variable_should_do_is_refused(template: str, why: str) -> None:
    with pytest.raises(ProfileError, match=why) as caught:
        value_of(template, names=["a"])
    assert caught.value.message.startswith("tree: asked: ")
    assert len(caught.value.message) < 700


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% for a in range(99999) %}{% set x = a %}{% for b in names %}x{% endfor %}{% endfor %}" * 9,
        "{% for a in range(99999) %}" + "x" * 9999 + "{% endfor %}",
        "{% set x %}{% for a in range(99999) %}" + "x" * 9999 + "{% endfor %}{% endset %}",
        "{% macro m() %}{% for a in range(9999) %}" + "x" * 999 + "{% endfor %}{% endmacro %}{% set x = m() ~ m() %}",
        "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{% for a in names recursive %}{{ loop(names) }}{{ loop(names) }}{% endfor %}",
        "{% set x = 'aaaaaaaa' %}" + "{% set x = x ~ x %}" * 40,
        "{% set x = 'aaaaaaaa' %}" + "{% set x = x + x %}" * 40,
        "{% set x = [1, 2] %}" + "{% set x = x + x %}" * 40,
        "{% set x = [1, 2] %}" + "{% set x = [x, x] %}" * 40 + "{{ x }}",
        "{% set x = {'a': 1} %}" + "{% set x = {'a': x, 'b': x} %}" * 40 + "{{ x | string }}",
        "{% set x, y = (1,), (1,) %}" + "{% set x, y = (x, x), (y, y) %}" * 40 + "{{ x == y }}",
        "{% set x = 9999999999 %}" + "{% set x = x * x %}" * 40 + "{{ x }}",
        "{{ 'a' | center(1000000000) }}",
        "{{ 'a'.center(1000000000) }}",
        "{{ 'a'.zfill(1000000000) }}",
        "{{ '{:>1000000000}'.format(1) }}",
        "{{ '%1000000000d' % 1 }}",
        "{{ '%(a)1000000000d' | format(a=1) }}",
        "{{ '%*d' % (1000000000, 1) }}",
        "{{ '%.1000000000f' | format(1.5) }}",
        "{{ (('%(a)s' * 1) ~ '%(a)s') | format(a=large) }}",
        "{{ large | replace('a', large) }}",
        "{{ large.replace('a', large) }}",
        "{{ large.join(range(99999)) }}",
        "{{ range(99999) | join(large) }}",
        "{{ [large] | map('replace', 'a', large) | list }}",
        "{{ 5 | round(-1000000000) }}",
        "{{ (5).to_bytes(1000000000, 'big') }}",
        "{{ 'a' | indent(1000000000) }}",
        "{{ names | batch(1000000000, 'x') | list }}",
        "{{ " + " ~ ".join(["large"] * 100) + " }}",
        "{{ [" + ", ".join(["large"] * 100) + "] | sum(start='') }}",
        "x" * 20_000 + "{{ names }}",
        "{% set x = namespace() %}",
    ],
)
def test_little_does_not_become_much(template: str) -> None:
    began = time.process_time()  # other tests run beside
    tracemalloc.start()
    try:
        with pytest.raises(ProfileError) as caught:
            value_of(template, names=["a", "b"], large="a" * 500_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "damaged" not in caught.value.message
    assert peak < 200 << 20
    assert time.process_time() - began < 30


def test_variables_of_a_tree_have_one_budget() -> None:
    """Each of them is small, and there are many."""
    one = "{% for a in range(9999) %}{% endfor %}"
    variables = Variables(({f"v{n}": one for n in range(2000)},), "tree")
    with pytest.raises(ProfileError, match="than all variables of a tree together"):
        list(variables.values())


@pytest.mark.parametrize(
    ("template", "value"),
    [
        ("{{ '%s-%03d' | format('a', 7) }}", "a-007"),
        ("{{ '%(a)s' % {'a': 'x'} }}", "x"),
        ("{{ names | join('-') }}{{ ','.join(names) }}", "a-ba,b"),
        ("{{ [{'n': 1}, {'n': 2}] | join(',', attribute='n') }}", "1,2"),
        ("{{ 'aXa' | replace('a', 'b') }}{{ 'aXa'.replace('a', 'c') }}", "bXbcXc"),
        ("{{ 1.234 | round(2) }}", "1.23"),
        ("{{ names + ['c'] }}", ["a", "b", "c"]),
        ("{{ 2 * 3 + 4 }}", "10"),
        ("{% for name in names %}{{ loop.index }}{{ name }}{{ '' if loop.last else ',' }}{% endfor %}", "1a,2b"),
        ("{% set a, b = 1, 2 %}{{ a ~ b }}", "12"),
        ("{% for k, v in {'a': 1}.items() %}{{ k }}{{ v }}{% endfor %}", "a1"),
        ("{% for key in {'a': 1} if key != 'b' %}{{ key }}{% else %}none{% endfor %}", "a"),
    ],
)
def test_what_the_sandbox_watches_stays_as_jinja_has_it(template: str, value: Any) -> None:
    assert value_of(template, names=["a", "b"]) == value


def test_circles_and_chains_end() -> None:
    with pytest.raises(ProfileError, match="asked → other → asked"):
        value_of("{{ other }}", other="{{ asked }}")
    chain = {f"v{n}": f"{{{{ v{n + 1} }}}}" for n in range(100)}
    with pytest.raises(ProfileError, match="nested more than 60 deep"):
        Variables(({**chain, "v100": "end"},), "tree")["v0"]


def test_text_does_not_grow_without_end() -> None:
    doubling = {f"v{n}": f"{{{{ v{n + 1} }}}}{{{{ v{n + 1} }}}}" for n in range(40)}
    with pytest.raises(ProfileError, match="grows beyond"):
        Variables(({**doubling, "v40": "x" * 64},), "tree")["v0"]


@pytest.mark.parametrize(
    "text", ["{{" * 50_000 + "\\", "{%" * 8000 + "\\", '{{ "' + '\\"' * 7000, "{{ '" * 3000 + "\\"]
)
def test_templates_take_time_by_their_length(text: str) -> None:
    began = time.process_time()
    with pytest.raises(ProfileError):
        Variables([{"x": text}], "t")["x"]
    assert time.process_time() - began < 2
