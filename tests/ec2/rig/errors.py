"""Errors as the API gives them: a code, a message and an HTTP status."""

from __future__ import annotations

from xml.sax.saxutils import escape

STATUS = {
    "DryRunOperation": 412,
    "UnauthorizedOperation": 403,
    "InsufficientInstanceCapacity": 500,
    "InternalError": 500,
    "RequestLimitExceeded": 503,
    "Unavailable": 503,
}


class ApiError(Exception):
    def __init__(self, code: str, message: str, status: int = 0) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status or STATUS.get(code, 400)

    def xml(self, request_id: str) -> str:
        """In EC2's own shape, which is not that of the other services."""
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<Response><Errors><Error>'
            f"<Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message>"
            f"</Error></Errors><RequestID>{request_id}</RequestID></Response>"
        )

    def query_xml(self, request_id: str) -> str:
        """In the shape of STS."""
        return (
            '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>'
            f"<Code>{escape(self.code)}</Code><Message>{escape(self.message)}</Message>"
            f"</Error><RequestId>{request_id}</RequestId></ErrorResponse>"
        )


def not_found(kind: str, what: str, identity: str) -> ApiError:
    return ApiError(f"{kind}.NotFound", f"The {what} '{identity}' does not exist")
