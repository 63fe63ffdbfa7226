"""Verbs of one kind."""

import click


class InOrder(click.Group):
    """Lists its commands in the order of their use, which is that of their definitions."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)
