"""Options of a command that are the fields of a dataclass.

typer makes options from a function's signature. `with_fields` gives a function another signature,
in which a parameter that stands for a dataclass is replaced by one option for each field:

    def encode(source: Source, common: Common)        as it is written
    encode SRC --jobs … --report …                    as typer sees it
    encode(source, common=Common(jobs=…, report=…))   as it is called

A field describes its option. A dataclass of the command line uses typer's annotation, as any
command does: `jobs: Annotated[int, typer.Option(…)]`. A dataclass of the library does not use
typer. It has the text of the help in the field's metadata, under "help".

A parameter of type `Given[Settings]` gets a dict of only those options that the user gave. All its
options may be left out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import Field, fields, is_dataclass
from functools import wraps
from inspect import Parameter
from typing import Annotated, Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import typer

T = TypeVar("T")


class Given(dict[str, Any], Generic[T]):
    """Those options of the dataclass T that the user gave, by name."""


def with_fields(
    function: Callable[..., None], groups: Mapping[str, str] | None = None
) -> Callable[..., None]:
    """The function with the signature that typer should see, as the top of this file describes.

    Args:
        groups: the group of an option on the help page, by the name of its field. Only for fields
            of dataclasses that do not use typer.
    """
    hints = get_type_hints(function, include_extras=True)
    own: list[Parameter] = []
    from_fields: dict[str, list[Parameter]] = {}  # by the name of the parameter that they replace
    for parameter in inspect.signature(function).parameters.values():
        hint = hints[parameter.name]
        settings, optional = hint, False
        if get_origin(hint) is Given:
            (settings,), optional = get_args(hint), True
        if is_dataclass(settings):
            from_fields[parameter.name] = _parameters_of(settings, optional, groups or {})
        else:
            own.append(parameter.replace(annotation=hint, kind=Parameter.KEYWORD_ONLY))

    @wraps(function)
    def call(**values: Any) -> None:
        for name, parameters in from_fields.items():
            chosen = {parameter.name: values.pop(parameter.name) for parameter in parameters}
            values[name] = _value_of(hints[name], chosen)
        function(**values)

    parameters = [*own, *(entry for entries in from_fields.values() for entry in entries)]
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {entry.name: entry.annotation for entry in parameters}
    return call


def _value_of(hint: Any, chosen: dict[str, Any]) -> Any:
    """What the function gets: the dataclass, or the options that the user gave."""
    if get_origin(hint) is Given:
        return Given({name: value for name, value in chosen.items() if value is not None})
    return hint(**chosen)


def _parameters_of(settings: Any, optional: bool, groups: Mapping[str, str]) -> list[Parameter]:
    """A parameter for each field of a dataclass.

    Args:
        optional: whether options may be left out. Their default is None then.
        groups: as `with_fields` takes them.
    """
    hints = get_type_hints(settings, include_extras=True)
    return [
        _parameter_of(entry, hints[entry.name], optional, groups.get(entry.name))
        for entry in fields(settings)
    ]


def _parameter_of(entry: Field[Any], hint: Any, optional: bool, group: str | None) -> Parameter:
    """The parameter of one field."""
    if "help" in entry.metadata:
        flag = f"--{entry.name.replace('_', '-')}"
        text = entry.metadata["help"].replace("[", "\\[")  # typer reads [] as markup
        shown = typer.Option(flag, help=text, rich_help_panel=group)
        hint = Annotated[hint | None if optional else hint, shown]
    default = None if optional else entry.default
    return Parameter(entry.name, Parameter.KEYWORD_ONLY, default=default, annotation=hint)
