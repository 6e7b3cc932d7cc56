"""The control socket of a farm."""

import asyncio
import stat

import pytest

from kwapi.simulator.control import Control, ask, obey
from kwapi.simulator.description import Plan
from kwapi.simulator.farm import Farm
from tests.clock import Clock


@pytest.fixture
def farm(tmp_path):
    return Farm([Plan("plug", "http"), Plan("strip", "http", outlets=2)], tmp_path, clock=Clock(0.0))


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        (3, "do must be one of list, fault, heal, energy, pause, run"),
        ({}, "do must be one of"),
        ({"do": "dance"}, "do must be one of"),
        ({"do": "pause", "for": 3}, "for: unknown key"),
        ({"do": "heal", "wattmeter": "none"}, "there is no wattmeter 'none'"),
        ({"do": "fault", "kind": "silent"}, "wattmeter is missing"),
        ({"do": "fault", "wattmeter": "plug"}, "None is none of silent, "),
        ({"do": "fault", "wattmeter": "plug", "kind": "slow"}, "slow needs seconds"),
    ],
)
def test_command_that_is_wrong_is_explained(farm, command, problem):
    with pytest.raises(ValueError, match=problem):
        obey(farm, command)


def test_faults_are_listed_until_they_are_healed(farm):
    def faults():
        return {each["wattmeter"]: each["faults"] for each in obey(farm, {"do": "list"})["wattmeters"]}

    for name, kind in (("plug", "silent"), ("plug", "frozen"), ("strip", "garbage")):
        assert obey(farm, {"do": "fault", "wattmeter": name, "kind": kind}) == {"ok": True}
    assert faults() == {"plug": ["frozen", "silent"], "strip": ["garbage"]}
    obey(farm, {"do": "heal", "wattmeter": "plug"})
    assert faults() == {"plug": [], "strip": ["garbage"]}
    obey(farm, {"do": "heal"})
    assert faults() == {"plug": [], "strip": []}


def test_pause_is_listed(farm):
    paused = []
    for do in ("pause", "run"):
        obey(farm, {"do": do})
        paused.append(obey(farm, {"do": "list"})["paused"])
    assert paused == [True, False]


def test_socket_takes_a_line_and_answers_with_one(farm, tmp_path):
    path = tmp_path / "control"

    async def session():
        control = Control(farm, path)
        await control.open()
        mode = stat.S_IMODE(path.stat().st_mode)
        energy = await asyncio.to_thread(ask, path, {"do": "energy"})
        with pytest.raises(OSError, match=f"in use: '{path}'"):
            await Control(farm, path).open()
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"do"\n{"do": "pause"}\n')
        answers = [await reader.readline() for _ in range(2)]
        writer.close()
        await writer.wait_closed()
        control.close()
        return mode, energy, answers

    mode, energy, answers = asyncio.run(session())
    assert mode == 0o600
    assert [(each["wattmeter"], each["probe"], each["true"]) for each in energy["energy"]] == [
        ("plug", "plug", 0),
        ("strip", "strip-1", 0),
        ("strip", "strip-2", 0),
    ]
    assert b"error" in answers[0]
    assert answers[1] == b'{"ok": true}\n'
    assert not path.exists()
