"""The API's HTTP server: reads requests, lets faults and hooks have their way, has the account perform them.

EC2, and as much of STS and Service Quotas as a client needs. Holds no state of the account.
"""

from __future__ import annotations

import json
import socket
import threading
import time
import traceback
import uuid
from typing import Any, Callable, Dict, List, Tuple

from moto.core.exceptions import ServiceException
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wrappers import Request, Response

from .account import Account
from .calls import Call, Calls
from .ec2_response import Ec2Response, from_moto
from .errors import ApiError
from .faults import Faults

DROP = "drop"
Hook = Callable[[Call], Any]
READ_ONLY = ("Describe", "Get", "List", "Search")
LARGE = ("DescribeInstanceTypes", "DescribeInstanceTypeOfferings", "DescribeSpotPriceHistory")
WRITTEN: Dict[Tuple[str, str, str], Tuple[int, bytes]] = {}
SPOT_QUOTA, ON_DEMAND_QUOTA = "L-34B43A08", "L-1216C47A"


class Dropped(Exception):
    """The reply is lost on its way."""


class Handler(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:
        pass


class Api:
    def __init__(self, account: Account, calls: Calls, faults: Faults, problems: List[str]) -> None:
        self._account = account
        self._problems = problems
        self._calls = calls
        self._faults = faults
        self._hooks: List[Tuple[str, str, Hook]] = []
        self._server = make_server("127.0.0.1", 0, self._serve, threaded=True, request_handler=Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="rig-api", daemon=True
        )
        self._thread.start()

    def on_call(self, action: str, when: str, hook: Hook) -> Callable[[], None]:
        entry = (action, when, hook)
        self._hooks.append(entry)
        return lambda: self._hooks.remove(entry) if entry in self._hooks else None

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, environ: Any, start_response: Any) -> Any:
        request = Request(environ)
        try:
            response = self._answer(request)
        except Dropped:
            environ["werkzeug.socket"].shutdown(socket.SHUT_RDWR)
            response = Response(status=500)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        identity = str(uuid.uuid4())
        service = _service(request)
        try:
            if service == "servicequotas":
                return self._quotas(request)
            if service == "sts":
                return self._identity(request, identity)
            ec2 = Ec2Response(self._account.id, request)
            status, body = self._ec2(ec2)
            return Response(body, status, content_type="text/xml;charset=UTF-8")
        except ApiError as error:
            if service == "servicequotas":
                body = json.dumps({"__type": error.code, "message": error.message})
                return Response(body, error.status, content_type="application/x-amz-json-1.1")
            body = error.query_xml(identity) if service == "sts" else error.xml(identity)
            return Response(body, error.status, content_type="text/xml;charset=UTF-8")
        except Dropped:
            raise
        except Exception:
            # Not one of the errors that clients try again after: the test is over.
            self._problems.append(traceback.format_exc())
            return Response(
                ApiError("RigFailure", traceback.format_exc()).xml(identity), 400, content_type="text/xml"
            )

    def _ec2(self, ec2: Ec2Response) -> Tuple[int, bytes]:
        parameters = ec2.parameters()

        def effect() -> Tuple[Any, Any]:
            with self._account.lock:
                reply = self._account.perform(ec2.action, parameters, lambda action: ec2.by_moto(parameters))
                return reply, self._written(ec2, parameters, reply)

        return self._called(ec2.action, parameters, effect)

    def _written(self, ec2: Ec2Response, parameters: Any, reply: Any) -> Tuple[int, bytes]:
        """The market's descriptions are large and slow to write, and the same for every rig."""
        if ec2.action not in LARGE:
            return ec2.written(reply)
        asked = {name: value for name, value in parameters.items() if name not in ("StartTime", "EndTime")}
        key = (ec2.action, repr(asked), self._account.market.edition())
        if key not in WRITTEN:
            WRITTEN[key] = ec2.written(reply)
        return WRITTEN[key]

    def _called(self, action: str, parameters: Any, effect: Callable[[], Tuple[Any, Any]]) -> Any:
        """One call with its entry in the log. `effect` gives the reply, for the log and as it is written."""
        call = self._calls.begin(action, dict(parameters))
        try:
            self._run_hooks(call, "before")
            time.sleep(self._faults.of_call("slow", action) or 0)
            error = self._faults.of_call("error", action)
            if error is not None:
                raise error
            if parameters.get("DryRun") and not action.startswith(READ_ONLY):
                raise ApiError("DryRunOperation", "Request would have succeeded, but DryRun flag is set.")
            call.reply, answer = effect()
            call.took_effect = True
            self._run_hooks(call, "after")
            if self._faults.of_call("drop", action):
                call.error = "(reply dropped)"
                raise Dropped
            return answer
        except ServiceException as error:
            raise self._noted(call, from_moto(error)) from None
        except ApiError as error:
            raise self._noted(call, error) from None
        finally:
            self._calls.end(call)

    @staticmethod
    def _noted(call: Call, error: ApiError) -> ApiError:
        call.error, call.message = error.code, error.message
        return error

    def _run_hooks(self, call: Call, when: str) -> None:
        for action, moment, hook in list(self._hooks):
            if moment == when and action in (call.action, "*"):
                if hook(call) == DROP:
                    call.error = "(dropped)"
                    raise Dropped

    def _identity(self, request: Request, identity: str) -> Response:
        action = request.form.get("Action", "")
        if action != "GetCallerIdentity":
            raise ApiError("InvalidAction", f"The action {action} is not supported here")
        account = self._account.id
        body = (
            '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
            f"<Arn>arn:aws:iam::{account}:user/rig</Arn><UserId>AIDARIGRIGRIGRIGRIG0</UserId>"
            f"<Account>{account}</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>{identity}"
            "</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
        )
        answer = self._called(action, request.form.to_dict(), lambda: ({"Account": account}, body))
        return Response(answer, content_type="text/xml")

    def _quotas(self, request: Request) -> Response:
        action = request.headers.get("X-Amz-Target", "").rpartition(".")[2]
        parameters = json.loads(request.get_data() or b"{}")
        entries = [
            self._quota(
                SPOT_QUOTA, "All Standard (A, C, D, H, I, M, R, T, Z) Spot Instance Requests", "spot"
            ),
            self._quota(
                ON_DEMAND_QUOTA,
                "Running On-Demand Standard (A, C, D, H, I, M, R, T, Z) instances",
                "on-demand",
            ),
        ]
        if action == "ListServiceQuotas":
            reply: Any = {"Quotas": entries}
        elif action == "GetServiceQuota":
            found = [one for one in entries if one["QuotaCode"] == parameters.get("QuotaCode")]
            if not found:
                raise ApiError(
                    "NoSuchResourceException", "The request failed because the quota does not exist"
                )
            reply = {"Quota": found[0]}
        else:
            raise ApiError("UnknownOperationException", f"{action} is not supported here")
        answer = self._called(action, parameters, lambda: (reply, json.dumps(reply)))
        return Response(answer, content_type="application/x-amz-json-1.1")

    def _quota(self, code: str, name: str, market: str) -> Any:
        value = self._faults.quota(market)
        return {
            "ServiceCode": "ec2",
            "ServiceName": "Amazon Elastic Compute Cloud (Amazon EC2)",
            "QuotaArn": f"arn:aws:servicequotas:{self._account.region}:{self._account.id}:ec2/{code}",
            "QuotaCode": code,
            "QuotaName": name,
            "Value": float(640 if value is None else value),
            "Unit": "None",
            "Adjustable": True,
            "GlobalQuota": False,
        }


def _service(request: Request) -> str:
    """From the scope of the request's signature."""
    authorization = request.headers.get("Authorization", "")
    parts = authorization.partition("Credential=")[2].partition(",")[0].split("/")
    return parts[3] if len(parts) > 3 else "ec2"
