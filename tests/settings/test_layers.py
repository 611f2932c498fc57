"""Settings: layers, their order, and what is refused before anything runs."""

import json
from pathlib import Path

import pytest
import yaml
from helpers import ROOT

from churn_spark.errors import ConfigError
from churn_spark.settings.layers import load_config, merge_layers
from churn_spark.settings.locations import is_table_name
from churn_spark.settings.sections import Config, Output, json_schema


def layer(folder: Path, text: str) -> str:
    path = folder / "layer.yaml"
    path.write_text(text)
    return str(path)


def test_load_config_without_layers_is_base_yaml() -> None:
    config = load_config()
    assert config.contract.key == ("customer_id",)
    assert config.training.n_estimators == 500


def test_base_yaml_names_every_setting_with_its_default() -> None:
    base = yaml.safe_load((ROOT / "conf" / "base.yaml").read_text())
    given = Config.model_validate(base)
    bare = Config.model_validate({k: base[k] for k in ("raw", "output", "columns")})
    assert given == bare
    assert set(base) == set(Config.model_fields)
    for section, fields in base.items():
        model = Config.model_fields[section].annotation
        if hasattr(model, "model_fields"):
            assert set(fields) == {f.alias or name for name, f in model.model_fields.items()}, section


def test_load_config_later_layers_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = layer(tmp_path, "training: {max_depth: 3, learning_rate: 0.2}")
    monkeypatch.setenv("CHURN_SPARK__TRAINING__MAX_DEPTH", "4")
    config = load_config([path], settings=["training.learning_rate=0.3"], options={"raw": "x.csv"})
    assert (config.training.max_depth, config.training.learning_rate, config.raw) == (4, 0.3, "x.csv")


def test_merge_layers_says_where_a_value_came_from(tmp_path: Path) -> None:
    path = layer(tmp_path, "split: {seed: 7}")
    _, origin = merge_layers([path], settings=["split.test=0.3"], options={})
    assert origin["split.seed"] == path
    assert origin["split.test"] == "--set split.test"
    assert origin["split.mode"] == "conf/base.yaml"


def test_columns_are_merged_and_null_drops_one(tmp_path: Path) -> None:
    path = layer(tmp_path, "columns: {region: {role: categorical}, age: null}")
    names = [c.name for c in load_config([path]).contract.columns]
    assert "region" in names
    assert "age" not in names
    assert "tenure" in names


def test_columns_with_an_id_replace_the_inherited_ones(tmp_path: Path) -> None:
    path = layer(tmp_path, "columns: {customer_id: {role: id, from: key}, gone: {role: label}}")
    assert [c.name for c in load_config([path]).contract.columns] == ["customer_id", "gone"]
    path = layer(tmp_path, "columns: {customer_id: {from: key}}")
    assert load_config([path]).contract.id.raw_name == "key"
    assert len(load_config([path]).contract.columns) == 7


def test_columns_with_a_label_and_no_id_do_not_fall_back_on_the_inherited_ones(tmp_path: Path) -> None:
    path = layer(tmp_path, "columns: {plan: {role: categorical}, churn: {role: label}}")
    with pytest.raises(ConfigError, match=r"exactly one column has role id, found none.*generated: true"):
        load_config([path])
    alone = load_config([layer(tmp_path, "columns: {churn: {role: label, positive: gone}}")])
    assert alone.contract.id.name == "customer_id"


@pytest.mark.parametrize(
    ("setting", "where", "hint"),
    [
        ("training.max_dept=4", "training.max_dept", "training.max_depth"),
        ("columns.age.rol=x", "columns.age.rol", "columns.age.role"),
        ("txet.redact=true", "txet", "text"),
    ],
)
def test_load_config_unknown_key_suggests_the_nearest(setting: str, where: str, hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(settings=[setting])
    assert where in caught.value.where
    assert hint in caught.value.fix


@pytest.mark.parametrize(
    "setting",
    ["training.max_depth=abc", "training.learning_rate=7", "split.test=0", "decision.capacity=0", "columns.age.min=999",
     "training.save_format=onnx", "columns.age.role=nonsense", "validation=3", "split.test=0.95"],
)  # fmt: skip
def test_load_config_refuses_wrong_values(setting: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(settings=[setting])
    assert caught.value.where
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("column", "words"), [("tenur", "did you mean tenure"), ("plan_type", "not a numeric column")]
)
def test_load_config_refuses_a_monotone_constraint_on_no_numeric_column(column: str, words: str) -> None:
    assert load_config(settings=["training.monotone.tenure=-1"]).training.monotone == {"tenure": -1}
    with pytest.raises(ConfigError, match=words):
        load_config(settings=[f"training.monotone.{column}=1"])


@pytest.mark.parametrize(
    "text",
    [
        "raw: !!python/object/apply:os.system ['touch hacked']",
        "a: &a [x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "raw: [unclosed",
        "- a\n- list",
        "raw: a\nraw: b",
    ],
)
def test_load_config_refuses_hostile_or_broken_yaml(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError):
        load_config([layer(tmp_path, text)])
    assert not (tmp_path / "hacked").exists()


def test_settings_below_spark_conf_keep_their_dots(capsys: pytest.CaptureFixture[str]) -> None:
    from churn_spark.cli import main

    setting = "spark.conf.spark.sql.shuffle.partitions=8"
    assert load_config(settings=[setting]).spark.conf == {"spark.sql.shuffle.partitions": "8"}
    assert main(["config", "show", "--set", setting]) == 0
    assert "spark.conf.spark.sql.shuffle.partitions: 8" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="secret"):
        load_config(settings=["spark.conf.spark.hadoop.fs.s3a.secret.key=abc"])


def test_columns_may_be_called_after_secrets_but_not_after_our_own_names() -> None:
    assert load_config(settings=["columns.password_resets.role=numeric"]).columns["password_resets"]
    with pytest.raises(ConfigError, match="reserved"):
        load_config(settings=["columns.split.role=numeric"])


@pytest.mark.parametrize("key", ["text.summarizer.remote.api_key", "text.embedder.remote.base_url"])
def test_load_config_refuses_secrets_without_repeating_them(key: str) -> None:
    secret = "https://user:hunter2222@host/v1" if key.endswith("url") else "sk-abcdefghijklmnop"
    with pytest.raises(ConfigError, match="secret") as caught:
        load_config(settings=[f"{key}={secret}"])
    assert secret not in str(caught.value)


@pytest.mark.parametrize(
    "setting",
    [
        "columns.plan_type.allowed=[basic, 'jdbc:postgresql://h/db?user=u&password=hunter2222']",
        "scoring.templates.age='see https://h/x?api_key=abcdef123'",
        "spark.conf.spark.jdbc.url='jdbc:mysql://h/db;pwd=hunter2222'",
        "columns.age.description='token = abcdef123'",
    ],
)
def test_load_config_refuses_secrets_within_any_text(setting: str) -> None:
    with pytest.raises(ConfigError, match="secret") as caught:
        load_config(settings=[setting])
    assert "hunter2222" not in str(caught.value)
    assert "abcdef123" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("spark.sql.files.ignoreCorruptFiles", "true"),
        ("spark.sql.files.ignoreMissingFiles", "TRUE"),
        ("spark.sql.session.timeZone", "Europe/Berlin"),
        ("spark.hadoop.parquet.page.verify-checksum.enabled", "false"),
    ],
)
def test_load_config_refuses_spark_settings_that_lose_rows(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match="without a word") as caught:
        load_config(settings=[f"spark.conf.{key}={value}"])
    assert caught.value.where == f"spark.conf.{key}"
    assert load_config(settings=["spark.conf.spark.sql.files.ignoreCorruptFiles=false"])


@pytest.mark.parametrize(
    "options",
    [
        {"raw": "t1 where 1=0 union all select 99"},
        {"output": "../../x"},
        {"output": "data"},
        {"output": "data/sample/customers.csv"},
        {"output": "."},
        {"raw": "{{job.parameters.raw}}"},
        {"raw": ""},
    ],
)
def test_load_config_refuses_bad_locations(options: dict[str, str]) -> None:
    with pytest.raises(ConfigError):
        load_config(options=options)


@pytest.mark.parametrize(
    "options", [{"raw": "main.crm.customers"}, {"raw": "s3://b/k.csv"}, {"raw": "my file.csv"}]
)
def test_load_config_accepts_paths_and_tables(options: dict[str, str]) -> None:
    assert load_config(options=options).raw == options["raw"]


def test_load_config_missing_layer_lists_the_places_tried() -> None:
    with pytest.raises(ConfigError, match=r"tried .*nowhere\.yaml"):
        load_config(["nowhere.yaml"])


def test_is_table_name_tells_names_from_paths() -> None:
    assert is_table_name("main.crm.customers")
    assert is_table_name("crm.customers")
    assert not any(map(is_table_name, ["customers.csv", "out", "a/b.c", "a.b.c.d", "a.b; drop"]))


def test_output_in_a_word_keeps_what_else_is_said_of_it(tmp_path: Path) -> None:
    path = layer(tmp_path, "output: {path: a, private: false}")
    assert load_config([path], options={"output": "b"}).output == Output(path="b", private=False)
    assert load_config([path], settings=["output.private=true"]).output == Output(path="a", private=True)
    assert load_config().output.private


def test_leakage_can_be_given_in_a_word() -> None:
    assert load_config(settings=["leakage.allow=[age]", "leakage=fail"]).leakage.allow == ("age",)
    assert load_config(settings=["leakage=fail"]).leakage.action == "fail"
    with pytest.raises(ConfigError):
        load_config(settings=["leakage=perhaps"])


def test_json_schema_file_is_current() -> None:
    assert json.loads((ROOT / "conf" / "schema.json").read_text()) == json_schema()


def test_a_text_column_inherits_what_it_does_not_say() -> None:
    config = load_config(settings=["text.max_chars=500", "text.columns.ticket_notes.embedder.name=static"])
    own = config.text.of("ticket_notes")
    assert (own.embedder.name, own.embedder.batch_size, own.max_chars) == ("static", 64, 500)
    assert config.text.of("another").embedder == config.text.embedder
    assert type(config.text).model_validate(config.text.model_dump()) == config.text


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("text.columns.ticket_notes.embedder.nam=x", "did you mean text.columns.ticket_notes.embedder.name"),
        ("text.columns.ticket_notes.cache=x", "unknown setting"),
        ("text.columns.plan_type.source=note", "plan_type"),
    ],
)
def test_settings_of_a_text_column_are_checked(setting: str, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(settings=[setting])
    assert words in str(caught.value)


@pytest.mark.parametrize("share", ["validation", "calibration"])
def test_shares_that_went_are_refused_with_a_sentence(share: str) -> None:
    with pytest.raises(ConfigError, match="by cross-fitting, judged; leave the setting out"):
        load_config(settings=[f"split.{share}=0.15"])
