"""Recordings of real PDUs, and what the vendors' MIBs say they show.

They belong to others and are not part of the project: $KWAPI_RECORDINGS, or ../shared/recordings, is where they are.
"""

import json
import os
import shutil
from pathlib import Path

import pytest

PROFILES = {  # recording: the profile that must be found, and the "mib" of its entries in the truth file
    "eatonpdu_2": ("eaton-g3", "eaton-g3"),
    "raritan-pdu_px2": ("raritan-pdu2", None),
    "raritan-pdu_px3": ("raritan-pdu2", None),
    "apc_ap8853": ("apc-rpdu2", "apc-rpdu2"),
    "apc_ap7900b": ("apc-rpdu", "apc-rpdu"),
}
QUANTITIES = {  # of a truth file: attribute of a measurement, and how many of its units make one of ours
    "P": ("watts", 1),
    "S": ("volt_amperes", 1),
    "V": ("volts", 1),
    "I": ("amps", 1),
    "PF": ("power_factor", 1),
    "f": ("hertz", 1),
    "E": ("kwh", 1000),
}


def recordings_directory() -> Path:
    """Return the directory of the SNMP recordings; skip the test if it is not there, fail if it was promised."""
    promised = os.environ.get("KWAPI_RECORDINGS")
    directory = Path(promised or Path(__file__).parents[3] / "shared" / "recordings") / "snmp"
    if missing := [name for name in PROFILES if not (directory / f"{name}.snmprec").is_file()]:
        (pytest.fail if promised else pytest.skip)(
            f"no recordings of {', '.join(missing)} in {directory}; set KWAPI_RECORDINGS to try them"
        )
    return directory


def copy_recordings(destination: Path) -> None:
    """Put the recordings, and nothing else, where an agent shall serve them from."""
    directory = recordings_directory()
    for name in PROFILES:
        shutil.copy(directory / f"{name}.snmprec", destination)


def load_truth(name: str) -> dict[tuple[str, str], dict[str, float]]:
    """Return the values of a recording by attribute of a measurement, for each level and index."""
    mib = PROFILES[name][1]
    truth: dict[tuple[str, str], dict[str, float]] = {}
    for entry in json.loads((recordings_directory() / "truth" / f"{name}.json").read_text("utf-8")):
        if entry.get("mib") != mib or entry["quantity"] not in QUANTITIES or entry["value"] is None:
            continue
        attribute, divisor = QUANTITIES[entry["quantity"]]
        level = "inlet" if entry["level"] == "input" else entry["level"]
        index = entry["index"] if mib else entry["index"].rpartition(".")[0]  # without the type of the sensor
        truth.setdefault((level, index), {})[attribute] = entry["value"] / divisor
    return truth
