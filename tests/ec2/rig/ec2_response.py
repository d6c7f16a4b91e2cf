"""The bridge to moto: its reading and writing of EC2 requests, and the actions that it performs itself."""

from __future__ import annotations

from typing import Any, Dict, Tuple

from botocore.exceptions import ClientError
from botocore.model import OperationNotFoundError
from moto.core.exceptions import ServiceException
from moto.core.responses import ActionResult
from moto.core.utils import camelcase_to_underscores
from moto.ec2.responses import EC2Response
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Request

from .errors import ApiError


class Ec2Response(EC2Response):
    """One request."""

    __module__ = "moto.ec2.responses"

    def __init__(self, account: str, request: Request) -> None:
        super().__init__()
        self._account = account
        self._as_text = {name: values[0] for name, values in request.form.lists()}
        self.action = self._as_text.get("Action", "")
        try:
            self.setup_class(request, request.url, request.headers)
        except OperationNotFoundError:
            raise ApiError(
                "InvalidAction", f"The action {self.action} is not valid for this web service."
            ) from None

    def get_current_account(self) -> str:
        return self._account

    def parameters(self) -> Dict[str, Any]:
        return dict(self.params)

    def by_moto(self, parameters: Dict[str, Any]) -> Any:
        """Performs the action in moto; its reply's content."""
        method = getattr(self, camelcase_to_underscores(self.action), None)
        if method is None:
            raise ApiError("UnsupportedOperation", f"The action {self.action} is not supported here")
        self.params = parameters
        try:
            answer = method()
        except (ServiceException, ClientError) as error:
            raise from_moto(error) from None
        except HTTPException as error:
            raise ApiError(
                getattr(error, "error_type", error.name), str(error.description), error.code or 400
            ) from None
        except NotImplementedError as error:
            raise ApiError("UnsupportedOperation", f"{error}") from None
        return answer.result if isinstance(answer, ActionResult) else answer

    def written(self, result: Any) -> Tuple[int, bytes]:
        status, _, body = self.serialized(ActionResult(result))
        return status, body if isinstance(body, bytes) else body.encode()


def from_moto(error: Any) -> ApiError:
    return ApiError(error.code, str(getattr(error, "message", error)))
