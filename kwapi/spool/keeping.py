"""What a daemon with a spool does: keep frames, and answer those who missed some."""

from contextlib import ExitStack

from oslo_config import cfg

from kwapi import service
from kwapi.replay import Service
from kwapi.spool.store import Spool
from kwapi.transport import Transport

MEGABYTE = 1 << 20


class Keeping:
    """The spool of a daemon, and its replay endpoint if it has one; ConfigError if one of them cannot be had."""

    def __init__(self, conf: cfg.ConfigOpts, transport: Transport) -> None:
        self.spool = Spool(conf.spool_dir, max_bytes=conf.spool_size * MEGABYTE, max_age=conf.spool_hours * 3600)
        self.replay: Service | None = None
        self.tasks = [service.Task("spool", self.spool.run, hang_limit=service.DISK_LIMIT)]
        if not conf.replay_endpoint:
            return
        upstream = conf.replay_upstream if "replay_upstream" in conf else []
        with ExitStack() as undo:
            undo.callback(self.spool.close)
            self.replay = Service(
                conf.replay_endpoint,
                conf.spool_dir,
                upstream=upstream,
                damaged=self.spool.distrust,
                transport=transport,
            )
            undo.pop_all()
        self.tasks.append(service.Task("replay", self.replay.run))
