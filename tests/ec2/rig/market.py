"""Which instance types there are, in which zones, at which price, and how many of them can be had.

Types and offerings are moto's tables; prices follow from a type's size unless a test sets them.
"""

from __future__ import annotations

import collections
import datetime
import zlib
from typing import Any, Dict, List, Optional, Tuple

from . import filters
from .errors import ApiError

PRODUCT = "Linux/UNIX"


class Market:
    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self._prices: Dict[Tuple[str, str], float] = {}
        self._types = {entry["InstanceType"]: dict(entry) for entry in backend.instance_types}
        for entry in self._types.values():
            entry.pop("name", None)
        offered = backend.describe_instance_type_offerings("availability-zone", {})
        self._zones: Dict[str, List[str]] = collections.defaultdict(list)
        for offer in offered:
            if offer["InstanceType"] in self._types:
                self._zones[offer["InstanceType"]].append(offer["Location"])

    def type(self, name: str) -> Dict[str, Any]:
        if name not in self._types:
            raise ApiError(
                "InvalidInstanceType", f"The following supplied instance types do not exist: [{name}]"
            )
        return self._types[name]

    def names(self) -> List[str]:
        return list(self._zones)

    def vcpus(self, name: str) -> int:
        return self.type(name)["VCpuInfo"]["DefaultVCpus"]

    def architectures(self, name: str) -> List[str]:
        return self.type(name)["ProcessorInfo"]["SupportedArchitectures"]

    def offered(self, name: str, zone: str) -> bool:
        return zone in self._zones.get(name, ())

    def zones(self, name: str) -> List[str]:
        return sorted(self._zones.get(name, ()))

    def set_price(self, name: str, zone: str, dollars: float) -> None:
        self._prices[name, zone] = dollars

    def on_demand_price(self, name: str) -> float:
        entry = self.type(name)
        accelerators = 1.0 if entry.get("GpuInfo") else 0.0
        return self.vcpus(name) * 0.03 + entry["MemoryInfo"]["SizeInMiB"] / 1024 * 0.0045 + accelerators

    def spot_price(self, name: str, zone: str) -> float:
        """The same on every day; between 25 and 55 % of the on-demand price, by type and zone."""
        if (name, zone) in self._prices:
            return self._prices[name, zone]
        share = 0.25 + (zlib.crc32(f"{name} {zone}".encode()) % 1000) / 1000 * 0.3
        return round(self.on_demand_price(name) * share, 6)

    @staticmethod
    def priced_since() -> datetime.datetime:
        now = datetime.datetime.now(datetime.timezone.utc)
        return now.replace(minute=0, second=0, microsecond=0) - datetime.timedelta(hours=1)

    def edition(self) -> str:
        """Changes when descriptions of the market do."""
        return f"{self.priced_since()} {sorted(self._prices.items())}"

    def describe_types(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        wanted = parameters.get("InstanceTypes") or []
        unknown = [name for name in wanted if name not in self._types]
        if unknown:
            raise ApiError(
                "InvalidInstanceType",
                f"The following supplied instance types do not exist: [{', '.join(unknown)}]",
            )
        names = [entry["InstanceType"] for entry in self._chosen_types(parameters)]
        found = [self._types[name] for name in sorted(names) if not wanted or name in wanted]
        return filters.page("InstanceTypes", found, parameters, most=100)

    def _chosen_types(self, parameters: Dict[str, Any]) -> List[Any]:
        wanted = {one["Name"]: one.get("Values") or [] for one in parameters.get("Filters") or []}
        return self._backend.describe_instance_types([], wanted)

    def describe_offerings(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        kind = parameters.get("LocationType") or "region"
        if kind == "availability-zone":
            pairs = [(name, zone) for name in sorted(self._zones) for zone in self.zones(name)]
        elif kind == "region":
            pairs = [(name, self._backend.region_name) for name in sorted(self._zones)]
        else:
            raise ApiError("InvalidParameterValue", f"The location type '{kind}' is not supported here")
        found = filters.chosen(
            [{"InstanceType": name, "LocationType": kind, "Location": place} for name, place in pairs],
            parameters.get("Filters"),
            {"instance-type": "InstanceType", "location": "Location"},
        )
        return filters.page("InstanceTypeOfferings", found, parameters, most=1000)

    def describe_spot_prices(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        """The price of each type and zone, which has been the same for an hour at least."""
        if parameters.get("InstanceTypes"):
            names = [name for name in parameters["InstanceTypes"] if self.type(name)]
        else:
            names = sorted(self._zones)
        since = self.priced_since()
        zone: Optional[str] = parameters.get("AvailabilityZone")
        products = parameters.get("ProductDescriptions") or [PRODUCT]
        found = [
            {
                "InstanceType": name,
                "AvailabilityZone": place,
                "ProductDescription": PRODUCT,
                "SpotPrice": f"{self.spot_price(name, place):.6f}",
                "Timestamp": since,
            }
            for name in names
            for place in self.zones(name)
            if zone in (None, place)
            and {PRODUCT, f"{PRODUCT} (Amazon VPC)"} & set(products)
            and "spot" in self._types[name]["SupportedUsageClasses"]
        ]
        found = filters.chosen(
            found,
            parameters.get("Filters"),
            {
                "availability-zone": "AvailabilityZone",
                "instance-type": "InstanceType",
                "product-description": "ProductDescription",
                "spot-price": "SpotPrice",
            },
        )
        return filters.page("SpotPriceHistory", found, parameters, most=1000)
