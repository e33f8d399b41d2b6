"""Judges pictures of the parts on a belt, and learns while the belt runs: an example of a program with cnnx in it."""

from .costs import Costs
from .inspector import Inspector
from .lion import Lion
from .sharpness import Sharpness

__all__ = ["Costs", "Inspector", "Lion", "Sharpness"]
