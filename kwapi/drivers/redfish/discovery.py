"""Which resources of a Redfish service tell power: the rows that names can mean.

A PDU's rows are outlets, branches (bank), mains (inlet), their lines (phase) and the whole (device). A chassis is a
device; one inside another that is measured is an outlet of it and so never counted twice; power supplies are inlets.
Rows stand there whether they tell power just now or not, so that one that is silent for a while shifts no other.
"""

from collections.abc import Callable, Collection, Iterator
from functools import partial

from kwapi.drivers.redfish.client import Service
from kwapi.drivers.redfish.resources import (
    Readings,
    Resource,
    Row,
    end_of,
    find_outer,
    is_metered,
    lines_of,
    link,
    parse_chassis,
    parse_circuit,
    parse_line,
    parse_power,
    parse_supplies,
    parse_supply,
    parse_total,
    power_values,
    total_of,
)
from kwapi.errors import DeviceError

Source = tuple[Callable[..., Readings], tuple[str, ...], str]  # parse, paths and energy of a row

IN_ORDER = ""  # level of the names that have none
PDUS = ("RackPDUs", "FloorPDUs", "PowerShelves", "TransferSwitches")
CIRCUITS = (  # level, collection of a PDU, levels of names that need it
    ("inlet", "Mains", {"inlet", "phase"}),
    ("bank", "Branches", {"bank"}),
    ("outlet", "Outlets", {"outlet", IN_ORDER}),
)
TELLING = ("power", "pwr", "energy", "watt")  # in the addresses of sensors that are looked at
MAX_SENSORS = 16  # of them; a device may have hundreds and take 0.3 s for each


def find_rows(service: Service, levels: Collection[str]) -> tuple[list[Row], str]:
    """Return the rows that names of these levels can mean, and the level of those that are taken in order."""
    root = service.get_root()
    if pdus := _find_pdus(service, link(root, "PowerEquipment")):
        rows = [row for path, pdu in pdus for row in _pdu_rows(service, path, pdu, set(levels))]
        return rows, "outlet" if any(row.level == "outlet" for row in rows) else "device"
    return _chassis_rows(service, link(root, "Chassis"), levels), "device"


def _find_pdus(service: Service, path: str) -> list[tuple[str, Resource]]:
    equipment = service.find(path) if path else None
    collections = [collection for kind in PDUS if (collection := link(equipment, kind))]
    return [pdu for collection in collections for pdu in service.members(collection).items()]


def _pdu_rows(service: Service, path: str, pdu: Resource, levels: set[str]) -> Iterator[Row]:
    index = end_of(path)
    if metrics := link(pdu, "Metrics"):
        yield Row("device", index, parse_circuit, (metrics,))
    for level, kind, needed_by in CIRCUITS:
        collection = link(pdu, kind)
        if not collection or not levels & needed_by:
            continue
        circuits = service.members(collection)
        if level == "outlet" and not any(map(is_metered, circuits.values())):
            continue
        for place, circuit in circuits.items():
            name = f"{index}.{end_of(place)}"
            label = circuit.get("UserLabel")
            label = label if isinstance(label, str) else ""
            yield Row(level, name, parse_circuit, (place,), collection=collection, label=label)
            for line in lines_of(circuit) if level == "inlet" else ():
                yield Row("phase", f"{name}.L{line}", partial(parse_line, line=line), (place,), collection=collection)


def _chassis_rows(service: Service, path: str, levels: Collection[str]) -> list[Row]:
    chassis = service.members(path) if path else {}
    outer = find_outer(chassis)
    rows: list[Row] = []
    measured: set[str] = set()
    telling = False
    for place in sorted(chassis, key=lambda place: len(outer[place])):  # the outermost first, else as they come
        counted = not measured.isdisjoint(outer[place])
        if counted and "outlet" not in levels:
            continue
        row, tells = _find_source(service, chassis[place], "outlet" if counted else "device", end_of(place))
        if row:
            rows.append(row)
            measured.add(place)
            telling |= tells
        if "inlet" in levels:
            supplies = _find_supplies(service, chassis[place])
            rows += [Row("inlet", f"{end_of(place)}.{name}", parse_supply, (at,)) for name, at in supplies.items()]
    if not telling:
        raise DeviceError(
            f"{service.target} tells no power: none of its {len(chassis)} chassis has a value in EnvironmentMetrics, "
            f"a sensor of the whole, the metrics of power supplies or PowerControl, and there is no PDU"
        )
    return rows


def _find_source(service: Service, chassis: Resource, level: str, index: str) -> tuple[Row | None, bool]:
    """Return the row of a chassis and whether it tells power now: the first that does, else the first that could."""
    found: dict[str, Resource] = {}
    silent = None
    for parse, paths, energy in _sources(service, chassis, found):
        row = Row(level, index, parse, paths, energy)
        if "watts" in row.measure(found):
            return row, True
        silent = silent or row
    return silent, False


def _sources(service: Service, chassis: Resource, found: dict[str, Resource]) -> Iterator[Source]:
    """Yield where the power of a chassis may be read, the best first; ``found`` gets what was read on the way."""

    def look(path: str) -> Resource:
        found[path] = (service.find(path) if path else None) or {}
        return found[path]

    environment, power = link(chassis, "EnvironmentMetrics"), link(chassis, "Power")
    metrics = look(environment)
    complete = {"watts", "kwh"} <= parse_chassis(metrics).keys()
    totals = {} if complete else _find_totals(service, link(chassis, "Sensors"), look)
    energy = totals.get("kwh", "")
    if "PowerWatts" in metrics:
        yield parse_chassis, (environment,), energy
    if total := totals.get("watts"):
        yield parse_total, (total,), energy
    supplies = tuple(_find_supplies(service, chassis).values())
    of_supplies = [look(path) for path in supplies]
    if any("InputPowerWatts" in each for each in of_supplies):
        yield parse_supplies, supplies, "" if "kwh" in parse_supplies(*of_supplies) else energy
    if power_values(look(power)):
        yield parse_power, (power,), energy


def _find_totals(service: Service, sensors: str, look: Callable[[str], Resource]) -> dict[str, str]:
    """Return the address of the only sensor of all watts, and of all kwh, of a chassis, as far as there is one."""
    addresses = service.addresses(sensors) if sensors else []
    telling = [path for path in addresses if any(part in end_of(path).lower() for part in TELLING)]
    telling.sort(key=lambda path: "total" not in path.lower())
    totals: dict[str, list[str]] = {}
    for path in telling[:MAX_SENSORS]:
        totals.setdefault(total_of(look(path)), []).append(path)
    return {quantity: paths[0] for quantity, paths in totals.items() if quantity and len(paths) == 1}


def _find_supplies(service: Service, chassis: Resource) -> dict[str, str]:
    """Return the address of the metrics of each power supply of a chassis, by its name."""
    subsystem = link(chassis, "PowerSubsystem")
    collection = link(service.find(subsystem), "PowerSupplies") if subsystem else ""
    supplies = service.members(collection) if collection else {}
    return {end_of(path): metrics for path, supply in supplies.items() if (metrics := link(supply, "Metrics"))}
