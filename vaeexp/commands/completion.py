"""The command completion."""

import os
from pathlib import Path

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]), required=False)
@click.pass_context
def completion(ctx: click.Context, *, shell: str | None) -> None:
    """Print the completion script of a shell.

    It completes vaeexp's commands, options and studies. Without an argument it is for the shell that SHELL names. For bash: eval "$(vaeexp completion bash)".
    """
    chosen = shell or Path(os.environ.get("SHELL", "")).name
    make = get_completion_class(chosen) if chosen in ("bash", "zsh", "fish") else None
    if make is None:
        raise click.UsageError("SHELL names none of bash, zsh and fish. Say which one: vaeexp completion bash", ctx)
    click.echo(make(ctx.find_root().command, {}, "vaeexp", "_VAEEXP_COMPLETE").source())
