"""What a ticket is, which moves are legal and where tickets are kept. Start at `lifecycle.py`."""
