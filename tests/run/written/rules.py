"""What a text of a file means, from the rules of docs/flow-files.md alone, slowly: the types that are inferred of texts."""

import re
from datetime import date, datetime, timezone
from decimal import Decimal

PLAIN = re.compile(r"-?(0|[1-9]\d*)$")
POINT = re.compile(r"-?(0|[1-9]\d*)?\.\d+$")
POWER = re.compile(r"-?(0|[1-9]\d*)?(\.\d*)?[eE][+-]?\d+$")
WORD = re.compile(r"[+-]?(nan|inf|infinity)$", re.I)
DAY = re.compile(r"\d{4}-\d\d-\d\d$")
MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)([T ](\d\d:\d\d)(:\d\d([.,]\d+)?)?( ?(UTC|Z|[+-]\d\d(:?\d\d)?))?)?$")


def digits(text):
    """How many digits stand before and behind the point of a number that is written out."""
    sign, figures, exponent = Decimal(text).as_tuple()
    number = Decimal(text)
    whole = max(len(figures) + exponent, 0) if number else 0
    return whole, max(-exponent, 0)


def is_float(text):
    value = float(text)
    return value not in (float("inf"), float("-inf")) and Decimal(repr(value)) == Decimal(text)


def day(text):
    try:
        return date.fromisoformat(text) if DAY.match(text) else None
    except ValueError:
        return None


def moment(text):
    found = MOMENT.match(text)
    if not found:
        return None
    text = re.sub(r" ?(UTC|Z)$", "+00:00", text.replace(",", "."))
    text = re.sub(r" ([+-]\d\d(:?\d\d)?)$", r"\1", text)
    fraction = re.search(r"\.(\d+)", text)
    if fraction and fraction[1][6:].strip("0"):
        return None
    text = re.sub(r"\.(\d+)", lambda all: "." + (all[1] + "000000")[:6], text)
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        return None
    return value if value.tzinfo else value.replace(tzinfo=timezone.utc)


def inferred(texts, json=False):
    """The type of a column of these texts (no NULL among them); JSON's numbers are numbers whatever their form."""
    if not texts:
        return "open"
    texts = [text.strip(" \t") for text in texts]
    numbers = [text for text in texts if PLAIN.match(text) or POINT.match(text) or POWER.match(text)]
    words = [text for text in texts if WORD.match(text)]
    if numbers and len(numbers) + len(words) == len(texts):
        powers = [text for text in numbers if POWER.match(text)]
        if not powers and not words:
            if all(PLAIN.match(text) and -(2**63) <= int(text) < 2**63 for text in numbers):
                return "integer"
            whole, scale = map(max, zip(*map(digits, numbers)))
            return f"decimal(38,{scale})" if whole + scale <= 38 else "string"
        codes = [text for text in powers if "." not in text]
        is_number = json or not codes or any("." in text for text in numbers)
        return "float" if is_number and all(map(is_float, numbers)) else "string"
    if all(text.lower() in ("true", "false") for text in texts):
        return "boolean"
    if all(day(text) for text in texts):
        return "date"
    return "timestamp" if all(moment(text) for text in texts) else "string"


def fields(text, delimiter, quote='"'):
    """The records of a CSV text: each field with whether it was quoted."""
    record, at = [], 0
    while at < len(text):
        quoted = text[at : at + 1] == quote
        if quoted:
            end = at + 1
            while True:
                end = text.index(quote, end)
                if text[end + 1 : end + 2] != quote:
                    break
                end += 2
            record.append((text[at + 1 : end].replace(quote * 2, quote), True))
            at = end + 1
        else:
            end = at
            while end < len(text) and text[end] not in delimiter + "\r\n":
                end += 1
            record.append((text[at:end], False))
            at = end
        if text[at : at + 1] == delimiter:
            at += 1
            if at == len(text):
                record.append(("", False))
            continue
        at += 2 if text[at : at + 2] == "\r\n" else 1
        if record != [("", False)] or len(record) > 1:
            yield record
        record = []
    if record:
        yield record
