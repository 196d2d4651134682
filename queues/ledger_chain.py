"""The hashes of the ledger. Written by the writer, computed again by the audit: they must never change.

The chain runs over the hash of each text, not over the text, so that a text can be erased and the chain still holds.
"""

from __future__ import annotations

from hashlib import sha256
from json.encoder import encode_basestring_ascii as text

__all__ = ["chain_hash", "payload_hash"]


def chain_hash(
    previous: str, seq: int, epoch: int, stream_id: str, ticket_id: str, ticket_seq: int, number: str, move: str,
    before: str | None, after: str | None, actor: str, at: float, life: int, payload: str,
) -> str:  # fmt: skip
    """The hash of a line: sha256 over the hash before it and everything the row says, as a JSON list without blanks.

    Written out by hand, because a JSON encoder takes three times as long. As JSON no field can pretend to be two.
    """
    left = "null" if before is None else text(before)
    entered = "null" if after is None else text(after)
    return sha256(
        f'["{previous}",{seq},{epoch},"{stream_id}",{text(ticket_id)},{ticket_seq},{text(number)},{text(move)},{left},'
        f'{entered},{text(actor)},{float(at)!r},{life},"{payload}"]'.encode()
    ).hexdigest()


def payload_hash(payload: str) -> str:
    """The hash of a line's text."""
    return sha256(payload.encode()).hexdigest()
