"""The options of sections: a wattmeter of drivers.conf, whatever its driver, and a machine of api.conf."""

from oslo_config import cfg, types

DRIVER = cfg.StrOpt("driver", required=True, help="The driver that speaks the wattmeter's protocol.")
WATTMETER = (
    DRIVER,
    cfg.ListOpt(
        "probes",
        required=True,
        help="Names of what the wattmeter measures, in its own order; an empty place skips one. Each is unique in the "
        "whole installation.",
    ),
    cfg.FloatOpt("interval", default=1.0, min=0.1, max=86400, help="Seconds between two polls."),
    cfg.FloatOpt(
        "hang_timeout",
        min=1,
        help="Seconds after which a poll that has not ended is given up; three intervals, and at least 10, by default.",
    ),
    cfg.BoolOpt(
        "maintenance", default=False, help="Do not poll the wattmeter for now; it is shown as muted, and alarms nobody."
    ),
    cfg.Opt(
        "factor",
        type=types.Dict(types.Float()),
        default={},
        help="Calibration: what the power, current and energy of a probe are multiplied by, such as web-1:1.02, "
        "web-2:0.99.",
    ),
    cfg.Opt(
        "offset",
        type=types.Dict(types.Float()),
        default={},
        help="Calibration: watts added to the power of a probe that draws any, such as web-1:-1.5.",
    ),
)
MACHINE = (
    cfg.ListOpt(
        "probes",
        required=True,
        help="The probes that feed the machine, such as one of each of its power supplies: pdu-a-7, pdu-b-7.",
    ),
)
