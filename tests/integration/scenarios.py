"""All scenarios, for the real servers and for any model of them; no server is needed to read them."""

from typing import Final

from tests.integration import (
    content_scenarios,
    edit_scenarios,
    header_scenarios,
    law_scenarios,
    session_scenarios,
    verdict_scenarios,
)
from tests.integration.scenario import Scenario

SCENARIOS: Final[tuple[Scenario, ...]] = (
    *verdict_scenarios.SCENARIOS,
    *header_scenarios.SCENARIOS,
    *edit_scenarios.SCENARIOS,
    *content_scenarios.SCENARIOS,
    *session_scenarios.SCENARIOS,
    *law_scenarios.SCENARIOS,
)
