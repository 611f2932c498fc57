"""What stays together when rows are split: a column with role group, or `split.group`."""

import pytest

from churn_spark.errors import ConfigError
from churn_spark.settings.layers import load_config

HOUSEHOLD = "columns.household_id.role"


def test_a_column_with_role_group_needs_no_setting() -> None:
    config = load_config(settings=[f"{HOUSEHOLD}=group"])
    assert config.contract.group == "household_id"
    assert "household_id" in [c.name for c in config.contract.shown]
    assert "household_id" not in [c.name for c in config.contract.role("numeric", "categorical")]


def test_split_group_names_a_column_that_is_an_input_too() -> None:
    assert load_config(settings=["split.group=plan_type"]).contract.group == "plan_type"
    assert load_config().contract.group is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["split.group=household"], "household is no column"),
        (["split.group=age"], "age is no column"),
        ([f"{HOUSEHOLD}=group", "split.group=plan_type"], "the column with role group is household_id"),
        ([f"{HOUSEHOLD}=group", "columns.street.role=group"], "exactly one column has role group"),
    ],
)
def test_a_group_that_is_none_is_refused(settings: list[str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load_config(settings=settings)
