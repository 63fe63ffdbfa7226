"""The second half of docs/cli.md, made from the commands' own help. `python -m tests.cli.reference` writes it."""

from collections.abc import Iterator

import click

from lockd.cli import main
from tests.cli.command import ROOT

DOCS = ROOT / "docs" / "cli.md"
MARK = "<!-- What follows is written by `python -m tests.cli.reference`. -->\n"
WIDTH = 80


def help_texts() -> Iterator[tuple[str, str]]:
    """Each command as it is called, with what --help prints."""
    settings = {**main.context_settings, "terminal_width": WIDTH, "max_content_width": WIDTH}
    with click.Context(main, info_name="lockd", **settings) as root:
        yield "lockd", main.get_help(root)
        yield from _of_commands(main, root, "lockd")


def _of_commands(group: click.Group, parent: click.Context, title: str) -> Iterator[tuple[str, str]]:
    for name, command in group.commands.items():
        with click.Context(command, info_name=name, parent=parent) as context:
            yield f"{title} {name}", command.get_help(context)
            if isinstance(command, click.Group):
                yield from _of_commands(command, context, f"{title} {name}")


def reference() -> str:
    return "\n".join(f"## {title}\n\n```\n{text}\n```\n" for title, text in help_texts())


def by_hand(text: str) -> str:
    """What stands before the mark."""
    return text.partition(MARK)[0]


if __name__ == "__main__":
    DOCS.write_text(f"{by_hand(DOCS.read_text())}{MARK}\n{reference()}")
