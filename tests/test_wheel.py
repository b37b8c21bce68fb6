import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(directory), str(ROOT))
    [built] = directory.glob("*.whl")
    return built


def pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", *arguments], check=True, capture_output=True)


def test_it_has_the_migrations_and_what_the_browser_gets(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())

    migrations = {f"app/_{path.relative_to(ROOT)}" for path in ROOT.glob("migrations/**/*.py")}
    static = {str(path.relative_to(ROOT)) for path in ROOT.glob("app/web/static/**/*") if path.is_file()}
    assert len(migrations) > 1
    assert migrations | static <= names


def test_it_has_nothing_else_but_the_package(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    assert {name.split("/")[0].partition("-")[0] for name in names} == {"app", "slipway"}
    assert [name for name in names if name.startswith("app/web/graphiql/") or "__pycache__" in name] == []


def test_installed_it_runs_in_an_empty_directory(wheel: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    pip("install", "--no-deps", "--no-index", "--target", str(site), str(wheel))
    empty = tmp_path / "empty"
    empty.mkdir()

    answer = subprocess.run(
        [str(site / "bin" / "slipway"), "--help"],
        cwd=empty,
        env={"PYTHONPATH": str(site)},
        check=True,
        capture_output=True,
        text=True,
    )

    for command in ("serve", "migrate", "token", "schema", "reconcile"):
        assert command in answer.stdout
    assert answer.stderr == ""
    assert list(empty.iterdir()) == []
