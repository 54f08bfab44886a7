"""Many servers asked at once: :class:`Fleet`, :class:`AsyncFleet` and their results."""

from ..errors import UNCLEAR as UNCLEAR
from ._async import AsyncFleet
from ._fleet import Fleet
from ._nodes import FleetNode
from ._policy import PolicyOptions
from ._result import FleetError, FleetResult, NodeResult, Unhealthy

__all__ = ["AsyncFleet", "Fleet", "FleetError", "FleetNode", "FleetResult", "NodeResult", "PolicyOptions", "Unhealthy"]
