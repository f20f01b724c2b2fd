"""The control route `/_simulator/…`: tests and people look at a running simulator and steer it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp

from cache_service.simulator.body import read_object
from cache_service.simulator.delivery import Whole, to_json
from cache_service.simulator.faults import fault_from
from cache_service.simulator.limits import Dimension
from cache_service.simulator.refusals import Refused, bad_request
from cache_service.simulator.simulator import Simulator


class Control:
    """The control route's handlers."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    async def show_stats(self, request: Request) -> ASGIApp:
        """`GET /_simulator/stats`."""
        return Whole(to_json(self._simulator.stats.plain()))

    async def change_faults(self, request: Request) -> ASGIApp:
        """`POST /_simulator/faults` adds one (the members of `Fault`), `DELETE` removes all."""
        if request.method == "DELETE":
            self._simulator.faults.clear()
            return Whole(to_json({"faults": 0}))
        try:
            fault = fault_from(await read_object(request, self._simulator.config.max_body_bytes))
        except ValueError as exc:
            return _bad_control(str(exc))
        except Refused as exc:
            return Whole(to_json(exc.refusal.envelope()), status=exc.refusal.status)
        self._simulator.faults.add(fault)
        return Whole(to_json({"added": fault.kind}))

    async def change_limit(self, request: Request) -> ASGIApp:
        """`POST /_simulator/limits` with `pool`, and `dimension` and `amount`, or `exhausted: true|false` for an owner."""
        try:
            wanted = await read_object(request, self._simulator.config.max_body_bytes)
        except Refused as exc:
            return Whole(to_json(exc.refusal.envelope()), status=exc.refusal.status)
        pool = str(wanted.get("pool"))
        if "exhausted" in wanted:
            if wanted["exhausted"]:
                self._simulator.pools.exhausted.add(pool)
            else:
                self._simulator.pools.exhausted.discard(pool)
            return Whole(to_json({"exhausted": sorted(self._simulator.pools.exhausted)}))
        try:
            dimension, amount = Dimension(str(wanted.get("dimension"))), float(wanted.get("amount") or 0)
        except (TypeError, ValueError) as exc:
            return _bad_control(str(exc))
        if amount <= 0 or not self._simulator.pools.change(pool, dimension, amount, self._simulator.clock.now()):
            return _bad_control(f"no pool {pool!r} with that dimension, or an amount that isn't above 0")
        return Whole(to_json({"pool": pool, "dimension": dimension, "amount": amount}))

    async def release_held(self, request: Request) -> ASGIApp:
        """`POST /_simulator/release`: held calls go on."""
        self._simulator.release()
        return Whole(to_json({"released": True}))


def _bad_control(message: str) -> ASGIApp:
    return Whole(to_json(bad_request(message).envelope()), status=400)
