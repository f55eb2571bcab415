"""Numbers in a page written by hand: a command replaces the lines between two markers and nothing else."""


def markers(command: str) -> tuple[str, str]:
    """The lines before and after the numbers of ``command``."""
    return f"<!-- numbers: {command} -->\n", "<!-- /numbers -->\n"


def filled(text: str, command: str, block: str) -> str:
    """``text`` with ``block`` between the markers of ``command``. Raises ValueError where they are missing."""
    begin, end = markers(command)
    head, found, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not found or not closed:
        raise ValueError(f"the page has no lines {begin.strip()} and {end.strip()} to put the numbers between")
    return head + begin + block + end + tail
