"""mtbench check: a line per check, exit 1 if one fails."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mtbench.cli.main import main
from mtbench.optim import conformance
from mtbench.optim.conformance import Check


@pytest.fixture
def one_bad_check(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Check("good", True, "holds"), Check("bad one", False, "does not")]
    monkeypatch.setattr(conformance, "check_optimizer", lambda name, file: found)


@pytest.mark.usefixtures("one_bad_check")
def test_a_line_for_each_check_and_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "optimizer", "naive"]) == 1
    shown = capsys.readouterr()
    assert shown.out.splitlines() == ["ok    good     holds", "FAIL  bad one  does not"]
    assert "naive: 1 of 2 checks hold" in shown.err


@pytest.mark.usefixtures("one_bad_check")
def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "optimizer", "naive", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["subject"], result["ok"]) == ("naive", False)
    assert result["checks"][1] == {"name": "bad one", "ok": False, "sentence": "does not"}


def test_mistakes_are_exit_code_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "optimizer"]) == 2
    assert main(["check", "optimizer", "mgdaa"]) == 2
    assert "Did you mean 'mgda'" in capsys.readouterr().err
    assert main(["check", "optimizer", "--file", str(tmp_path / "absent.py")]) == 2
    assert main(["check"]) in (0, 2)


@pytest.mark.parametrize("name", ["valley", "crafts"])
def test_a_suite_folder(name: str, suites: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "suite", str(suites / name), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["ok"] and result["checks"][0]["name"] == "declaration"
    assert all(row["ok"] and row["sentence"] for row in result["checks"])


def test_a_real_suite_folder(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = shared_data / "own"
    code = main(["check", "suite", str(folder), "--json"])
    result = json.loads(capsys.readouterr().out)
    assert code == (0 if result["ok"] else 1)
    assert result["checks"][0]["name"] == "declaration"
    assert all(row["sentence"] for row in result["checks"])


def test_a_suite_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "suite.toml").write_text("name = \n")
    assert main(["check", "suite", str(tmp_path)]) == 1
    assert "FAIL" in capsys.readouterr().out


PLUGIN = """
import sys

import numpy as np

from mtbench import LossWeighting


class Nasty(LossWeighting):
    \"\"\"Uniform weights.\"\"\"

    name = "nasty"
    summary = "uniform weights"
    {field}

    def weights_from_losses(self, losses):
        {body}
        return np.full(len(losses), 1 / len(losses))
"""


@pytest.mark.parametrize(
    ("body", "says"), [("sys.exit(0)", "raised SystemExit"), ("print('noise')", "is the same as naive")]
)
def test_a_plugin_neither_ends_the_checks_nor_talks_into_the_json(
    body: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "nasty.py"
    file.write_text(PLUGIN.format(body=body, field=""))
    assert main(["check", "optimizer", "--file", str(file), "--json"]) == 1
    found = capsys.readouterr()
    sentences = [check["sentence"] for check in json.loads(found.out)["checks"] if not check["ok"]]
    assert any(says in sentence or "naive" in sentence for sentence in sentences)
    assert ("noise" in found.err) == ("noise" in body)


def test_a_plugin_that_ends_its_import_and_one_without_a_default(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "nasty.py"
    file.write_text("raise SystemExit(3)\n" + PLUGIN.format(body="pass", field=""))
    assert main(["check", "optimizer", "--file", str(file)]) == 2
    assert "it calls sys.exit(3)" in capsys.readouterr().err
    file.write_text(PLUGIN.format(body="pass", field="power: float"))
    assert main(["run", "--optimizer", "nasty", "--plugin", str(file), "--suite", "kilt", "--dry-run"]) == 2
    assert "Nasty: the hyperparameter 'power' has no default" in capsys.readouterr().err


def test_a_name_that_the_file_does_not_have(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "nasty.py"
    file.write_text(PLUGIN.format(body="pass", field=""))
    assert main(["check", "optimizer", "naive", "--file", str(file)]) == 2
    assert "has no optimizer 'naive'; it has nasty" in capsys.readouterr().err
    file.write_text(
        PLUGIN.format(body="pass", field="") + PLUGIN.format(body="pass", field="").replace("Nasty", "Twin")
    )
    assert main(["check", "optimizer", "--file", str(file)]) == 2
    assert "two optimizers are called 'nasty'" in capsys.readouterr().err
