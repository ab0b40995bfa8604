"""The hyperparameters that a profile or a suite sets, checked against what the methods declare."""

from __future__ import annotations

from mtbench.config import METHODS, profile_params
from mtbench.errors import ConfigError, UnknownNameError
from mtbench.hyperparameters import hyperparameters
from mtbench.records.values import Params, Settings
from mtbench.registry import get_optimizer


def checked_profile_params(profile: str, encoder: str | None, carried: Settings) -> dict[str, Params]:
    """Method -> hyperparameters that ``profile`` and what the suite carries for ``mini`` set, in the declared types.

    All methods that are named are looked up, whichever is run: a misspelt table would change nothing and look like a
    setting. ConfigError for a method or hyperparameter that there is not, or a value out of its range.
    """
    found: dict[str, Params] = {}
    for name, table in profile_params(profile, encoder, carried).items():
        place = f"profile {profile}: [{METHODS}.{name}]"
        try:
            declared = hyperparameters(get_optimizer(name))
        except UnknownNameError as error:
            raise ConfigError(f"{place}: {error}") from None
        unknown = sorted(table.keys() - declared.keys())
        if unknown:
            known = ", ".join(declared)
            raise ConfigError(f"{place}: {name} has no hyperparameter {unknown[0]!r}; it has: {known}")
        found[name] = {key: declared[key].check(value, place) for key, value in table.items()}
    return found
