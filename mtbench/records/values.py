"""Plain values, as JSON has them: what specifications, settings and reports are made of."""

from __future__ import annotations

from typing import Any, TypeAlias

JsonObject: TypeAlias = dict[str, Any]
"""A JSON object whose keys are not known here."""
Report: TypeAlias = dict[str, Any]
"""Plain numbers of an optimizer's step: always ``weights`` (K effective task weights, mean form), and what a method
adds."""
Params: TypeAlias = dict[str, Any]
"""Hyperparameters: name -> value of the type that the optimizer declares."""
Settings: TypeAlias = dict[str, dict[str, Any]]
"""Settings of the pipeline: section -> key -> value of the type that the section declares."""
