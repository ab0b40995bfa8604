"""The three verbs from the outside: exit codes, one JSON object, messages that say what to do."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest
from synthetic_records import family, make_record, write_all

from mtbench.cli.main import main


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_all(tmp_path_factory.mktemp("results"), [*family(3, tsage=0.012), make_record("cgd", 0)])


def run(capsys: pytest.CaptureFixture[str], results: Path, *arguments: str) -> tuple[int, str, str]:
    code = main([*arguments, "--results", str(results), "--suite", "toy"])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_leaderboard_prints_a_table(capsys: pytest.CaptureFixture[str], results: Path) -> None:
    code, out, _ = run(capsys, results, "leaderboard")
    assert code == 0 and "tsage" in out and "Holm" in out


def test_json_is_one_object_and_csv_is_only_csv(capsys: pytest.CaptureFixture[str], results: Path) -> None:
    _, out, _ = run(capsys, results, "leaderboard", "--json")
    assert json.loads(out)["suite"] == "toy"
    _, out, _ = run(capsys, results, "leaderboard", "--format", "csv")
    assert {line["method"] for line in csv.DictReader(io.StringIO(out))} >= {"tsage", "BM25"}


def test_write_puts_files_beside_the_runs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = write_all(tmp_path / "r", family(2))
    readme = tmp_path / "README.md"
    readme.write_text("<!-- leaderboard:toy:begin --><!-- leaderboard:toy:end -->")
    code, _, err = run(capsys, folder, "leaderboard", "--write", "--readme", str(readme))
    assert code == 0 and len(list((folder / "leaderboards").iterdir())) == 5
    assert "untrained encoder" in readme.read_text() and "README.md" in err.replace("\n", "")
    readme.write_text("no marks\n")
    _, _, err = run(capsys, folder, "leaderboard", "--write", "--readme", str(readme))
    assert "has no leaderboard block (<!-- leaderboard:toy:begin -->)" in " ".join(err.split())


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["leaderboard", "--format", "xls"], "terminal, md, csv"),
        (["leaderboard", "--metric", "f1"], "recall@100"),
        (["leaderboard", "--write", "--readme", "nowhere/README.md"], "no such file"),
        (["leaderboard", "--profile", "paper"], "mtbench run"),
        (["compare", "tsage", "nobody"], "cgd"),
        (["plot", "--kind", "pie"], "curves"),
        (["plot", "--kind", "entropy"], "--until analyze"),
    ],
)
def test_a_users_mistake_is_one_message_and_code_2(
    capsys: pytest.CaptureFixture[str], results: Path, arguments: list[str], says: str
) -> None:
    code, out, err = run(capsys, results, *arguments)
    assert code == 2 and out == ""
    assert says in err and "Traceback" not in err


def test_compare_prints_or_emits(capsys: pytest.CaptureFixture[str], results: Path, tmp_path: Path) -> None:
    code, out, _ = run(capsys, results, "compare", "tsage", "naive", "--store", str(tmp_path))
    assert code == 0 and "n = 3 seeds" in out and "No evidence over queries" in out
    _, out, _ = run(capsys, results, "compare", "tsage", "naive", "--store", str(tmp_path), "--json")
    assert json.loads(out)["average"]["seeds"]["star"] is True


def test_plot_writes_the_file_it_names(capsys: pytest.CaptureFixture[str], results: Path) -> None:
    pytest.importorskip("matplotlib")
    code, out, _ = run(capsys, results, "plot", "--kind", "gain", "--format", "svg", "--json")
    assert code == 0 and Path(json.loads(out)["file"]).read_text().startswith("<?xml")


@pytest.mark.parametrize("module", ["leaderboard", "compare", "plot"])
def test_the_verbs_import_nothing_heavy(module: str) -> None:
    import subprocess

    code = f"import sys, mtbench.cli.{module}; print(sorted({{'torch','numpy','pandas','scipy'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
