"""Finds what looks like personal data among strings: by its form, and by a check digit where there is one. Pure.

A finder proves nothing about what it does not find: names and free text have no form. It is a net against columns that
should never have been landed, not a judgement in law.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

LONGEST = 200
"""Ours: of a longer string only so many characters are looked at; every form below is shorter."""

_EMAIL: Final = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9-]+)+"
)
_IBAN: Final = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
_CARD: Final = re.compile(r"\d(?:[ -]?\d){12,18}")
_PHONE: Final = re.compile(r"\+\d{1,3}(?:[ ./()-]{0,2}\d){6,13}")
_SSN: Final = re.compile(r"(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}")
_IN_WORDS: Final = (
    ("e-mail address", _EMAIL),
    ("bank account (IBAN)", re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")),
    ("phone number", _PHONE),
    ("social security number", re.compile(rf"\b{_SSN.pattern}\b")),
    ("card number", re.compile(rf"\b{_CARD.pattern}\b")),
    ("IP address", re.compile(r"\b\d{1,3}(?:\.\d{1,3}){3}\b")),
)
"""Kinds of personal data by their form within a text, the more particular first."""
_NAMES: Final = re.compile(
    r"(?:^|_)(?:e_?mail|phone|mobile|ssn|iban|passport|(?:first|last|full|maiden|user)_?name|surname|given_?name"
    r"|birth(?:day|_?date)?|dob|street|address|ip_?address|card_?number|national_?id)(?:$|_)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of personal data.

    Attributes:
        name: What it is called in reports.
        is_one: Tells whether a whole string, without spaces around it, is one.
        least_fraction: At least this share of a column's distinct strings must be one. What carries a check digit or
            an unmistakable form counts from the first on; what other numbers may look like must be common.
    """

    name: str
    is_one: Callable[[str], bool]
    least_fraction: float


def luhn(digits: str) -> bool:
    """Tell whether the last digit is the check digit of those before it (ISO/IEC 7812-1, annex B).

    >>> luhn("4111111111111111"), luhn("4111111111111112")
    (True, False)
    """
    doubled = (int(digit) * (1 + at % 2) for at, digit in enumerate(reversed(digits)))
    return sum(each // 10 + each % 10 for each in doubled) % 10 == 0


def iban(text: str) -> bool:
    """Tell whether a string is an account number whose check digits hold (ISO 13616, mod 97-10).

    >>> iban("GB82 WEST 1234 5698 7654 32"), iban("GB82 WEST 1234 5698 7654 33")
    (True, False)
    """
    plain = text.replace(" ", "")
    if not _IBAN.fullmatch(plain):
        return False
    return int("".join(str(int(each, 36)) for each in plain[4:] + plain[:4])) % 97 == 1


def _card(text: str) -> bool:
    return _CARD.fullmatch(text) is not None and luhn(re.sub(r"\D", "", text))


def _address(text: str) -> bool:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        return False
    return not (found.is_private or found.is_unspecified)  # those of a machine's own network name nobody


KINDS: Final[tuple[Kind, ...]] = (
    Kind(name="e-mail address", is_one=lambda text: _EMAIL.fullmatch(text) is not None, least_fraction=0.0),
    Kind(name="bank account (IBAN)", is_one=iban, least_fraction=0.0),
    Kind(name="phone number", is_one=lambda text: _PHONE.fullmatch(text) is not None, least_fraction=0.01),
    Kind(name="social security number", is_one=lambda text: _SSN.fullmatch(text) is not None, least_fraction=0.01),
    Kind(name="IP address", is_one=_address, least_fraction=0.1),
    Kind(name="card number", is_one=_card, least_fraction=0.5),  # one number in ten has a right check digit by chance
)


def personal_kinds(values: Iterable[str]) -> dict[str, int]:
    """Return how many distinct strings look like each kind of personal data, of the kinds that are common enough.

    Args:
        values: The strings of one column.

    >>> personal_kinds(["ann@example.org", "red"]), personal_kinds(["4111111111111111", "red", "blue"])
    ({'e-mail address': 1}, {})
    """
    texts = {value.strip()[:LONGEST] for value in values}
    found: dict[str, int] = {}
    for kind in KINDS:
        number = sum(map(kind.is_one, texts))
        if number and number >= kind.least_fraction * len(texts):
            found[kind.name] = number
    return found


def personal_words(text: str) -> dict[str, int]:
    """Return how many e-mail addresses and account numbers stand in a text, such as a part of a bundle.

    Other kinds are not looked for inside a text: digests and figures look like them.
    """
    found = {
        "e-mail address": len(_EMAIL.findall(text)),
        "bank account (IBAN)": sum(map(iban, _IBAN.findall(text))),
    }
    return {name: number for name, number in found.items() if number}


def without_personal(text: str) -> str:
    """Return a text of people's own with what looks like personal data replaced by the name of its kind.

    Unlike `personal_words`, it looks for every kind that has a form, and rather takes a word too many: no figure of
    such a text is of use to anybody.

    >>> without_personal("I am ann@example.org, +49 30 1234567; pay GB82 WEST 1234 5698 7654 32 now")
    'I am [e-mail address], [phone number]; pay [bank account (IBAN)] now'
    """
    for name, form in _IN_WORDS:
        text = form.sub(f"[{name}]", text)
    return text


def named_like_personal(names: Iterable[str]) -> tuple[str, ...]:
    """Return the columns whose names say that they hold personal data.

    >>> named_like_personal(["e_mail", "distance", "customer_phone"])
    ('e_mail', 'customer_phone')
    """
    return tuple(name for name in names if _NAMES.search(name.lower()))


def in_words(found: Mapping[str, Mapping[str, int]], most: int = 3) -> str:
    """Say where what was found, the first few."""
    told = [f"{where}: {number} x {kind}" for where, kinds in sorted(found.items()) for kind, number in kinds.items()]
    more = f" and {len(told) - most} more" if len(told) > most else ""
    return "; ".join(told[:most]) + more
