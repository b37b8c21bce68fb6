"""What many tests need: directories that an unprivileged PostgreSQL can reach, and a fresh database for each test."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def data_directory() -> Iterator[Path]:
    """A place for a server's data. Unlike `tmp_path`, PostgreSQL's user may enter it when the tests run as root."""
    directory = Path(tempfile.mkdtemp(prefix="slipway-test-"))
    directory.chmod(0o711)
    yield directory / "data"
    shutil.rmtree(directory)
