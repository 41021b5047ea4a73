"""Text from measured processes made harmless: one line, printable, of bounded length, and escaped for its format.

Reasons, names of environments, versions and ids may hold anything that a measured process or a file says. Everything
that is printed or written goes through here.
"""

from __future__ import annotations

import html
import re
from collections.abc import Sequence

#: Letters of one reason, of a sentence within it, and of one value.
MAX_REASON, MAX_SENTENCE, MAX_VALUE = 1000, 400, 120
#: Letters of one cell of a table, and of an id.
MAX_CELL = 250
#: Items of one list.
MAX_ITEMS = 12

#: What Markdown acts on wherever it stands; an underscore acts at the edge of a word alone.
_MARKUP = re.compile(r"([\\`*\[\]|~])|(?<!\w)(_)|(_)(?!\w)")
#: What GitHub makes a mention, a reference or a link of; a space without width between the two parts undoes it.
_LINKS = re.compile(r"(@)(?=\w)|(#)(?=\d)|\b(GH)(?=-\d)|(:)(?=//)|\b(www)(?=\.)", re.IGNORECASE)
#: Letters that XML 1.0 has not.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: What makes a spreadsheet run a cell, also in its wide forms.
_FORMULA = tuple("=+-@\t\r\n＝＋－＠")


def one_line(text: str) -> str:
    """Returns text as one line of printable letters; escape codes, control and bidi characters become "?"."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))


def clipped(text: str, most: int = MAX_VALUE) -> str:
    """Returns text of at most about `most` letters, and says how many more there are."""
    more = len(text) - most
    return text if more <= 0 else f"{text[:most]}… ({more:,} more letters)"


def listed(
    items: Sequence[str], most: int = MAX_ITEMS, *, more: int = 0, between: str = ", ", letters: int = MAX_VALUE
) -> str:
    """Returns items joined, each of at most `letters`; of many the first ones, and how many are left out.

    `more` counts those that were left out before.
    """
    shown = between.join(clipped(one, letters) for one in items[:most])
    more += max(0, len(items) - most)
    return f"{shown} and {more:,} more" if more else shown


def markdown(text: str) -> str:
    """Returns one line of text for Markdown and HTML: nothing in it is markup."""
    escaped = html.escape(one_line(text), quote=False)
    return _MARKUP.sub(lambda found: f"\\{found[0]}", escaped)


def code(text: str) -> str:
    """Returns one line of text as code in Markdown; nothing in it ends the code, and none of it is markup."""
    line = one_line(text)
    longest = max((len(run) for run in re.findall("`+", line)), default=0)
    fence = "`" * (longest + 1)
    space = " " if line.startswith("`") or line.endswith("`") else ""
    return f"{fence}{space}{line}{space}{fence}"


def github(text: str) -> str:
    """Returns one line for Markdown on GitHub: besides, nothing in it mentions, refers to or links anything."""
    unlinked = _LINKS.sub(lambda found: f"{found[0]}&#8203;", markdown(text))
    return unlinked.replace("$", "&#36;")  # would begin a formula


def github_code(text: str) -> str:
    """Returns one line as code, for Markdown on GitHub; copied from the page it is the text, letter by letter."""
    shown = markdown(text).replace("$", "&#36;").replace("://", "&#58;//")
    return f"<code>{shown}</code>"


def workflow_data(text: str) -> str:
    """Returns text for the message of a GitHub workflow command; it may have several lines."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def workflow_property(text: str) -> str:
    """Returns text for a property of a GitHub workflow command, such as its title."""
    return workflow_data(text).replace(":", "%3A").replace(",", "%2C")


def xml(text: str) -> str:
    """Returns text without the letters that XML has not; markup in it is the writer's to escape."""
    return _NOT_XML.sub("", text)


def label(text: str) -> str:
    """Returns one line as the value of a label in Prometheus' text formats, in quotes."""
    escaped = one_line(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def spreadsheet(text: str) -> str:
    """Returns one line for a cell of a spreadsheet, which runs no formula of it."""
    line = one_line(text)
    return f"'{line}" if line.startswith(_FORMULA) else line
