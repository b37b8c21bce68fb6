"""`slipway token create`: an operator's way in, over a database of its own."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlmodel import select
from typer.testing import CliRunner

from app import cli, main
from app.actions import people
from app.db import tables
from app.db.database import Database
from app.domain.people import Viewer

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, database_url: str, data_directory: Path) -> None:
    """The settings of a server over this test's database."""
    for name in os.environ:
        if name.upper().startswith("SLIPWAY_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("SLIPWAY_DATA_DIR", str(data_directory))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


def create(*arguments: str) -> tuple[int, str, str]:
    """Run it in this process: exit code, standard output and standard error."""
    done = CliRunner().invoke(cli.app, ["token", "create", *arguments])
    return done.exit_code, done.stdout, done.stderr


def holder(database_url: str, secret: str) -> Viewer | None:
    """Whose token this is."""

    async def authenticate() -> Viewer | None:
        database = Database(database_url)
        try:
            return await people.authenticate(database, secret, main.now())
        finally:
            await database.close()

    return asyncio.run(authenticate())


def usernames(database_url: str) -> list[str]:
    """Everybody there is."""

    async def read() -> list[str]:
        database = Database(database_url)
        async with database.read() as session:
            found = (await session.exec(select(tables.UserRow.username))).all()
        await database.close()
        return sorted(found)

    return asyncio.run(read())


def test_it_makes_the_user_and_prints_nothing_but_the_token(database_url: str) -> None:
    command = [sys.executable, "-c", "from app.cli import main; main()", "token", "create", "--user", "ada", "--admin"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("slw_")
    assert done.stdout.endswith("\n")
    viewer = holder(database_url, done.stdout.removesuffix("\n"))
    assert viewer is not None
    assert (viewer.username, viewer.admin, viewer.groups, viewer.read_only) == ("ada", True, (), False)


def test_a_user_who_is_there_keeps_what_they_have(database_url: str) -> None:
    code, first, _ = create("--user", "ada", "--admin", "--group", "web", "--group", "ml", "--expires-in", "PT24H")
    again, second, _ = create("--user", " ada ", "--read-only", "--group", "ops")
    assert (code, again) == (0, 0)
    ada, reader = holder(database_url, first.strip()), holder(database_url, second.strip())
    assert ada is not None
    assert reader is not None
    assert ada.user_id == reader.user_id
    assert (ada.admin, ada.read_only, ada.groups) == (True, False, ("ml", "ops", "web"))
    assert (reader.admin, reader.read_only, reader.groups) == (True, True, ("ml", "ops", "web"))
    assert usernames(database_url) == ["ada"]


EMPTY = "It is empty: at least one character is needed, blanks do not count."
CONTROL = "Control characters, such as line breaks, can't stand here."
LIFETIME = "It is above zero and at most 87600 hours."


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--user", ""], f"--user: {EMPTY}"),
        (["--user", "a\nb"], f"--user: {CONTROL}"),
        (["--user", "a\udcff"], f"--user: {CONTROL}"),  # what Python makes of an argument that is no UTF-8
        (["--user", "x" * 201], "--user: It has 201 characters; at most 200 are allowed."),
        (["--user", "a", "--label", ""], f"--label: {EMPTY}"),
        (["--user", "a", "--group", "b", "--group", " "], f"--group[1]: {EMPTY}"),
        (["--user", "a", "--expires-in", "a day"], "'a day' is not a Duration: write ISO 8601, like PT8H or PT30M."),
        (["--user", "a", "--expires-in", "PT0S"], f"--expires-in: {LIFETIME}"),
        (["--user", "a", "--expires-in=-PT1H"], f"--expires-in: {LIFETIME}"),
    ],
)
def test_a_wrong_value_is_one_sentence(database_url: str, arguments: list[str], sentence: str) -> None:
    assert create(*arguments) == (2, "", f"{sentence}\n")
    assert usernames(database_url) == []


def test_a_user_is_needed() -> None:
    code, output, error = create()
    assert (code, output) == (2, "")
    assert "Missing option '--user'" in error
