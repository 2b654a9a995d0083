"""Tables of figures, as aligned text or as Markdown."""


def table(header: list[str], rows: list[list[str]], markdown: bool) -> str:
    """The first column is text, the others are numbers; both forms are aligned."""
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    lines = [_line(line, widths, markdown) for line in [header, *rows]]
    rule = ["-" * width if i == 0 else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
    lines.insert(1, _line(rule if markdown else ["-" * width for width in widths], widths, markdown))
    return "\n".join(lines)


def _line(cells: list[str], widths: list[int], markdown: bool) -> str:
    padded = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))]
    return f"| {' | '.join(padded)} |" if markdown else "  ".join(padded)


def ratio(value: float | None, base: float | None) -> str:
    return f"{value / base:.2f}" if value is not None and base else "–"
