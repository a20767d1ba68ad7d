"""Files that decay: bits that flip and tails that go missing, in every kind of file that a node keeps."""

from tanpo.testing.decay.flipping import Tally, decay
from tanpo.testing.decay.specimens import Specimen, make_specimens

__all__ = ["Specimen", "Tally", "decay", "make_specimens"]
