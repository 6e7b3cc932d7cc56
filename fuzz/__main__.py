"""Changes messages, questions and answers a million times, led by what code that reaches: ``tox -e fuzz``.

``python -m fuzz`` runs every target in a process of its own; ``--runs`` and ``--seed`` say how long, and make it the
same again. A target ends with an error as soon as something is believed that nobody signed, or something is raised; or
at the end, if it holds more memory than after its first tenth.
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import atheris  # type: ignore[import-not-found]

with atheris.instrument_imports(include=["kwapi"]):
    from bench.processes import rss_mb
    from fuzz.targets import KINDS, Answers, Frames, Questions, mutate

PARTS = {"frames": 0.6, "questions": 0.2, "answers": 0.2}
WARM_UP = 0.1
GROWTH = 20.0  # MB that may be held more at the end


class Run:
    """One target, given what libFuzzer thinks of."""

    def __init__(self, name: str, runs: int, directory: Path) -> None:
        self._target = {"frames": Frames, "answers": Answers}[name]() if name != "questions" else Questions(directory)
        self._runs = runs
        self._done = 0
        self._held = 0.0

    def judge(self, content: bytes) -> None:
        """Change an original as the content says, and judge it."""
        number = atheris.FuzzedDataProvider(content).ConsumeIntInRange
        originals = self._target.originals
        original = originals[number(0, len(originals) - 1)]
        mutations = [
            (
                number(0, KINDS - 1),
                number(0, 2**16),
                number(0, 2**16),
            )
            for _ in range(number(1, 6))
        ]
        self._target.judge(mutate(original, mutations, originals))
        self._done += 1
        if self._done == int(WARM_UP * self._runs):
            self._held = rss_mb()
        if self._done == self._runs:
            print(f"memory: {self._held:.0f} MB after the warm-up, {rss_mb():.0f} MB at the end", flush=True)
            assert rss_mb() < self._held + GROWTH
            self._target.close()
            os._exit(0)  # libFuzzer knows no other end that Python would see


def main(argv: Sequence[str] | None = None) -> int:
    """Run all targets, or one in this process; return the exit status."""
    parser = argparse.ArgumentParser(prog="fuzz", description="Change what strangers may send.")
    parser.add_argument("--runs", type=int, default=1_000_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--directory", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.target:
        fuzz(options.target, options.runs, options.seed, Path(options.directory))
    return max(run(name, int(part * options.runs), options.seed) for name, part in PARTS.items())


def fuzz(name: str, runs: int, seed: int, directory: Path) -> None:
    """Run a target in this process, and end it."""
    logging.disable()
    target = Run(name, runs, directory)
    arguments = [f"-runs={2 * runs}", f"-seed={seed}", "-max_len=64", "-verbosity=0", f"-artifact_prefix={directory}/"]
    atheris.Setup([sys.argv[0], *arguments], target.judge)
    atheris.Fuzz()


def run(name: str, runs: int, seed: int) -> int:
    """Run a target in a process of its own; return whether it failed."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "fuzz", "--target", name, "--runs", str(runs), "--seed", str(seed)]
        ended = subprocess.run([*command, "--directory", directory])  # noqa: S603
    print(f"{name}: {runs} in {time.monotonic() - begun:.0f} s, status {ended.returncode}", flush=True)
    return int(ended.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
