"""The two public pages a client may ask: the spot advisor's data, and what its own address is."""

from __future__ import annotations

import json
import threading
import zlib
from typing import Any, Dict, Tuple

from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from .account import Account

LABELS = ["<5%", "5-10%", "10-15%", "15-20%", ">20%"]


class Handler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        pass


class PublicWeb:
    """`broken` makes every page a 503; `requests` lists the paths that were asked for."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._advice: Dict[str, Tuple[int, int]] = {}
        self.broken = False
        self.requests: list = []
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=Handler)
        self._server.daemon_threads = True
        url = f"http://127.0.0.1:{self._server.server_port}"
        self.advisor_url = f"{url}/spot-advisor-data.json"
        self.checkip_url = f"{url}/checkip"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="rig-web", daemon=True
        )
        self._thread.start()

    def advise(self, type: str, bucket: int, savings: int) -> None:
        self._advice[type] = (bucket, savings)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, environ: Any, start_response: Any) -> Any:
        path = Request(environ).path
        self.requests.append(path)
        if self.broken:
            response = Response("unavailable", 503)
        elif path == "/spot-advisor-data.json":
            response = Response(json.dumps(self.advisor()), content_type="application/json")
        elif path == "/checkip":
            address = self._account.instances.client_address.partition("/")[0]
            response = Response(f"{address}\n", content_type="text/plain")
        else:
            response = Response("not found", 404)
        return response(environ, start_response)

    def advisor(self) -> Dict[str, Any]:
        """In the public file's shape: `r` is the index of a range, `s` the savings in percent."""
        market = self._account.market
        types = {
            name: {
                "cores": market.vcpus(name),
                "ram_gb": market.type(name)["MemoryInfo"]["SizeInMiB"] / 1024,
                "emr": False,
            }
            for name in sorted(market.names())
        }
        advice = {name: self._advice.get(name, (zlib.crc32(name.encode()) % 5, 65)) for name in types}
        linux = {name: {"r": bucket, "s": savings} for name, (bucket, savings) in advice.items()}
        return {
            "global_rate": "<10%",
            "ranges": [
                {
                    "index": index,
                    "label": label,
                    "dots": index,
                    "max": 5 * index + 5 + (index > 0) if index < 4 else 100,
                }
                for index, label in enumerate(LABELS)
            ],
            "instance_types": types,
            "spot_advisor": {self._account.region: {"Linux": linux, "Windows": {}}},
        }
