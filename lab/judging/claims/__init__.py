"""The claims of the discussion that the lab answers, each settled by an experiment: as data, and how to settle them."""

from lab.judging.claims.claim import Claim, Holding, Settled, settle
from lab.judging.claims.table import CLAIMS

__all__ = ["CLAIMS", "Claim", "Holding", "Settled", "settle"]
