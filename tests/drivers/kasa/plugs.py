"""Plugs on loopback that answer what a recording says, over TCP as the first generation and over KLAP as the second."""

import json
import secrets
import socket
import threading
from hashlib import sha1, sha256

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from tests.drivers.recordings import recordings_root

NOT_SUPPORTED = {"err_code": -1, "err_msg": "module not support"}


def recording(name):
    """Return what the plug answered to each request."""
    return json.loads((recordings_root() / "plugs" / "kasa" / name).read_text("utf-8"))


class Server(threading.Thread):
    """Serves one connection after the other. ``mangle`` turns an answer into what is sent, None for silence."""

    def __init__(self, port=0):
        super().__init__(daemon=True)
        self.mangle = lambda answer: answer
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = self._listener.getsockname()[1]

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._listener.shutdown(socket.SHUT_RDWR)
        self.join(10)
        self._listener.close()

    def run(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as received:
                if not received.peek(1):  # who came has gone unasked
                    continue
                try:
                    sent = self.mangle(self.answer(received))
                    connection.sendall(sent or b"")
                    if sent is None or sent.endswith(b"..."):  # the rest never comes
                        received.read(1)
                except OSError:  # who asked has gone
                    pass


class IotPlug(Server):
    """A plug of the first generation; ``recorded`` is what it answers, ``readings`` what each child of a strip does."""

    def __init__(self, recorded, port=0):
        super().__init__(port)
        self.recorded = recorded
        self.readings = {}
        self.requests = []

    def answer(self, received):
        length = int.from_bytes(received.read(4), "big")
        request = json.loads(unscramble(received.read(length)))
        self.requests.append(request)
        return scramble(json.dumps(self.answer_of(request)).encode())

    def answer_of(self, request):
        [child] = request.pop("context", {"child_ids": [""]})["child_ids"]
        [(module, commands)] = request.items()
        [command] = commands
        section = self.recorded.get(module, NOT_SUPPORTED)
        if child in self.readings and module == "emeter":
            section = {command: self.readings[child]}
        return {module: {command: section[command]} if command in section else NOT_SUPPORTED}


def scramble(text):
    """Return text as the plug sends it: the length, then each byte XORed with the one sent before."""
    sent = [171]
    for byte in text:
        sent.append(sent[-1] ^ byte)
    return len(text).to_bytes(4, "big") + bytes(sent[1:])


def unscramble(sent):
    """Return the text of what was sent."""
    return bytes(sent[place] ^ (sent[place - 1] if place else 171) for place in range(len(sent)))


USER, PASSWORD = "ann@example.org", "hunter2"


class SmartPlug(Server):
    """A plug of the second generation, behind KLAP."""

    def __init__(self, recorded):
        super().__init__()
        self.recorded = recorded
        self.page_size = 10
        self.pages = []
        self.methods = []
        self.mangle_page = {}  # as mangle, for one page
        user, password = (sha1(text.encode(), usedforsecurity=False).digest() for text in (USER, PASSWORD))
        self._auth = hashed(user, password)
        self._sessions = {}

    def reboot(self):
        self._sessions.clear()

    def answer(self, received):
        page = received.readline().split()[1].decode().removeprefix("/app/")
        headers = {}
        while (line := received.readline().strip()) != b"":
            name, _, value = line.decode().partition(": ")
            headers[name.lower()] = value
        body = received.read(int(headers["content-length"]))
        page, _, query = page.partition("?")
        self.pages.append(page)
        cookie = headers.get("cookie", "")
        serve = {"handshake1": self._handshake1, "handshake2": self._handshake2, "request": self._request}[page]
        status, content, extra = serve(body, cookie, query)
        answer = (
            f"HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {len(content)}\r\n{extra}\r\n".encode()
            + content
        )
        return self.mangle_page.get(page, lambda whole: whole)(answer)

    def _handshake1(self, ours, cookie, query):
        assert len(ours) == 16 and not cookie
        theirs, cookie = secrets.token_bytes(16), f"TP_SESSIONID={secrets.token_hex(8)}"
        self._sessions[cookie] = {"seeds": (ours, theirs), "proven": False}
        return 200, theirs + hashed(ours, theirs, self._auth), f"Set-Cookie: {cookie};TIMEOUT=86400\r\n"

    def _handshake2(self, shown, cookie, query):
        session = self._sessions.get(cookie)
        if session is None:
            return 403, b"", ""
        ours, theirs = session["seeds"]
        session["proven"] = shown == hashed(theirs, ours, self._auth)
        start = hashed(b"iv", ours, theirs, self._auth)
        session["number"] = int.from_bytes(start[-4:], "big", signed=True)
        return (200 if session["proven"] else 403), b"", ""

    def _request(self, body, cookie, query):
        session = self._sessions.get(cookie, {"proven": False})
        if not session["proven"]:
            return 403, b"", ""
        both = (*session["seeds"], self._auth)
        number = int(query.removeprefix("seq="))
        assert number == (session["number"] + 1 if session["number"] < 2**31 - 1 else -(2**31))
        session["number"] = number
        packed = number.to_bytes(4, "big", signed=True)
        sign = hashed(b"ldk", *both)[:28]
        cipher = Cipher(algorithms.AES(hashed(b"lsk", *both)[:16]), modes.CBC(hashed(b"iv", *both)[:12] + packed))
        if body[:32] != hashed(sign, packed, body[32:]):
            return 400, b"", ""
        decryptor, unpadder = cipher.decryptor(), padding.PKCS7(128).unpadder()
        text = unpadder.update(decryptor.update(body[32:]) + decryptor.finalize()) + unpadder.finalize()
        request = json.loads(text)
        answer = json.dumps(self.answer_of(request)).encode()
        encryptor, padder = cipher.encryptor(), padding.PKCS7(128).padder()
        sent = encryptor.update(padder.update(answer) + padder.finalize()) + encryptor.finalize()
        return 200, hashed(sign, packed, sent) + sent, ""

    def answer_of(self, request):
        method, params = request["method"], request.get("params") or {}
        if method == "control_child":
            recorded, batch = self.recorded["child_devices"][params["device_id"]], params["requestData"]
            assert batch["method"] == "multipleRequest"
            answers = [
                {"method": each["method"], **self._find(recorded, each["method"], each.get("params") or {})}
                for each in batch["params"]["requests"]
            ]
            batch_answer = {"error_code": 0, "method": "multipleRequest", "result": {"responses": answers}}
            return {"error_code": 0, "result": {"responseData": batch_answer}}
        return self._find(self.recorded, method, params)

    def _find(self, recorded, method, params):
        self.methods.append(method)
        if (result := recorded.get(method)) is None:
            return {"error_code": -1002}
        if method == "get_child_device_list":
            start = params["start_index"]
            children = result["child_device_list"]
            page = children[start : start + self.page_size]
            result = {"child_device_list": page, "start_index": start, "sum": len(children)}
        return {"error_code": 0, "result": result}


def hashed(*parts):
    return sha256(b"".join(parts)).digest()
