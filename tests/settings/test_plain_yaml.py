"""YAML as people mean it."""

import pytest

from churn_spark.errors import ConfigError
from churn_spark.settings.layers import load_config
from churn_spark.settings.plain_yaml import parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("yes", "yes"), ("NO", "NO"), ("on", "on"), ("010", "010"), ("-01", "-01"), ("1_000", "1_000"),
        ("12:30", "12:30"), ("2026-01-31", "2026-01-31"), ("0x1F", "0x1F"), (".inf", ".inf"), ("'1'", "1"),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None), ("10", 10), ("-1", -1),
        ("1.5", 1.5), ("1e-3", 0.001), (".5", 0.5), ("0", 0), ("[NO, 1]", ["NO", 1]), ("{a: on}", {"a": "on"}),
    ],
)  # fmt: skip
def test_words_stay_words_and_numbers_numbers(text, value):
    found = parse(text, where="x")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize("word", ["yes", "NO", "off", "010", "1.10", "true", "1e3", "2026-01-31"])
def test_allowed_values_keep_their_characters(word, tmp_path, monkeypatch):
    layer = tmp_path / "layer.yaml"
    layer.write_text(f"columns: {{plan_type: {{allowed: [{word}, other]}}}}")
    assert load_config([str(layer)]).columns["plan_type"].allowed == (word, "other")
    setting = f"columns.plan_type.allowed=[{word}, other]"
    assert load_config(settings=[setting]).columns["plan_type"].allowed == (word, "other")
    monkeypatch.setenv("CHURN_SPARK__COLUMNS__PLAN_TYPE__ALLOWED", f"[{word}, other]")
    assert load_config().columns["plan_type"].allowed == (word, "other")
    assert load_config(settings=["columns.plan_type.allowed=null"]).columns["plan_type"].allowed is None


@pytest.mark.parametrize("name", ["no", "yes", "on", "null", "007", "1.0"])
def test_column_may_have_any_word_for_its_name(name, tmp_path):
    layer = tmp_path / "layer.yaml"
    layer.write_text(f"columns:\n  {name.replace('.', '')}: {{role: id}}\n  churn: {{role: label}}")
    assert load_config([str(layer)]).contract.id.name == name.replace(".", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]", "aliases"),
        ("a: &a [*a]", "aliases"),
        ("a: !!python/object/apply:os.system ['x']", "tags"),
        ("a: !!binary aGVsbG8=", "tags"),
        ("[a, b]: 1", "a key must be a word"),
        ("no: 1\nno: 2", "twice"),
        ("a: [" * 5000, "not a plain YAML file"),
        ("columns:\n" + "".join(f"  c{i}: {{role: numeric}}\n" for i in range(200_000)), "at most 1,000,000"),
    ],
)
def test_what_is_no_plain_settings_file_is_refused(text, words):
    with pytest.raises(ConfigError, match=words):
        parse(text, where="layer.yaml")
