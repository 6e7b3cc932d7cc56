"""Resources of Redfish services, as tests put them together."""

from tests.integration.redfish_server import ROOT, rack_pdu

CHASSIS = f"{ROOT}/Chassis"
METRICS = f"{CHASSIS}/1U/EnvironmentMetrics"
OUTLETS = f"{ROOT}/PowerEquipment/RackPDUs/1/Outlets"


def reading(value):
    return {"Reading": value}


def environment(watts=300, kwh=1200):
    return {"PowerWatts": reading(watts), "EnergykWh": reading(kwh)}


def server(watts=300, kwh=1200):
    return {"1U": {"EnvironmentMetrics": environment(watts, kwh)}}


def outlet(watts, kwh=None):
    return {"PowerWatts": reading(watts), "EnergykWh": reading(kwh)}


def total(quantity, value, units, **more):
    return {"ReadingType": quantity, "Reading": value, "ReadingUnits": units, "PhysicalContext": "Chassis", **more}


def pdu(expands=False):
    mains = {
        "AC1": {
            "PolyPhasePowerWatts": {"Line1ToNeutral": reading(300), "Line2ToNeutral": reading(200)},
            "PolyPhaseCurrentAmps": {"Line1": reading(1.5), "Line2": reading(1)},
            "FrequencyHz": reading(50),
        }
    }
    outlets = {"A1": outlet(197.4, 36166), "A2": outlet(0), "A3": {"PowerState": "On"}, "B1": outlet(None)}
    branches = {"A": {"PowerWatts": reading(197.4), "CurrentAmps": reading(0.9)}}
    return rack_pdu(expands, environment(480, 56438), Mains=mains, Branches=branches, Outlets=outlets)
