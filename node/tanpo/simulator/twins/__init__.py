"""The Twins test: two copies of a validator with one key, in partitions that are generated systematically.

plan.py        one scenario, and the run it stands for
spaces.py      all scenarios of a network's size, numbered
published.py   scenarios that forked other protocols
running.py     one run, and many
"""

from tanpo.simulator.twins.plan import TermPlan, TwinsScenario
from tanpo.simulator.twins.published import PUBLISHED
from tanpo.simulator.twins.running import run_scenario, sweep_scenarios
from tanpo.simulator.twins.spaces import SIZES, Space, find_scenario, list_numbers, list_spaces

__all__ = [
    "PUBLISHED",
    "SIZES",
    "Space",
    "TermPlan",
    "TwinsScenario",
    "find_scenario",
    "list_numbers",
    "list_spaces",
    "run_scenario",
    "sweep_scenarios",
]
