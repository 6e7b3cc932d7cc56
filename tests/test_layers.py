"""A module imports only from lines above its own: the design in DESIGN's words, read from the imports."""

import ast
from pathlib import Path

ROOT = Path(__file__).parent.parent
LAYERS = (  # each line may import from the lines above it
    ("kwapi.credentials", "kwapi.errors", "kwapi.fairness", "kwapi.libraries", "kwapi.questions", "kwapi.silence"),
    ("kwapi.logs",),
    ("kwapi.measurement",),
    ("kwapi.health",),
    ("kwapi.calibration", "kwapi.energy", "kwapi.plausibility"),
    ("kwapi.certificates", "kwapi.endpoints", "kwapi.signing"),
    ("kwapi.admission", "kwapi.keys", "kwapi.spool.segment", "kwapi.stream", "kwapi.sockets"),
    ("kwapi.streams", "kwapi.connections", "kwapi.losses"),
    ("kwapi.nats.lanes", "kwapi.nats.login", "kwapi.nats.subjects"),
    ("kwapi.spool.contents", "kwapi.spool.quota", "kwapi.transport"),
    ("kwapi.spool.store",),
    ("kwapi.spool.reader",),
    ("kwapi.nats.connection", "kwapi.upstream"),
    ("kwapi.nats.backlog", "kwapi.nats.layout"),
    ("kwapi.nats.admin", "kwapi.nats.feed", "kwapi.nats.held", "kwapi.nats.uplink"),
    ("kwapi.nats.reading",),
    ("kwapi.nats.opening",),
    ("kwapi.gate", "kwapi.replay"),
    ("kwapi.bus", "kwapi.proxy"),
    ("kwapi.nats.bridge",),
    ("kwapi.plugins.positions",),
    ("kwapi.mistakes", "kwapi.option_types"),
    ("kwapi.options", "kwapi.section_options"),
    ("kwapi.environment",),
    ("kwapi.config",),
    ("kwapi.service",),
    ("kwapi.spool.keeping",),
    ("kwapi.metrics",),
    ("kwapi.drivers.names", "kwapi.tls"),
    ("kwapi.drivers.base",),
    ("kwapi.drivers",),
    (
        "kwapi.drivers.network",
        "kwapi.drivers.places",
        "kwapi.drivers.profiles",
        "kwapi.drivers.repetition",
        "kwapi.drivers.units",
    ),
    ("kwapi.drivers.serial_line",),
    ("kwapi.drivers.modbus.clients",),
    ("kwapi.drivers.snmp.client", "kwapi.drivers.snmp.ber"),
    ("kwapi.drivers.snmp.usm", "kwapi.drivers.snmp.gufo_v2c"),
    ("kwapi.drivers.snmp.gufo_v3",),
    ("kwapi.drivers.snmp.pysnmp", "kwapi.drivers.snmp.gufo", "kwapi.drivers.snmp.profile"),
    (
        "kwapi.drivers.snmp.rows",
        "kwapi.drivers.modbus.line",
        "kwapi.drivers.modbus.registers",
        "kwapi.drivers.nut.client",
    ),
    ("kwapi.drivers.modbus.profile", "kwapi.drivers.nut.variables"),
    ("kwapi.drivers.ipmi.client", "kwapi.drivers.ipmi.records"),
    ("kwapi.drivers.ipmi.pyghmi", "kwapi.drivers.ipmi.repository"),
    ("kwapi.drivers.ipmi.driver",),
    ("kwapi.drivers.redfish.resources",),
    ("kwapi.drivers.redfish.client",),
    ("kwapi.drivers.redfish.discovery",),
    ("kwapi.drivers.redfish.driver",),
    ("kwapi.drivers.json.channel",),
    ("kwapi.drivers.json.profile",),
    ("kwapi.drivers.json.options",),
    ("kwapi.drivers.json.http_client", "kwapi.drivers.json.mqtt_client"),
    ("kwapi.drivers.json.http", "kwapi.drivers.json.mqtt"),
    ("kwapi.drivers.kasa.connection", "kwapi.drivers.kasa.readings"),
    ("kwapi.drivers.kasa.iot", "kwapi.drivers.kasa.klap"),
    ("kwapi.drivers.kasa.smart",),
    ("kwapi.drivers.kasa.driver",),
    ("kwapi.drivers.rapl", "kwapi.drivers.hwmon", "kwapi.drivers.nvml"),
    ("kwapi.drivers.dummy", "kwapi.drivers.modbus.driver", "kwapi.drivers.nut.driver", "kwapi.drivers.snmp.driver"),
    ("kwapi.drivers.p1", "kwapi.drivers.sml", "kwapi.drivers.wattsup"),
    ("kwapi.drivers.wattmeter",),
    ("kwapi.drivers.boots", "kwapi.drivers.slot", "kwapi.drivers.mutes"),
    ("kwapi.drivers.worker",),
    ("kwapi.drivers.manager", "kwapi.drivers.metrics"),
    ("kwapi.drivers.orders",),
    ("kwapi.drivers.process", "kwapi.drivers.share"),
    ("kwapi.drivers.shares",),
    ("kwapi.drivers.app",),
    ("kwapi.forwarder",),
    ("kwapi.plugins.health", "kwapi.plugins.lock", "kwapi.plugins.ownership", "kwapi.plugins.subscription"),
    (
        "kwapi.plugins.api.states",
        "kwapi.plugins.rrd.look",
        "kwapi.plugins.rrd.probe",
        "kwapi.plugins.rrd.standing",
        "kwapi.tariff",
    ),
    ("kwapi.plugins.rrd.cache", "kwapi.plugins.rrd.state_file", "kwapi.plugins.rrd.tool"),
    ("kwapi.plugins.rrd.archive",),
    ("kwapi.plugins.rrd.roster", "kwapi.plugins.rrd.rows", "kwapi.plugins.rrd.totals"),
    ("kwapi.plugins.rrd.figures", "kwapi.plugins.rrd.series"),
    ("kwapi.plugins.rrd.axes", "kwapi.plugins.rrd.files", "kwapi.plugins.rrd.legend"),
    ("kwapi.plugins.rrd.drawing", "kwapi.plugins.rrd.rrdcached"),
    ("kwapi.plugins.api.events", "kwapi.plugins.api.machines", "kwapi.plugins.api.probe", "kwapi.plugins.api.slots"),
    ("kwapi.plugins.api.ahead", "kwapi.plugins.api.columns", "kwapi.plugins.api.record"),
    ("kwapi.plugins.api.column_record", "kwapi.plugins.api.listing"),
    ("kwapi.plugins.api.column_file",),
    ("kwapi.plugins.api.registers",),
    ("kwapi.plugins.api.steps",),
    ("kwapi.plugins.api.keystone", "kwapi.plugins.api.policy"),
    ("kwapi.plugins.api.access",),
    ("kwapi.plugins.api.auth",),
    ("kwapi.plugins.api.collector", "kwapi.plugins.rrd.store"),
    ("kwapi.plugins.rrd.ranking",),
    ("kwapi.plugins.rrd.reading",),
    ("kwapi.plugins.rrd.elements", "kwapi.plugins.rrd.numbers"),
    ("kwapi.plugins.rrd.graph",),
    ("kwapi.plugins.rrd.pictures", "kwapi.plugins.rrd.words"),
    ("kwapi.plugins.rrd.images",),
    ("kwapi.plugins.rrd.login", "kwapi.plugins.rrd.selection"),
    ("kwapi.plugins.rrd.live",),
    ("kwapi.plugins.rrd.pages",),
    ("kwapi.plugins.api.cors", "kwapi.plugins.api.pages", "kwapi.plugins.api.query", "kwapi.plugins.api.schemas"),
    ("kwapi.plugins.api.durations",),
    ("kwapi.plugins.api.metrics", "kwapi.plugins.api.problems", "kwapi.plugins.api.stream", "kwapi.plugins.api.turns"),
    ("kwapi.plugins.api.openapi", "kwapi.plugins.api.serving", "kwapi.plugins.api.v1", "kwapi.plugins.api.v2"),
    ("kwapi.plugins.api.orders", "kwapi.plugins.api.views", "kwapi.plugins.rrd.views"),
    ("kwapi.plugins.api.app", "kwapi.plugins.rrd.app"),
    ("kwapi.simulator.load", "kwapi.simulator.certificate"),
    ("kwapi.simulator.device",),
    ("kwapi.simulator.relay", "kwapi.simulator.servers"),
    ("kwapi.simulator.description", "kwapi.simulator.http_server"),
    (
        "kwapi.simulator.http_plug",
        "kwapi.simulator.ipmi_bmc",
        "kwapi.simulator.modbus_meter",
        "kwapi.simulator.redfish_chassis",
        "kwapi.simulator.snmp_pdu",
        "kwapi.simulator.wattsup_meter",
    ),
    ("kwapi.simulator.farm",),
    ("kwapi.simulator.control", "kwapi.simulator.sections"),
    ("kwapi.cli.table",),
    ("kwapi.simulator.app",),
    ("kwapi.simulator.__main__",),
    ("kwapi.cli.energy", "kwapi.cli.files", "kwapi.cli.ownership", "kwapi.cli.surroundings"),
    ("kwapi.cli.discover.found", "kwapi.cli.discover.arguments", "kwapi.cli.neighbours"),
    (
        "kwapi.cli.discover.ipmi",
        "kwapi.cli.discover.modbus",
        "kwapi.cli.discover.redfish",
        "kwapi.cli.discover.snmp",
        "kwapi.cli.discover.section",
    ),
    (
        "kwapi.cli.check",
        "kwapi.cli.discover.command",
        "kwapi.cli.export",
        "kwapi.cli.forget",
        "kwapi.cli.init",
        "kwapi.cli.keygen",
        "kwapi.cli.mute",
        "kwapi.cli.nats",
        "kwapi.cli.password",
        "kwapi.cli.read",
        "kwapi.cli.rename",
        "kwapi.cli.status",
        "kwapi.cli.watch",
        "kwapi.cli.devices",
        "kwapi.cli.samples",
    ),
    ("kwapi.cli.migrate.old", "kwapi.cli.migrate.history"),
    ("kwapi.cli.migrate.daemons", "kwapi.cli.migrate.wattmeters"),
    ("kwapi.cli.migrate.command",),
    ("kwapi.cli.run", "kwapi.cli.main"),
)
HEIGHT = {module: height for height, layer in enumerate(LAYERS) for module in layer}
EMPTY = {"kwapi", "kwapi.plugins", "kwapi.plugins.api", "kwapi.plugins.rrd", "kwapi.simulator"}
EMPTY |= {"kwapi.nats", "kwapi.spool", "kwapi.cli", "kwapi.cli.discover", "kwapi.cli.migrate"}
EMPTY |= {f"kwapi.drivers.{name}" for name in ("ipmi", "json", "kasa", "modbus", "nut", "redfish", "snmp")}


def modules() -> dict[str, Path]:
    names = {}
    for path in (ROOT / "kwapi").rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(path: Path, known: set[str]) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            below = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= below & known or {str(node.module)}
    return found & known


def test_every_module_has_its_place():
    assert set(modules()) == set(HEIGHT) | EMPTY


def test_modules_import_from_above_only():
    everything = modules()
    wrong = [
        f"{name} imports {other}"
        for name, path in everything.items()
        for other in imports(path, set(everything))
        if other not in EMPTY and HEIGHT.get(other, 0) >= HEIGHT.get(name, 0)
    ]
    assert wrong == []


def test_only_the_bus_speaks_zeromq():
    assert {name for name, path in modules().items() if "import zmq" in path.read_text()} == {
        "kwapi.bus",
        "kwapi.certificates",
        "kwapi.connections",
        "kwapi.nats.bridge",
        "kwapi.proxy",
        "kwapi.replay",
        "kwapi.sockets",
        "kwapi.transport",
        "kwapi.upstream",
    }


def test_a_plugin_never_imports_another():
    for name, path in modules().items():
        if name.startswith("kwapi.plugins."):
            own = ".".join(name.split(".")[:3])
            plugins = {other for other in imports(path, set(modules())) if other.count(".") > 2}
            assert {other for other in plugins if other.startswith("kwapi.plugins.")} <= {
                other for other in plugins if other.startswith(own)
            }
