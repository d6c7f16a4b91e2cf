"""EC2 Fleet of type `instant`: chooses pools, launches, and says in one reply what came and what didn't."""

from __future__ import annotations

import dataclasses
import datetime
import uuid
from typing import Any, Dict, List, Optional, Tuple

from . import filters
from .errors import ApiError, not_found
from .faults import Faults
from .instance import Instance
from .instances import USER_INITIATED, Instances
from .launch import Launcher, Place, tags_for
from .market import Market

BY_PRICE = {"lowest-price", "lowestPrice", "price-capacity-optimized", "diversified"}
BY_CAPACITY = {"capacity-optimized"}
BY_PRIORITY = {"prioritized", "capacity-optimized-prioritized"}


@dataclasses.dataclass
class Pool:
    """One override of one launch template: what EC2 may launch from."""

    data: Dict[str, Any]
    template: Any
    specification: Dict[str, str]
    override: Dict[str, Any]
    type: str
    weight: float
    place: Optional[Place] = None
    error: Optional[ApiError] = None
    launched: List[Instance] = dataclasses.field(default_factory=list)

    def described(self) -> Dict[str, Any]:
        return {"LaunchTemplateSpecification": self.specification, "Overrides": self.override}


@dataclasses.dataclass
class Fleet:
    id: str
    parameters: Dict[str, Any]
    tags: Dict[str, str]
    created: datetime.datetime
    instances: List[Instance]
    pools: List[Pool]
    market: str
    state: str = "active"

    def current_state(self) -> str:
        gone = all(instance.state == "terminated" for instance in self.instances)
        return "deleted" if self.state == "deleted_terminating" and gone else self.state


class Fleets:
    def __init__(
        self, backend: Any, market: Market, launcher: Launcher, instances: Instances, faults: Faults
    ) -> None:
        self._backend = backend
        self._market = market
        self._launcher = launcher
        self._instances = instances
        self._faults = faults
        self.fleets: Dict[str, Fleet] = {}

    def create(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        target = parameters.get("TargetCapacitySpecification") or {}
        if parameters.get("Type", "maintain") != "instant":
            raise ApiError("UnsupportedOperation", "Only fleets of type instant are supported here")
        total = int(target.get("TotalTargetCapacity") or 0)
        if total < 1:
            raise ApiError("InvalidParameterValue", "TotalTargetCapacity must be greater than 0")
        market = target.get("DefaultTargetCapacityType") or "on-demand"
        pools = self._pools(parameters)
        fleet = Fleet(
            id=f"fleet-{uuid.uuid4()}",
            parameters=parameters,
            tags={},
            created=datetime.datetime.now(datetime.timezone.utc),
            instances=[],
            pools=pools,
            market=market,
        )
        fleet.tags = self._backend.tags[fleet.id]
        fleet.tags.update(tags_for("fleet", parameters.get("TagSpecifications")))
        self.fleets[fleet.id] = fleet
        options = parameters.get("SpotOptions" if market == "spot" else "OnDemandOptions") or {}
        self._fill(fleet, float(total), options)
        return {
            "FleetId": fleet.id,
            "Instances": [self._launched(pool, market) for pool in pools if pool.launched],
            "Errors": [self._error(pool, market) for pool in pools if pool.error is not None],
        }

    def _pools(self, parameters: Dict[str, Any]) -> List[Pool]:
        pools = []
        for config in parameters.get("LaunchTemplateConfigs") or []:
            specification = config.get("LaunchTemplateSpecification") or {}
            version = self._launcher.template(specification)
            named = {
                "LaunchTemplateId": version.template.id,
                "LaunchTemplateName": version.template.name,
                "Version": str(version.number),
            }
            for override in config.get("Overrides") or [{}]:
                data = {**version.data, **override}
                type = data.get("InstanceType")
                if not type:
                    raise ApiError(
                        "InvalidFleetConfiguration", "No instance type in the template or its overrides"
                    )
                if float(override.get("MaxPrice") or 1) < 0.001:
                    raise ApiError("InvalidParameterValue", "The maximum price must be more than USD $0.001")
                weight = float(override.get("WeightedCapacity") or 1)
                pools.append(Pool(data, version, named, override, type, weight))
        if not pools:
            raise ApiError("MissingParameter", "The request must contain the parameter LaunchTemplateConfigs")
        if len(pools) > 300:
            raise ApiError("InvalidFleetConfiguration", "At most 300 launch template overrides are allowed")
        if len({repr((pool.specification, pool.override)) for pool in pools}) < len(pools):
            raise ApiError("InvalidFleetConfig", "The fleet configuration contains duplicate instance pools")
        return pools

    def _fill(self, fleet: Fleet, missing: float, options: Dict[str, Any]) -> None:
        strategy = options.get("AllocationStrategy") or "lowest-price"
        open_pools = []
        for pool in fleet.pools:
            if self._usable(pool, fleet.market):
                open_pools.append(pool)
        open_pools.sort(key=lambda pool: self._rank(pool, strategy, fleet.market))
        while missing > 0 and open_pools:
            pool = open_pools[0]
            if not self._usable(pool, fleet.market):
                open_pools.pop(0)
                continue
            assert pool.place is not None
            instance = self._launcher.launch(
                pool.data,
                pool.type,
                fleet.market,
                pool.place,
                self._instance_tags(fleet, pool),
                fleet.parameters.get("ClientToken") or "",
                fleet.id,
                tags_for("volume", pool.data.get("TagSpecifications")),
            )
            pool.launched.append(instance)
            fleet.instances.append(instance)
            missing -= pool.weight
            if strategy == "diversified":
                open_pools.append(open_pools.pop(0))

    def _usable(self, pool: Pool, market: str) -> bool:
        """Whether one more can come from it now; else its error says why not."""
        try:
            self._market.type(pool.type)
            pool.place = pool.place or self._launcher.place(pool.data, pool.type)
            self._launcher.check(pool.data, pool.type, market, pool.place)
            limit = pool.override.get("MaxPrice")
            price = self._market.spot_price(pool.type, pool.place.zone) / pool.weight
            if market == "spot" and limit is not None and float(limit) < price:
                raise ApiError(
                    "SpotMaxPriceTooLow",
                    f"Your Spot request price of {limit} an hour and unit is lower than the minimum required "
                    f"Spot request fulfillment price of {price:.6f}.",
                )
        except ApiError as error:
            pool.error = error
            return False
        except Exception as error:
            code = getattr(error, "code", None)
            if not isinstance(code, str):
                raise
            pool.error = ApiError(code, str(getattr(error, "message", error)))
            return False
        return True

    def _rank(self, pool: Pool, strategy: str, market: str) -> Tuple[float, ...]:
        assert pool.place is not None
        spot = market == "spot"
        price = (
            self._market.spot_price(pool.type, pool.place.zone)
            if spot
            else self._market.on_demand_price(pool.type)
        )
        by_price = price / pool.weight
        if strategy in BY_PRICE:
            return (by_price,)
        if strategy in BY_CAPACITY:
            return (-self._faults.left(pool.type, pool.place.zone), by_price)
        if strategy in BY_PRIORITY:
            return (float(pool.override.get("Priority", 1e9)), by_price)
        raise ApiError("InvalidParameterValue", f"AllocationStrategy '{strategy}' is invalid")

    def _instance_tags(self, fleet: Fleet, pool: Pool) -> Dict[str, str]:
        return {
            **tags_for("instance", pool.data.get("TagSpecifications")),
            **tags_for("instance", fleet.parameters.get("TagSpecifications")),
            "aws:ec2:fleet-id": fleet.id,
            "aws:ec2launchtemplate:id": pool.specification["LaunchTemplateId"],
            "aws:ec2launchtemplate:version": pool.specification["Version"],
        }

    @staticmethod
    def _launched(pool: Pool, market: str) -> Dict[str, Any]:
        assert pool.place is not None
        described = pool.described()
        described["Overrides"] = {
            "AvailabilityZone": pool.place.zone,
            "InstanceType": pool.type,
            **pool.override,
        }
        return {
            "LaunchTemplateAndOverrides": described,
            "Lifecycle": market,
            "InstanceIds": [instance.id for instance in pool.launched],
            "InstanceType": pool.type,
        }

    @staticmethod
    def _error(pool: Pool, market: str) -> Dict[str, Any]:
        assert pool.error is not None
        return {
            "LaunchTemplateAndOverrides": pool.described(),
            "Lifecycle": market,
            "ErrorCode": pool.error.code,
            "ErrorMessage": pool.error.message,
        }

    def describe(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        """Fleets of type `instant` are only described when they are asked for by id."""
        found = [self._get(identity) for identity in parameters.get("FleetIds") or []]
        described = [
            {
                "FleetId": fleet.id,
                "FleetState": fleet.current_state(),
                "ActivityStatus": "fulfilled" if fleet.instances else "error",
                "ClientToken": fleet.parameters.get("ClientToken") or "",
                "CreateTime": fleet.created,
                "Type": "instant",
                "Tags": [{"Key": key, "Value": value} for key, value in fleet.tags.items()],
                "TargetCapacitySpecification": fleet.parameters["TargetCapacitySpecification"],
                "Instances": [self._launched(pool, fleet.market) for pool in fleet.pools if pool.launched],
                "Errors": [self._error(pool, fleet.market) for pool in fleet.pools if pool.error is not None],
            }
            for fleet in found
        ]
        chosen = filters.chosen(
            described, parameters.get("Filters"), {"fleet-state": "FleetState", "type": "Type"}
        )
        return filters.page("Fleets", chosen, parameters)

    def _get(self, identity: str) -> Fleet:
        if identity not in self.fleets:
            raise not_found("InvalidFleetId", "fleet ID", identity)
        return self.fleets[identity]

    def delete(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        if len(parameters.get("FleetIds") or []) > 25:
            raise ApiError(
                "InvalidParameterValue", "At most 25 fleets of type instant are deleted by a request"
            )
        deleted, failed = [], []
        for identity in parameters.get("FleetIds") or []:
            fleet = self.fleets.get(identity)
            code = None
            if fleet is None:
                code, message = "fleetIdDoesNotExist", f"The fleet ID '{identity}' does not exist"
            elif str(parameters.get("TerminateInstances")).lower() != "true":
                code, message = (
                    "fleetNotInDeletableState",
                    "An instant fleet is deleted with its instances only",
                )
            if code is not None:
                failed.append({"FleetId": identity, "Error": {"Code": code, "Message": message}})
                continue
            previous, fleet.state = fleet.current_state(), "deleted_terminating"
            for instance in fleet.instances:
                self._instances.end(instance, USER_INITIATED)
            deleted.append(
                {
                    "FleetId": identity,
                    "CurrentFleetState": "deleted_terminating",
                    "PreviousFleetState": previous,
                }
            )
        return {"SuccessfulFleetDeletions": deleted, "UnsuccessfulFleetDeletions": failed}
