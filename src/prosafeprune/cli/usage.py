"""The usage line and the --help option as readers know them from other programs; Typer has its own."""

from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup


class PlainCommand(TyperCommand):
    """A command whose usage line shows arguments as ``MODEL [PRUNED]``."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        """Return the parts of the usage line: an optional argument in brackets, a required one bare."""
        arguments = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, TyperArgument)]
        return ["[OPTIONS]", *map(_shown, arguments)]

    def get_help_option(self, ctx: Any) -> Any:
        """Return --help, which takes no value."""
        return _without_value(super().get_help_option(ctx))


class PlainGroup(TyperGroup):
    """A group of commands with the same --help."""

    def get_help_option(self, ctx: Any) -> Any:
        """Return --help, which takes no value."""
        return _without_value(super().get_help_option(ctx))


def _shown(argument: TyperArgument) -> str:
    name = argument.metavar or str(argument.name).upper()
    if argument.metavar is None and argument.nargs != 1:
        name += "..."
    return name if argument.required else f"[{name}]"


def _without_value(option: Any) -> Any:
    if option is not None:
        option.metavar = ""
    return option
