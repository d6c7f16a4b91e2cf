"""The rig's clock: one thread with an event loop, in which everything happens later that has to happen later.

Nothing in it may block; what blocks is handed to a few threads by `work`.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
import traceback
from typing import Any, Awaitable, Callable, List


class Loop:
    def __init__(self) -> None:
        self.asyncio = asyncio.new_event_loop()
        self.problems: List[str] = []
        self._workers = concurrent.futures.ThreadPoolExecutor(8, "rig-work")
        self._thread = threading.Thread(target=self.asyncio.run_forever, name="rig-loop", daemon=True)
        self._thread.start()

    def run(self, awaitable: Awaitable[Any]) -> Any:
        """From another thread: waits for the result."""
        return asyncio.run_coroutine_threadsafe(awaitable, self.asyncio).result(30)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        """Calls it in a worker thread after so many seconds, if the loop still runs then."""
        if seconds <= 0:
            self.work(action)
            return
        self.asyncio.call_soon_threadsafe(self.asyncio.call_later, seconds, self.work, action)

    def work(self, action: Callable[[], None]) -> None:
        try:
            self._workers.submit(self._guarded, action)
        except RuntimeError:
            pass  # closed meanwhile

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception:
            self.problems.append(traceback.format_exc())

    def on_exit(self, pid: int, action: Callable[[], None]) -> None:
        """Calls it in a worker thread when that child process has ended."""
        watched = os.pidfd_open(pid)

        def ended() -> None:
            self.asyncio.remove_reader(watched)
            os.close(watched)
            self.work(action)

        self.asyncio.call_soon_threadsafe(self.asyncio.add_reader, watched, ended)

    def close(self) -> None:
        async def stop() -> None:
            self.asyncio.stop()

        self._workers.shutdown(wait=True)
        asyncio.run_coroutine_threadsafe(stop(), self.asyncio)
        self._thread.join()
        self.asyncio.close()
