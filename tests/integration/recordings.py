"""Recordings of real devices, and what the vendors' MIBs say they show.

They belong to others and are not part of the project: $KWAPI_RECORDINGS, or ../shared/recordings, is where they are.
"""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

import pytest

PROFILES = {  # recording of a PDU: the profile that must be found, and the "mib" of its entries in the truth file
    "eatonpdu_2": ("eaton-g3", "eaton-g3"),
    "raritan-pdu_px2": ("raritan-pdu2", None),
    "raritan-pdu_px3": ("raritan-pdu2", None),
    "apc_ap8853": ("apc-rpdu2", "apc-rpdu2"),
    "apc_ap7900b": ("apc-rpdu", "apc-rpdu"),
}
ALL_PROFILES = PROFILES | {  # the same of every recording with a truth file
    "apc_isx-pdu": ("apc-xpdu", "apc-xpdu"),
    "apc_smx750": ("apc-ups", "apc-ups"),
    "apc_sua1500rmi2u": ("apc-ups", "apc-ups"),
    "atenpdu": ("aten", "aten"),
    "cyberpower_pdu81005": ("cyberpower", "cyberpower-epdu"),
    "eaton-mgeups_5px": ("ups", "rfc1628"),
    "eatonups": ("eaton-xups", "xups"),
    "gude-epc_1202": ("gude-1202", "gude1202"),
    "hpe-mapdu_pdu3": ("hpe-pdu3", "hpe-pdu3"),
    "netmanplus_204": ("ups", "rfc1628"),
    "panduit": ("panduit-g5", "panduit-g5"),
    "poweralert_pdumh20atnet": ("tripplite-ats", "tripplite-ats"),
    "powerwalker-vfi_500r1u": ("ups", "rfc1628"),
    "schleifenbauer_dpm27e": ("schleifenbauer", "schleifenbauer"),
    "sentry3_3phase": ("sentry3", "sentry3"),
    "sentry4": ("sentry4", "sentry4"),
    "vertiv-pdu_mg02e4w1": ("vertiv-geist", "geist-vertiv"),
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
KINDS = {"input": "inlet", "group": "bank"}  # of rows, where a truth file has another word than a profile


def recordings_directory() -> Path:
    """Return the directory of the SNMP recordings; skip the test if it is not there, fail if it was promised."""
    promised = os.environ.get("KWAPI_RECORDINGS")
    directory = Path(promised or Path(__file__).parents[3] / "shared" / "recordings") / "snmp"
    if missing := [name for name in ALL_PROFILES if not (directory / f"{name}.snmprec").is_file()]:
        (pytest.fail if promised else pytest.skip)(
            f"no recordings of {', '.join(missing)} in {directory}; set KWAPI_RECORDINGS to try them"
        )
    return directory


def copy_recordings(destination: Path, names: Iterable[str] = tuple(PROFILES)) -> None:
    """Put these recordings, and nothing else, where an agent shall serve them from."""
    directory = recordings_directory()
    for name in names:
        shutil.copy(directory / f"{name}.snmprec", destination)


def load_truth(name: str) -> dict[tuple[str, str], dict[str, float]]:
    """Return the values of a recording by attribute of a measurement, for each kind and index of a row."""
    mib = ALL_PROFILES[name][1]
    truth: dict[tuple[str, str], dict[str, float]] = {}
    for entry in json.loads((recordings_directory() / "truth" / f"{name}.json").read_text("utf-8")):
        if entry.get("mib") != mib or entry["quantity"] not in QUANTITIES or entry["value"] is None:
            continue
        attribute, divisor = QUANTITIES[entry["quantity"]]
        kind = KINDS.get(entry["level"], entry["level"])
        index = entry["index"] if mib else entry["index"].rpartition(".")[0]  # without the type of the sensor
        truth.setdefault((kind, index), {})[attribute] = entry["value"] / divisor
    return truth
