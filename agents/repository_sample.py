"""A small shop as a git repository, in which the third of five commits breaks the fulfillment step of the checkout.

For demonstrations and tests. Authors and dates are fixed, so its commits have the same hashes on every machine.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

__all__ = ["COMMITS", "NAME", "make_repository", "merge", "prepare"]

NAME = "shop"
FIRST_AT = 1_800_000_000  # unix seconds, UTC; one commit an hour

BASKET = '''"""What a customer is about to buy."""


def total(basket):
    """In cents."""
    return sum(line["price"] * line["count"] for line in basket)
'''
SHIP = '''"""Turn a paid basket into parcels."""

HEAVY_G = 20_000


def parcels(basket, stock):
    """One parcel for what is light, one for each heavy thing."""
    light = [line["item"] for line in basket if line["weight"] <= HEAVY_G]
    heavy = [[line["item"]] for line in basket if line["weight"] > HEAVY_G]
    return ([light] if light else []) + heavy
'''
BROKEN = SHIP.replace(
    "    light =",
    '    basket = [line for line in basket if stock[line["item"]] >= line["count"]]\n    light =',
)
CHECK = '''"""The shop's own check: python check.py"""

import sys

from checkout.basket import total
from checkout.fulfillment import parcels

BASKET = [
    {"item": "kettle", "price": 9480, "count": 2, "weight": 1800},
    {"item": "gift card", "price": 2000, "count": 1, "weight": 5},
]
STOCK = {"kettle": 7}  # a gift card is printed when it is sold: it has no stock


def main():
    assert total(BASKET) == 20960, "the total is wrong"
    print("basket ok")
    assert parcels(BASKET, STOCK) == [["kettle", "gift card"]], "something is not shipped"
    print("fulfillment ok")


if __name__ == "__main__":
    sys.exit(main())
'''
SHOWN = (
    BASKET
    + """

def shown(cents, currency="EUR"):
    return f"{cents / 100:.2f} {currency}"
"""
)
SLIP = '''"""The paper that goes into a parcel."""


def slip(items):
    return "\\n".join(f"{number:>3}  {item}" for number, item in enumerate(items, 1))
'''
CARRIERS = '"""Who takes the parcels."""\n\nCARRIERS = ("post", "bicycle")\n'
COMMITS: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("mia", "Begin the shop: baskets and parcels",
     {"checkout/__init__.py": "", "checkout/basket.py": BASKET, "checkout/fulfillment.py": SHIP, "check.py": CHECK}),
    ("tom", "Show totals with their currency", {"checkout/basket.py": SHOWN}),
    ("tom", "Ship only what is on stock", {"checkout/fulfillment.py": BROKEN}),
    ("mia", "Print a packing slip", {"checkout/slip.py": SLIP}),
    ("mia", "Name the carriers", {"checkout/carriers.py": CARRIERS}),
)  # fmt: skip


def make_repository(folder: Path) -> list[str]:
    """The repository in `folder`, which must not exist; full hashes of its commits, the oldest first.

    Raises:
        OSError: git is not there. subprocess.CalledProcessError: it refused.
    """
    folder.mkdir(parents=True)
    _git(folder, "init", "-q", "--template=", "-b", "main")
    made = []
    for hours, (author, subject, files) in enumerate(COMMITS):
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        _git(folder, "add", "--", *files)
        when = f"@{FIRST_AT + hours * 3600} +0000"
        said = {"NAME": author, "EMAIL": f"{author}@shop.example", "DATE": when}
        who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER") for what, value in said.items()}
        _git(folder, "commit", "-q", "--no-gpg-sign", "-m", subject, env=who)
        made.append(_git(folder, "rev-parse", "HEAD").strip())
    return made


def prepare(folder: Path) -> dict[str, str]:
    """Make the shop under `folder`, and say in which environment the team finds it."""
    repositories = folder / "repositories"
    if not (repositories / NAME).exists():
        make_repository(repositories / NAME)
    return {"SHIFTLEAD_REPOSITORIES": str(repositories)}


def merge(folder: Path) -> None:
    """What a person does after reading a pull request: merge every branch of a fix into main."""
    shop = folder / "repositories" / NAME
    who = ["-c", "user.name=person", "-c", "user.email=person@shop.example"]
    for branch in _git(shop, "for-each-ref", "--format=%(refname:short)", "--no-merged=main", "refs/heads/fix").split():
        _git(shop, *who, "merge", "-q", "--no-ff", "--no-gpg-sign", "-m", f"Merge {branch}", branch)


def _git(folder: Path, *args: str, env: dict[str, str] | None = None) -> str:
    clean = {
        "PATH": os.environ.get("PATH", os.defpath), "HOME": os.devnull, "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1", "LC_ALL": "C.UTF-8",
    }  # fmt: skip
    argv = ["git", "-c", f"core.hooksPath={os.devnull}", "-c", "core.autocrlf=false", *args]
    return subprocess.run(
        argv, cwd=folder, env={**clean, **(env or {})}, check=True, capture_output=True, text=True, timeout=30
    ).stdout
