"""What a ticket remembers of the review of its reply (SD-07, SD-08)."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Review"]


class Review(BaseModel):
    """A finished reply is looked at before it leaves: whose it is, what the ticket was before, what was found."""

    model_config = ConfigDict(extra="ignore")

    open: bool = Field(default=True, description="somebody is to look at it now")
    authors: list[str] = Field(description="who wrote at it, the last one last: none of them judges it")
    needs: list[str] = Field(description="what the ticket needed, and who was excluded, before it was submitted")
    excluded: list[str] = Field(default_factory=list)
    step: str = ""
    verdict: dict[str, Any] | None = Field(default=None, description="the last one, with its evidence")

    @property
    def author(self) -> str:
        """Whose reply is looked at."""
        return self.authors[-1]
