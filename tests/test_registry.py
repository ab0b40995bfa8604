"""Plugins are found by reading source; what is wrong with one is said, and leaves the others working."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mtbench.errors import PluginError, UnknownNameError
from mtbench.hyperparameters import hyperparameters
from mtbench.registry import PLUGIN_VARIABLE, add_plugin_files, entries, get_optimizer, get_suite, lookup

SOURCE = '''
from mtbench import LossWeighting

class {cls}(LossWeighting):
    """Uniform weights.

    More text.
    """
    name = "{name}"

    def weights_from_losses(self, losses):
        return [1 / len(losses)] * len(losses)
'''


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PLUGIN_VARIABLE, "")


def plugin(folder: Path, name: str, file: str | None = None, cls: str = "Mine") -> Path:
    path = folder / (file or f"{name}.py")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(SOURCE.format(name=name, cls=cls), encoding="utf-8")
    return path


def package(site: Path, name: str, module: str, source: str, target: str) -> None:
    """A package as pip would have installed it, with one entry point ``name = target``."""
    (site / f"{module}.py").write_text(source, encoding="utf-8")
    about = site / f"{module}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(f"[mtbench.optimizers]\n{name} = {target}\n")


def test_the_methods_of_the_contract_are_there() -> None:
    contract = (
        "naive pcgrad cgd gradnorm tsage gradvac mgda cagrad imtl_g nash aligned upgrad uw dwa famo "
        "static rlw fairgrad stch groupdro idro dbmtl excessmtl go4align graddrop gls imtl_l moco sdmgrad fmtl annealed"
    )
    found = {name for name, entry in entries("optimizer").items() if entry.builtin}
    assert found == set(contract.split())
    for name in found:
        assert get_optimizer(name).name == name
        assert entries("optimizer")[name].summary == get_optimizer(name).summary


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownNameError) as error:
        get_optimizer("tsgae")
    assert "tsage" in error.value.closest
    for part in ("unknown optimizer 'tsgae'", "Did you mean 'tsage'", "cagrad", "mtbench ls optimizers"):
        assert part in str(error.value)
    with pytest.raises(UnknownNameError, match="mtbench ls suites"):
        get_suite("nothing_like_it")
    with pytest.raises(UnknownNameError, match="Did you mean 'tsage'"):
        get_optimizer("TSAGE")


def test_a_plugin_file_is_found_and_its_summary_is_the_docstrings_first_line(tmp_path: Path) -> None:
    file = plugin(tmp_path, "mine")
    add_plugin_files([str(file)])
    assert lookup("optimizer", "mine").summary == "Uniform weights."
    assert lookup("optimizer", "mine").place == str(file)
    assert get_optimizer("mine")().params == {"scale": "mean"}


def test_listing_imports_nothing(tmp_path: Path) -> None:
    file = plugin(tmp_path, "mine")
    file.write_text("raise SystemExit('imported')\n" + file.read_text())
    code = "import sys; from mtbench.registry import entries; e = entries('optimizer'); "
    code += "print('mine' in e, any(m in sys.modules for m in ('torch', 'ray', 'scipy', 'numpy')))"
    env = {**os.environ, PLUGIN_VARIABLE: str(file)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert done.stdout.split() == ["True", "False"], done.stderr


def test_two_plugins_with_one_name_are_an_error_naming_both_files(tmp_path: Path) -> None:
    one, other = plugin(tmp_path, "mine", "one.py"), plugin(tmp_path, "mine", "other.py")
    add_plugin_files([str(one), str(other)])
    with pytest.raises(PluginError) as error:
        entries("optimizer")
    for part in ("'mine'", str(one), str(other), "Rename"):
        assert part in str(error.value)


def test_a_plugin_with_the_name_of_a_built_in_method_is_an_error_naming_both_files(tmp_path: Path) -> None:
    file = plugin(tmp_path, "mgda")
    add_plugin_files([str(file)])
    with pytest.raises(PluginError) as error:
        get_optimizer("mgda")
    assert str(file) in str(error.value)
    assert str(Path("optimizers") / "mgda.py") in str(error.value)


def test_the_same_file_twice_is_no_collision(tmp_path: Path) -> None:
    file = plugin(tmp_path, "mine")
    link = tmp_path / "link.py"
    link.symlink_to(file)
    add_plugin_files([str(file), str(link), str(file)])
    assert "mine" in entries("optimizer")


@pytest.mark.parametrize("name", ["bm25", "untrained"])
def test_the_names_of_baselines_are_nobody_elses(name: str, tmp_path: Path) -> None:
    file = plugin(tmp_path, name)
    add_plugin_files([str(file)])
    with pytest.raises(PluginError, match=f"{file.name}: '{name}' is the name of a baseline"):
        entries("optimizer")


def test_a_byte_order_mark_is_no_part_of_the_source(tmp_path: Path) -> None:
    file = plugin(tmp_path, "mine")
    add_plugin_files([str(file)])
    before = lookup("optimizer", "mine").source_hash()
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert lookup("optimizer", "mine").source_hash() == before
    assert get_optimizer("mine")().params == {"scale": "mean"}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\n", "no plugin class found"),
        ("class Broken(LossWeighting:\n", r"broken\.py:1: cannot be parsed"),
    ],
)
def test_a_file_that_is_no_plugin(source: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "broken.py"
    file.write_text(source)
    with pytest.raises(PluginError, match=says):
        add_plugin_files([str(file)])
    with pytest.raises(PluginError, match="does not exist"):
        add_plugin_files([str(tmp_path / "absent.py")])


def test_a_plugin_that_fails_when_imported_is_named(tmp_path: Path) -> None:
    file = plugin(tmp_path, "mine")
    file.write_text(file.read_text() + "\nimport no_such_module_anywhere\n")
    add_plugin_files([str(file)])
    with pytest.raises(PluginError, match=r"mine\.py: optimizer 'mine' cannot be imported: .*no_such_module_anywhere"):
        get_optimizer("mine")
    assert get_optimizer("naive").name == "naive"


def test_an_edited_plugin_is_loaded_anew(tmp_path: Path) -> None:
    file = plugin(tmp_path, "mine")
    add_plugin_files([str(file)])
    first, before = get_optimizer("mine"), lookup("optimizer", "mine").source_hash()
    file.write_text("# a comment changes nothing\n" + file.read_text())
    assert lookup("optimizer", "mine").source_hash() == before
    assert get_optimizer("mine") is first
    file.write_text(file.read_text() + "\nVERSION = 2\n")
    assert lookup("optimizer", "mine").source_hash() != before
    assert get_optimizer("mine") is not first


def test_an_entry_point_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "mine", "pkg_mine", SOURCE.format(name="mine", cls="Mine"), "pkg_mine:Mine")
    monkeypatch.syspath_prepend(tmp_path)
    entry = lookup("optimizer", "mine")
    assert (entry.summary, entry.module, entry.builtin) == ("Uniform weights.", "pkg_mine", False)
    assert get_optimizer("mine").__module__ == "pkg_mine"


@pytest.mark.parametrize(
    ("source", "target"),
    [("", "pkg_absent_module:Mine"), ("class Mine(:\n", "pkg_broken:Mine")],
    ids=["no such module", "syntax error"],
)
def test_a_broken_entry_point_is_a_warning_and_the_others_work(
    source: str, target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, "broken_one", "pkg_broken", source, target)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match="optimizer plugin 'broken_one' .* is left out"):
        found = entries("optimizer")
    assert "broken_one" not in found
    assert "mgda" in found


def test_an_entry_point_with_a_taken_name_names_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package(tmp_path, "cagrad", "pkg_taken", SOURCE.format(name="cagrad", cls="Mine"), "pkg_taken:Mine")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=r"cagrad\.py[\s\S]*pkg_taken"):
        entries("optimizer")


@pytest.mark.parametrize(
    ("source", "target", "says"),
    [
        ("class Mine:\n    name = 'mine'\n", "pkg_plain:Mine", "not a subclass"),
        ("x = 1\n", "pkg_lost:Lost", "has no class Lost"),
    ],
)
def test_an_entry_point_that_is_no_optimizer(
    source: str, target: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, "mine", target.split(":")[0], source, target)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(PluginError, match=says):
        get_optimizer("mine")


@pytest.mark.parametrize("name", sorted(entries("optimizer")))
def test_defaults_read_from_the_source_are_those_of_the_class(name: str) -> None:
    """Tables compare records with them and load no optimizer."""
    declared = {n: h.default for n, h in hyperparameters(get_optimizer(name)).items()}
    assert lookup("optimizer", name).defaults == declared
