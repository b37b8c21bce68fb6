"""The command line: slipway serve | migrate | token | schema | reconcile.

Each command imports what it needs: `slipway --help` answers at once.
"""
# ruff: noqa: PLC0415  see above

from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from app.settings import Settings

USAGE_EXIT_CODE = 2

app = typer.Typer(
    help="Slipway: a registry and control plane for containerised services behind a GraphQL API.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
tokens = typer.Typer(help="Tokens for users.", no_args_is_help=True)
app.add_typer(tokens, name="token")


@app.command()
def serve() -> None:
    """Serve the API, reconcile workloads, and run the embedded PostgreSQL where DATABASE_URL is not set."""
    from app import main

    _run(lambda settings: main.serve(settings, typer.echo))


@app.command()
def reconcile() -> None:
    """Reconcile workloads without serving the API: any number of these may run."""
    from app import main

    _run(lambda settings: main.reconcile(settings, typer.echo))


@app.command()
def migrate() -> None:
    """Bring the database to the newest migration, and stop."""
    from app import main

    async def connect_once(settings: "Settings") -> None:
        async with main.connected(settings, share=True):
            pass

    _run(connect_once)


@app.command()
def schema() -> None:
    """Print the GraphQL schema."""
    from app.api import schema as graph

    typer.echo(graph.build().as_str())


@tokens.command("create")
def create_token(
    user: Annotated[str, typer.Option(help="The user; made where there is none.")],
    admin: Annotated[bool, typer.Option("--admin", help="Make the user an administrator.")] = False,
    group: Annotated[list[str] | None, typer.Option(help="Put the user into this group; may be repeated.")] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="The token can query only.")] = False,
    expires_in: Annotated[str | None, typer.Option(help="When it ends: PT24H. Left out: never.")] = None,
    label: Annotated[str, typer.Option(help="What it is for.")] = "command line",
) -> None:
    """Make a token, and print nothing but its secret."""
    from app import main
    from app.actions import people
    from app.api.scalars import read_duration

    async def issue(settings: "Settings") -> None:
        duration = None if expires_in is None else read_duration(expires_in)
        new = people.NewToken(label=label, expires_in=duration, read_only=read_only)
        async with main.connected(settings, share=True) as database:
            secret = await people.issue_token(database, user, new, main.now(), admin=admin, groups=group or ())
        typer.echo(secret)

    _run(issue)


def _run(command: Any) -> None:
    """Run a command with the settings of the environment. What is wrong is one sentence, and exit code 2."""
    import asyncio

    import uvloop
    from graphql import GraphQLError

    from app import settings
    from app.db.embedded import EmbeddedPostgresqlError
    from app.domain.errors import SlipwayError
    from app.main import StartError

    try:
        work: Coroutine[Any, Any, None] = command(settings.load())
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(work)
    except (settings.SettingsError, EmbeddedPostgresqlError, SlipwayError, StartError, GraphQLError) as error:
        typer.echo(error, err=True)
        raise SystemExit(USAGE_EXIT_CODE) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None


def main() -> None:
    """The entry of the console script."""
    app()
