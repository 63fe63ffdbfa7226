"""Text that came from callers, made fit for a terminal or a log line."""


def escaped(text: str, *, keep: str = "") -> str:
    """With every character that does not print, and the backslash, as Python writes it in a string.

    keep: characters to leave alone, besides the space.
    """
    if text.isprintable() and "\\" not in text:
        return text
    return "".join(character if character in keep else _one(character) for character in text)


def _one(character: str) -> str:
    if character.isprintable() and character != "\\":
        return character
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")
