"""The adversary: small behaviours, combined at random, with all knowledge and keys shared among them."""

from tanpo.simulator.hostile.actor import Actor, Behaviour, Conspiracy
from tanpo.simulator.hostile.roster import BEHAVIOURS, make_behaviours

__all__ = ["BEHAVIOURS", "Actor", "Behaviour", "Conspiracy", "make_behaviours"]
