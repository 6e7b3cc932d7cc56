import pytest

from kwapi.drivers.boots import next_boot

NOW = 1_800_000_000_000_000_000


def test_a_boot_is_the_time(tmp_path):
    assert next_boot(tmp_path / "boot", clock=lambda: NOW) == NOW


def test_the_directory_is_made(tmp_path):
    next_boot(tmp_path / "state" / "boot")
    assert (tmp_path / "state" / "boot").exists()


def test_boots_rise_though_the_clock_is_set_back(tmp_path):
    clock = iter([NOW, NOW - 3_600_000_000_000, NOW, NOW + 5, NOW + 5]).__next__
    boots = [next_boot(tmp_path / "boot", clock=clock) for _ in range(5)]
    assert boots == [NOW, NOW + 1, NOW + 2, NOW + 5, NOW + 6]


@pytest.mark.parametrize("content", [b"", b"\0" * 21, b"nonsense", b"-1", b"\xff" * 100])
def test_a_damaged_file_is_replaced(tmp_path, caplog, content):
    path = tmp_path / "boot"
    path.write_bytes(content)
    assert [next_boot(path, clock=lambda: NOW) for _ in range(2)] == [NOW, NOW + 1]
    assert caplog.text.count("is damaged") == (content != b"")


def test_without_a_file_it_is_the_time_and_that_is_told(tmp_path, caplog):
    (tmp_path / "file").touch()
    assert next_boot(tmp_path / "file" / "boot", clock=lambda: NOW) == NOW
    assert "cannot keep the boot" in caplog.text
