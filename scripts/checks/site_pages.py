"""A hook of mkdocs: the page of commands, made from the command line itself."""

from __future__ import annotations

from typing import Any

import typer
from mkdocs.structure.files import File, Files

from prosafeprune.cli.application import app

INTRODUCTION = """# Commands

What `prosafeprune COMMAND --help` prints, as one page.
"""


def on_files(files: Files, *, config: Any) -> Files:
    """Add commands.md to the site."""
    files.append(File.generated(config, "commands.md", content=commands_page()))
    return files


def commands_page() -> str:
    """Return every command with its options, as Markdown."""
    group: Any = typer.main.get_command(app)
    return "\n".join([INTRODUCTION, *(_section(name, command) for name, command in group.commands.items())])


def _section(name: str, command: Any) -> str:
    """Return a command's description and one table for each panel of its options."""
    parts = [f"## {name}", command.help or ""]
    panels: dict[str, list[str]] = {}
    for parameter in command.params:
        described = getattr(parameter, "help", None) or ""
        shown = ", ".join(f"`{option}`" for option in parameter.opts)
        title = getattr(parameter, "rich_help_panel", None) or "Options"
        panels.setdefault(title, []).append(f"| {shown} | {_cell(described)} |")
    parts += ["\n".join([f"### {name}: {title}", "", "| | |", "|---|---|", *rows]) for title, rows in panels.items()]
    if command.epilog:
        parts.append(f"```text\n{command.epilog.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("[", "\\[").replace("<", "&lt;")
