"""What those who come to look are told beside what pytest prints."""

import os


class Screen:
    """Lines of our own, past whatever pytest captures."""

    def __init__(self, redraws):
        self._descriptor = os.dup(2)
        self._redraws = redraws
        self._pending = False

    def say(self, text):
        self.rest()
        os.write(self._descriptor, ("cloudist: %s\n" % text).encode("utf-8", "backslashreplace"))

    def progress(self, done, total):
        if self._redraws:
            self._pending = True
            os.write(self._descriptor, b"\r\x1b[Kcloudist: %d of %d tests before it" % (done, total))

    def rest(self):
        if self._pending:
            self._pending = False
            os.write(self._descriptor, b"\r\x1b[K")


def counted(count):
    return "1 test" if count == 1 else "%d tests" % count
