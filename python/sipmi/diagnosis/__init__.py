"""The reason why a server cannot be reached, and the commands that mend it: :func:`doctor`."""

from ._doctor import doctor
from ._finding import LEVELS as LEVELS
from ._finding import Diagnosis, Finding

__all__ = ["Diagnosis", "Finding", "doctor"]
