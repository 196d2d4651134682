"""Deciding what each ticket needs next, and showing it. Start at `loop.py`."""
