"""A section of the pipeline's settings: checked values, and the part of them that determines what is computed."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator
from pydantic.fields import FieldInfo

from mtbench.records.values import JsonObject


class Section(BaseModel):
    """Settings that belong together; frozen, checked on construction.

    A setting that came later than the first specifications (schema 1) is declared with
    ``Field(..., json_schema_extra={"since": 2})``: it is absent from specifications and fingerprints while it has its
    default, so that what ran before it existed keeps its id. Where the default means *choose*, and what was chosen may
    be the old behaviour, ``"old": VALUE`` names that value; there it is absent too.
    """

    model_config = ConfigDict(extra="forbid", validate_assignment=True, frozen=True, allow_inf_nan=False)
    without_effect: ClassVar[frozenset[str]] = frozenset()
    """Settings that change no result, and so no specification or fingerprint."""

    def content(self, *, include: Collection[str] | None = None, exclude: Collection[str] = ()) -> JsonObject:
        """The settings as specifications and fingerprints have them, in JSON's types; of ``include`` or all, but
        ``exclude``."""
        names = (n for n in type(self).model_fields if (include is None or n in include) and n not in exclude)
        kept = {n for n in names if n not in self.without_effect and not self._is_absent(n)}
        values = self.model_dump(mode="json", include=kept)
        inner = {n: value for n in kept if isinstance(value := getattr(self, n), Section)}
        return values | {name: section.content() for name, section in inner.items()}

    def _is_absent(self, name: str) -> bool:
        field = type(self).model_fields[name]
        return is_late(field) and getattr(self, name) in old_values(field)

    @field_validator("*", mode="before")
    @classmethod
    def _plain_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        """True is not taken for 1, no integer is larger than the libraries behind can hold, and ``auto`` may be written
        where nothing given means that mtbench chooses."""
        kind = cls.model_fields[str(info.field_name)].annotation
        is_switch = kind is bool or bool in get_args(kind)
        if value == "auto" and type(None) in get_args(kind) and str not in get_args(kind):
            return None
        for item in value if isinstance(value, list | tuple) else [value]:
            if isinstance(item, bool) and not is_switch:
                raise ValueError("true and false are not allowed")
            if isinstance(item, int) and abs(item) >= 2**63:
                raise ValueError("expected an integer within 64 bits")
        return value


def is_late(field: FieldInfo) -> bool:
    """Whether the setting came later than the first specifications."""
    extra = field.json_schema_extra
    return isinstance(extra, dict) and int(str(extra.get("since", 1))) > 1


def old_values(field: FieldInfo) -> list[Any]:
    """The values of a late setting at which all is as it was before: its default, and ``old`` where it is declared."""
    extra = field.json_schema_extra
    old = [extra["old"]] if isinstance(extra, dict) and "old" in extra else []
    return [field.get_default(call_default_factory=True), *old]
