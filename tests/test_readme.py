"""The commands of the README and the docs: each is a command that exists, and those that cost little are run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from mtbench.cli.main import build_app, main

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
CHEAP = ("ls", "info", "doctor", "leaderboard")


def commands() -> list[tuple[str, str]]:
    """``(page, command)`` of every line of a bash block that calls mtbench."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```(?:bash|sh|console)?\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for line in re.sub(r"\\\n\s*", " ", block).splitlines():
                for part in line.split("&&"):
                    text = part.split(" #")[0].strip().removeprefix("$ ")
                    if text.startswith("mtbench "):
                        found.append((page.name, text))
    return found


def test_the_readme_has_the_two_commands_of_a_fresh_machine() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "pip install -e . && mtbench run --optimizer tsage --suite kilt" in text
    assert "pip install -e '.[dev]' && pytest" in text


@pytest.mark.parametrize(("page", "command"), commands())
def test_every_command_has_a_verb_and_options_that_exist(page: str, command: str) -> None:
    import typer

    app = typer.main.get_command(build_app())
    words = shlex.split(command)[1:]
    verb = app.commands[words[0]]  # type: ignore[attr-defined]
    rest = words[1:]
    if hasattr(verb, "commands"):
        verb, rest = verb.commands[rest[0]], rest[1:]
    known = {
        name for option in verb.params for name in getattr(option, "opts", []) + getattr(option, "secondary_opts", [])
    }
    used = {word.split("=")[0] for word in rest if word.startswith("--")}
    assert used <= known | {"--help"}, f"{page}: {command}"


@pytest.mark.parametrize(
    "command", sorted({c for p, c in commands() if p == "README.md" and shlex.split(c)[1] in CHEAP})
)
def test_cheap_commands_run(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path))
    monkeypatch.chdir(ROOT)
    assert main(shlex.split(command)[1:]) in ((0, 1) if "doctor" in command else (0,))


@pytest.mark.parametrize(
    "command", sorted({c for p, c in commands() if p == "README.md" and shlex.split(c)[1] in ("run", "sweep")})
)
def test_runs_and_sweeps_can_be_planned(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MTBENCH_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    arguments = shlex.split(command)[1:]
    assert main([*arguments, *([] if "--dry-run" in arguments else ["--dry-run"])]) == 0


def test_every_page_that_is_linked_exists() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links {target}"
