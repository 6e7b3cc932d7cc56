"""The command ``kwapi`` in a terminal, as a person has it: a pty of so many columns and lines."""

import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
from pathlib import Path

from tests.waiting import eventually

KWAPI = [sys.executable, str(Path(sys.executable).with_name("kwapi"))]


def take_terminal() -> None:
    """Make standard input the terminal that Ctrl-C is typed in; a shell's background jobs ignore what that sends."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Terminal:
    """A command that runs in a terminal of its own; what it shows is in ``shown``."""

    def __init__(self, *argv: object, columns: int = 80, lines: int = 24, **environ: str) -> None:
        self.shown = ""
        self._master, slave = os.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        os.set_blocking(self._master, False)
        kept = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [*KWAPI, *map(str, argv)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**kept, "TERM": "xterm", **environ},
            start_new_session=True,
            preexec_fn=take_terminal,
        )
        os.close(slave)

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def expect(self, text: str) -> None:
        """Wait until a text is shown."""
        eventually(lambda: text in self._look())

    def type(self, text: str) -> None:
        """Type on the keyboard."""
        os.write(self._master, text.encode())

    def end(self) -> int:
        """Wait until the command ends; return its status."""
        eventually(lambda: self._look() is not None and self.process.poll() is not None)
        self._look()
        return self.process.returncode

    def _look(self) -> str:
        try:
            while piece := os.read(self._master, 65536):
                self.shown += piece.decode()
        except OSError:  # nothing now, or nothing any more
            pass
        return self.shown


CTRL_C = "\x03"
INTERRUPTED = 128 + signal.SIGINT
