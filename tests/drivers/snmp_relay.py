"""A relay for tests that gets between a client and an SNMP agent."""

import socket
import threading


class Relay:
    """Stands between a client and an agent.

    ``answers`` are the agent's; ``change`` says what becomes of one, any number of datagrams. Where ``astray`` is set
    they go back from another address.
    """

    def __init__(self, agent):
        self.host, self.answers, self.change = "127.0.0.1", [], lambda answer: [answer]
        self.astray = False
        self._inside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._outside = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._elsewhere = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._inside.bind(("127.0.0.1", 0))
        self.port = self._inside.getsockname()[1]
        self._outside.connect((agent.host, agent.port))
        self._outside.settimeout(5)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", (self.host, self.port))
        self._thread.join(5)

    def _run(self):
        with self._inside, self._outside, self._elsewhere:
            while True:
                request, peer = self._inside.recvfrom(65535)
                if not request:
                    return
                self._outside.send(request)
                answer = self._outside.recv(65535)
                self.answers.append(answer)
                for datagram in self.change(answer):
                    (self._elsewhere if self.astray else self._inside).sendto(datagram, peer)
