"""Frozen dataclasses of dimensions, as JSON and back. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, is_dataclass
from typing import Any, Self, get_type_hints


@dataclass(frozen=True)
class Dimensions:
    """Base of every config: plain fields, checked when it is made."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON-able fields."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Self:
        """Inverse of `to_dict`. Raises ValueError on unknown or bad fields."""
        if not isinstance(given, dict):
            raise ValueError("model dimensions must be named")
        hints = get_type_hints(cls)
        if unknown := set(given) - {each.name for each in fields(cls)}:
            raise ValueError(f"unknown model dimensions: {', '.join(sorted(unknown))}")
        plain: dict[str, Any] = {}
        for name, value in given.items():
            hint = hints[name]
            if is_dataclass(hint) and isinstance(hint, type) and issubclass(hint, Dimensions):
                plain[name] = hint.from_dict(value)
            else:
                plain[name] = tuple(value) if isinstance(value, list) else value
        try:
            return cls(**plain)
        except TypeError as error:
            raise ValueError(f"bad model dimensions: {error}") from error

    def positive(self, *names: str) -> None:
        """Raises ValueError unless these fields are whole numbers above 0."""
        for name in names:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a positive whole number, not {value!r}")
