"""A layer proposed from files: it validates the same table, and the real tables are understood."""

from pathlib import Path

import pytest
import yaml
from helpers import real_table

from churn_spark.cli import main


def test_init_writes_a_layer_that_validates_the_same_table(
    spark, raw: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layer = tmp_path / "mine.yaml"
    assert main(["init", "--raw", str(raw), "--to", str(layer)]) == 0
    roles = {name: spec["role"] for name, spec in yaml.safe_load(layer.read_text())["columns"].items()}
    assert roles == {
        "customer_id": "id", "age": "numeric", "tenure": "numeric", "spend_rate": "numeric",
        "plan_type": "categorical", "churn": "label", "ticket_notes": "text",
    }  # fmt: skip
    assert main(["init", "--raw", str(raw), "--to", str(layer)]) == 2
    assert "there already" in capsys.readouterr().err


def test_init_understands_a_real_company_table(
    spark, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", "--raw", str(real_table("telco_feedback.csv"))]) == 0
    columns = yaml.safe_load(capsys.readouterr().out)["columns"]
    by_role: dict[str, list[str]] = {}
    for name, spec in columns.items():
        by_role.setdefault(spec["role"], []).append(name)
    assert by_role["id"] == ["customer_id"]
    assert by_role["label"] == ["churn"]
    assert by_role["text"] == ["customer_feedback"]
    assert by_role["numeric"] == ["tenure", "monthly_charges", "total_charges"]
    assert len(by_role["categorical"]) == 16
