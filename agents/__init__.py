"""Doing the work of one ticket. Start at `agent.py`, the contract."""
