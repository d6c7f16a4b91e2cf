"""Instance metadata, version 2: on each machine's private address, by the rig's one event loop.

A session token is required, as on an instance whose HttpTokens are `required`.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from typing import Dict, Optional, Set, Tuple

from .instance import Instance
from .instances import METADATA_PORT, Instances
from .loop import Loop

REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}


class Metadata:
    def __init__(self, instances: Instances, loop: Loop) -> None:
        self._instances = instances
        self._loop = loop
        self._tokens: Set[str] = set()
        self._servers: Dict[str, asyncio.Server] = {}

    def serve(self, instance: Instance) -> None:
        self._loop.run(self._begin(instance))

    def close(self) -> None:
        self._loop.run(self._end())

    async def _begin(self, instance: Instance) -> None:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._connection(instance, reader, writer)

        self._servers[instance.id] = await asyncio.start_server(answer, instance.private_ip, METADATA_PORT)

    async def _end(self) -> None:
        for server in self._servers.values():
            server.close()

    async def _connection(
        self, instance: Instance, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        try:
            head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)).decode("latin-1").split("\r\n")
            method, path, _ = head[0].split(" ", 2)
            headers = {
                name.strip().lower(): value.strip()
                for name, _, value in (line.partition(":") for line in head[1:])
            }
            status, body = self._answer(instance, method, path, headers)
            writer.write(
                f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: text/plain\r\nServer: EC2ws\r\n"
                f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}".encode()
            )
            await writer.drain()
        except (
            OSError,
            ValueError,
            asyncio.IncompleteReadError,
            asyncio.TimeoutError,
            asyncio.LimitOverrunError,
        ):
            pass
        finally:
            writer.close()

    def _answer(self, instance: Instance, method: str, path: str, headers: Dict[str, str]) -> Tuple[int, str]:
        if path == "/latest/api/token":
            if method != "PUT" or "x-aws-ec2-metadata-token-ttl-seconds" not in headers:
                return 400, ""
            token = secrets.token_urlsafe(40)
            self._tokens.add(token)
            return 200, token
        if headers.get("x-aws-ec2-metadata-token") not in self._tokens:
            return 401, ""
        content = self._content(instance, path.rstrip("/"))
        return (404, "") if content is None else (200, content)

    @staticmethod
    def _content(instance: Instance, path: str) -> Optional[str]:
        life_cycle = "spot" if instance.market == "spot" else "on-demand"
        entries: Dict[str, Optional[str]] = {
            "instance-id": instance.id,
            "instance-type": instance.type,
            "instance-life-cycle": life_cycle,
            "ami-id": instance.image.id,
            "placement/availability-zone": instance.zone,
            "placement/region": instance.zone[:-1],
            "local-ipv4": instance.private_ip,
            "public-ipv4": instance.public_ip,
            "spot/instance-action": json.dumps(instance.interruption) if instance.interruption else None,
            "spot/termination-time": instance.interruption["time"] if instance.interruption else None,
            "events/recommendations/rebalance": (
                json.dumps({"noticeTime": instance.rebalance}) if instance.rebalance else None
            ),
        }
        if path == "/latest/meta-data":
            return "\n".join(
                sorted({name.split("/")[0] for name, value in entries.items() if value is not None})
            )
        if path == "/latest/user-data":
            return instance.user_data.decode("utf-8", "replace") or None
        return (
            entries.get(path[len("/latest/meta-data/") :]) if path.startswith("/latest/meta-data/") else None
        )
