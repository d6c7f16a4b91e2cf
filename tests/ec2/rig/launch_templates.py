"""Descriptions of launch templates, which moto gives without renewed tags, pages or resolved images."""

from __future__ import annotations

from typing import Any, Dict, List

from . import filters
from .errors import ApiError
from .images import Images

MOST = 200


class LaunchTemplates:
    def __init__(self, account: str, backend: Any, images: Images) -> None:
        self._account = account
        self._backend = backend
        self._images = images

    def describe(self, parameters: Dict[str, Any]) -> Dict[str, Any]:
        found = [self._described(template) for template in self._asked_for(parameters)]
        chosen = filters.chosen(
            found,
            parameters.get("Filters"),
            {"launch-template-name": "LaunchTemplateName", "create-time": "CreateTime"},
        )
        return filters.page("LaunchTemplates", chosen, parameters, most=MOST)

    def _asked_for(self, parameters: Dict[str, Any]) -> List[Any]:
        templates = self._backend.launch_templates
        ids, names = parameters.get("LaunchTemplateIds") or [], parameters.get("LaunchTemplateNames") or []
        if not ids and not names:
            return list(templates.values())
        known = {template.name: template for template in templates.values()}
        for identity in ids:
            if identity not in templates:
                raise ApiError(
                    "InvalidLaunchTemplateId.NotFound",
                    f"The specified launch template, with template ID {identity}, does not exist.",
                )
        for name in names:
            if name not in known:
                raise ApiError(
                    "InvalidLaunchTemplateName.NotFoundException",
                    f"The specified launch template, with template name {name}, does not exist.",
                )
        return [templates[identity] for identity in ids] + [known[name] for name in names]

    def _described(self, template: Any) -> Dict[str, Any]:
        tags = self._backend.tags[template.id]
        return {
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "CreateTime": template.create_time,
            "CreatedBy": f"arn:aws:iam::{self._account}:user/rig",
            "DefaultVersionNumber": template.default_version_number,
            "LatestVersionNumber": template.latest_version_number,
            "Tags": [{"Key": key, "Value": value} for key, value in sorted(tags.items())],
        }

    def check(self, parameters: Dict[str, Any]) -> None:
        """That the one that a call names is there, else the error that says so."""
        identity, name = parameters.get("LaunchTemplateId"), parameters.get("LaunchTemplateName")
        self._asked_for(
            {
                "LaunchTemplateIds": [identity] if identity else [],
                "LaunchTemplateNames": [name] if name else [],
            }
        )

    def resolve_aliases(self, parameters: Dict[str, Any], reply: Any) -> Any:
        """The reply of DescribeLaunchTemplateVersions with ids in place of image aliases, if asked for."""
        if str(parameters.get("ResolveAlias")).lower() != "true":
            return reply
        versions = []
        for version in reply["LaunchTemplateVersions"]:
            data = dict(version["LaunchTemplateData"])
            if data.get("ImageId"):
                data["ImageId"] = self._images.resolve(data["ImageId"])
            versions.append({**version, "LaunchTemplateData": data})
        return {**reply, "LaunchTemplateVersions": versions}
