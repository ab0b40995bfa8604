"""Plain values, as JSON has them: what specifications, settings and reports are made of."""

from __future__ import annotations

from typing import Any, TypeAlias

Number: TypeAlias = int | float | None
JsonObject: TypeAlias = dict[str, Any]
"""A JSON object whose keys are not known here."""
Params: TypeAlias = dict[str, Any]
"""Hyperparameters: name -> value of the type that the optimizer declares."""
Settings: TypeAlias = dict[str, dict[str, Any]]
"""Settings of the pipeline: section -> key -> value of the type that the section declares."""
