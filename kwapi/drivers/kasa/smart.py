"""Tapo plugs and Kasa plugs of the second generation, which TP-Link calls SMART: JSON in a KLAP session.

    {"method": METHOD, "params": {...}}  ->  {"error_code": 0, "result": {...}}

For an outlet of a strip the request is packed into a ``multipleRequest``, and this into ``control_child``. Which of
METHODS tells the power hangs on model and firmware: it is found out once.

Source: mihai-dinculescu/tapo (MIT), requests and responses; the answers listed in readings.py.
"""

import json
from typing import Any

from kwapi.drivers.kasa.klap import Klap
from kwapi.drivers.kasa.readings import METHODS, parse_answer, parse_readings, table, tables
from kwapi.drivers.units import to_number
from kwapi.errors import DeviceError

MOST_OUTLETS = 64


class Smart:
    """A plug or a strip; an outlet is the id of a child, "" of a plug by itself."""

    def __init__(self, klap: Klap) -> None:
        self._klap = klap
        self._method = ""
        self.where = klap.where

    def outlets(self, end: float) -> list[str]:
        """Return the outlets in order, told before the time ``end``."""
        components = tables(self._result("component_nego", end).get("component_list"), self.where)
        is_strip = any(component.get("id") == "child_device" for component in components)
        outlets = self._children(end) if is_strip else [""]
        self._method = self._find_method(outlets[0], end)
        return outlets

    def measure(self, outlet: str, end: float) -> dict[str, float]:
        """Return what an outlet measures by attribute of a measurement, told before the time ``end``."""
        return parse_readings(self._result(self._method, end, outlet), METHODS[self._method])

    def _find_method(self, outlet: str, end: float) -> str:
        for method, fields in METHODS.items():
            answer = self._ask(method, end, outlet)
            if answer.get("error_code"):
                continue
            if "watts" in parse_readings(table(answer.get("result"), self.where), fields):
                return method
        raise DeviceError(f"{self.where} has no energy meter: none of {', '.join(METHODS)} tells its power")

    def _children(self, end: float) -> list[str]:
        children: list[dict[str, Any]] = []
        while len(children) < MOST_OUTLETS:  # ten at a time
            page = self._result("get_child_device_list", end, start_index=len(children))
            found = tables(page.get("child_device_list"), self.where)
            children += found
            if not found or len(children) >= (to_number(page.get("sum")) or 0):
                break
        if not children:
            raise DeviceError(f"{self.where} is a strip without outlets")
        children.sort(key=lambda child: to_number(child.get("position")) or 0)
        return [str(child.get("device_id", "")) for child in children]

    def _result(self, method: str, end: float, outlet: str = "", **params: Any) -> dict[str, Any]:
        answer = self._ask(method, end, outlet, **params)
        if code := answer.get("error_code"):
            raise DeviceError(f"{self.where} answers {method} with error {code}")
        return table(answer.get("result"), self.where)

    def _ask(self, method: str, end: float, outlet: str = "", **params: Any) -> dict[str, Any]:
        request: dict[str, Any] = {"method": method}
        if params:
            request["params"] = params
        if outlet:
            batch = {"method": "multipleRequest", "params": {"requests": [request]}}
            request = {"method": "control_child", "params": {"device_id": outlet, "requestData": batch}}
        answer = parse_answer(self._klap.ask(json.dumps(request).encode(), end), self.where)
        return self._unpack(answer) if outlet else answer

    def _unpack(self, answer: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of an outlet out of that of its strip, or the one that has the error."""
        if answer.get("error_code"):
            return answer
        batch = table(table(answer.get("result"), self.where).get("responseData"), self.where)
        if batch.get("error_code"):
            return batch
        answers = tables(table(batch.get("result"), self.where).get("responses"), self.where)
        return answers[0] if answers else {}
