"""Flower, the managers' view of the fleet, with one more tab: the tickets in their three queues."""

from .app import ShiftleadFlower, run_flower

__all__ = ["ShiftleadFlower", "run_flower"]
