"""Hooks of mkdocs: the page of commands, made from the command line itself, and docstrings without Sphinx's roles."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer
from mkdocs.structure.files import File, Files

from prosafeprune.cli.application import app

INTRODUCTION = """# Commands

What `prosafeprune COMMAND --help` prints, as one page.
"""
ROLE = re.compile(r":(?:class|func|meth|mod):(?=<code>)")


def on_files(files: Files, *, config: Any) -> Files:
    """Add commands.md to the site."""
    files.append(File.generated(config, "commands.md", content=commands_page()))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Return a page without the roles that docstrings give to names: here they would be shown as they are written."""
    return ROLE.sub("", html)


def commands_page() -> str:
    """Return every command with its options, as Markdown."""
    group: Any = typer.main.get_command(app)
    return "\n".join([INTRODUCTION, *(_section(name, command) for name, command in _commands(group))])


def _commands(group: Any, before: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the commands of a group by the names they are called by, each group before its commands."""
    for name, command in group.commands.items():
        yield before + name, command
        if hasattr(command, "commands"):
            yield from _commands(command, f"{before}{name} ")


def _section(name: str, command: Any) -> str:
    """Return a command's description and one table for each panel of its options."""
    parts = [f"## {name}", command.help or ""]
    panels: dict[str, list[str]] = {}
    context = typer.Context(command, info_name=name)
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is None:  # hidden
            continue
        described = record[1]
        shown = ", ".join(f"`{option}`" for option in parameter.opts)
        title = getattr(parameter, "rich_help_panel", None) or "Options"
        panels.setdefault(title, []).append(f"| {shown} | {_cell(described)} |")
    parts += ["\n".join([f"### {name}: {title}", "", "| | |", "|---|---|", *rows]) for title, rows in panels.items()]
    if command.epilog:
        parts.append(f"```text\n{command.epilog.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("[", "\\[").replace("<", "&lt;")
