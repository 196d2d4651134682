"""The hashes of the ledger. Written by the writer, computed again by the audit: they must never change.

The chain runs over the hash of each text, not over the text, so that a text can be erased and the chain still holds.
"""

from __future__ import annotations

from hashlib import sha256
from json import JSONEncoder

__all__ = ["chain_hash", "payload_hash"]

_encode = JSONEncoder(separators=(",", ":")).encode  # a list as JSON: no field can pretend to be two


def chain_hash(
    previous: str, seq: int, epoch: int, stream_id: str, ticket_id: str, ticket_seq: int, number: str, move: str,
    before: str | None, after: str | None, actor: str, at: float, life: int, payload: str,
) -> str:  # fmt: skip
    """The hash of a line: sha256 over the hash before it and everything the row says."""
    fields = [
        previous, seq, epoch, stream_id, ticket_id, ticket_seq, number, move, before, after, actor, float(at), life,
        payload,
    ]  # fmt: skip
    return sha256(_encode(fields).encode()).hexdigest()


def payload_hash(text: str) -> str:
    """The hash of a line's text."""
    return sha256(text.encode()).hexdigest()
