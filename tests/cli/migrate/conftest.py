import os

import pytest

from kwapi.cli.main import main


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith("KWAPI_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def migrate(tmp_path, capsys):
    """Return what takes over these old files: the exit status, and what is said."""

    def migrated(*arguments, **files):
        (tmp_path / "old").mkdir(exist_ok=True)
        for name, text in files.items():
            (tmp_path / "old" / f"{name}.conf").write_text(text)
        status = main(["migrate", str(tmp_path / "old"), str(tmp_path / "new"), *map(str, arguments)])
        printed = capsys.readouterr()
        return status, (printed.out + printed.err).replace(f"{tmp_path}/", "")

    return migrated
