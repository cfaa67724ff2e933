"""Draws shared out to actors of Ray: no torch here, since the process that speaks to Ray computes nothing."""

from certify.cluster.crew import Crew
from certify.cluster.hub import Hub
from certify.cluster.member import Member, member

__all__ = ["Crew", "Hub", "Member", "member"]
