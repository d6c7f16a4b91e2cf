"""The API's actions on instances, as functions from parameters to replies in the API's own shape."""

from __future__ import annotations

import datetime
from typing import Any, Callable, Dict, List

from . import filters
from .errors import ApiError
from .images import Images
from .instance import FILTERS, Instance
from .instances import USER_INITIATED, Instances
from .launch import Launcher, tags_for

Action = Callable[[Dict[str, Any]], Dict[str, Any]]


class InstanceActions:
    def __init__(self, account: str, instances: Instances, launcher: Launcher, images: Images) -> None:
        self._images = images
        self._account = account
        self._instances = instances
        self._launcher = launcher

    def table(self) -> Dict[str, Action]:
        return {
            "RunInstances": self.run,
            "DescribeInstances": self.describe,
            "DescribeInstanceStatus": self.describe_status,
            "TerminateInstances": self.terminate,
            "StopInstances": self.stop,
            "CreateImage": self.create_image,
            "GetConsoleOutput": self.console_output,
        }

    def run(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        data: Dict[str, Any] = {}
        tags: Dict[str, str] = {}
        if parameters.get("LaunchTemplate"):
            version = self._launcher.template(parameters["LaunchTemplate"])
            data = dict(version.data)
            tags = tags_for("instance", data.get("TagSpecifications"))
        data.update({name: value for name, value in parameters.items() if value is not None})
        tags.update(tags_for("instance", parameters.get("TagSpecifications")))
        options = data.get("InstanceMarketOptions") or {}
        market = "spot" if options.get("MarketType") == "spot" else "on-demand"
        type = data.get("InstanceType") or "m1.small"
        place = self._launcher.place(data, type)
        least, most = int(parameters.get("MinCount") or 1), int(parameters.get("MaxCount") or 1)
        launched: List[Instance] = []
        while len(launched) < most:
            try:
                self._launcher.check(data, type, market, place)
            except ApiError:
                if len(launched) < least:
                    for instance in launched:
                        self._instances.end(instance, USER_INITIATED)
                    raise
                break
            launched.append(
                self._launcher.launch(
                    data,
                    type,
                    market,
                    place,
                    tags,
                    parameters.get("ClientToken") or "",
                    volume_tags=tags_for("volume", parameters.get("TagSpecifications")),
                )
            )
        return self._reservation(launched)

    def describe(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        wanted = parameters.get("InstanceIds") or []
        if wanted and parameters.get("MaxResults"):
            raise ApiError(
                "InvalidParameterCombination",
                "The parameter instancesSet cannot be used with the parameter maxResults",
            )
        found = [one for identity in wanted or [None] for one in self._instances.visible(identity)]
        chosen = filters.chosen([one.described() for one in found], parameters.get("Filters"), FILTERS)
        page = filters.page("Instances", chosen, parameters, most=1000)
        page["Reservations"] = [self._reservation_of([one]) for one in page.pop("Instances")]
        return page

    def describe_status(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        wanted = parameters.get("InstanceIds") or []
        found = [one for identity in wanted or [None] for one in self._instances.visible(identity)]
        if str(parameters.get("IncludeAllInstances")).lower() != "true":
            found = [one for one in found if one.state == "running"]
        statuses = [
            {
                "InstanceId": one.id,
                "AvailabilityZone": one.zone,
                "InstanceState": one.described_state(),
                "InstanceStatus": {"Status": "ok" if one.state == "running" else "not-applicable"},
                "SystemStatus": {"Status": "ok" if one.state == "running" else "not-applicable"},
            }
            for one in found
        ]
        return filters.page("InstanceStatuses", statuses, parameters, most=1000)

    def terminate(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        return {"TerminatingInstances": self._end(parameters, "terminated")}

    def stop(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        return {"StoppingInstances": self._end(parameters, "stopped")}

    def _end(self, parameters: Dict[str, Any], final: str) -> List[Dict[str, Any]]:
        chosen = [self._instances.visible(identity)[0] for identity in parameters.get("InstanceIds") or []]
        changes = []
        for instance in chosen:
            previous = instance.described_state()
            self._instances.end(instance, USER_INITIATED, final)
            changes.append(
                {
                    "InstanceId": instance.id,
                    "PreviousState": previous,
                    "CurrentState": instance.described_state(),
                }
            )
        return changes

    def create_image(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        instance = self._instances.visible(parameters["InstanceId"])[0]
        if instance.state != "running" or instance.machine is None:
            raise ApiError("IncorrectInstanceState", f"The instance '{instance.id}' is {instance.state}")
        specifications = parameters.get("TagSpecifications")
        tags = {kind: tags_for(kind, specifications) for kind in ("image", "snapshot")}
        return {"ImageId": self._images.make(parameters, instance, tags).id}

    def console_output(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        instance = self._instances.visible(parameters["InstanceId"])[0]
        return {
            "InstanceId": instance.id,
            "Output": instance.console_output(),
            "Timestamp": datetime.datetime.now(datetime.timezone.utc),
        }

    def _reservation(self, instances: List[Instance]) -> Dict[str, Any]:
        return self._reservation_of([instance.described() for instance in instances])

    def _reservation_of(self, described: List[Dict[str, Any]]) -> Dict[str, Any]:
        identity = f"r-{described[0]['InstanceId'][2:]}"
        return {"ReservationId": identity, "OwnerId": self._account, "Groups": [], "Instances": described}
