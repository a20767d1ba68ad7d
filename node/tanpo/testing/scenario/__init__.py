"""Scenarios of consensus: text files that read like a story and are replayed by real replicas.

`tests/scenario/README.md` describes the language.
"""

from tanpo.testing.scenario.replaying import Replay, replay
from tanpo.testing.scenario.script import ScenarioError, Script, Step, parse_script

__all__ = ["Replay", "ScenarioError", "Script", "Step", "parse_script", "replay"]
