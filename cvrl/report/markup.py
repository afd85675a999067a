"""Pieces of HTML, each from plain values; every text from outside is escaped here."""

from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root{color-scheme:light dark;--paper:#fbfbfa;--card:#fff;--ink:#1d2430;--faint:#66707f;
--line:#e3e6ea;--accent:#2f74b5;--right:#1f8a4c;--wrong:#c63d50;--bar:#9aa5b1;--low:#c9d1d9}
@media(prefers-color-scheme:dark){:root{--paper:#12161c;--card:#1a2028;--ink:#e4e8ee;
--faint:#98a3b3;--line:#2c3542;--accent:#6cabe4;--right:#4cc27d;--wrong:#f0707f;--bar:#6b7684;
--low:#48525f}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);
font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main,header{max-width:1060px;margin:0 auto;padding:0 20px}
header{padding-top:40px}
h1{font-size:1.15rem;font-weight:600;color:var(--faint);margin:0 0 .4rem}
h2{font-size:1.2rem;margin:0 0 .35rem}
h3{font-size:.95rem;margin:1.2rem 0 .4rem}
p{margin:.3rem 0 .8rem;max-width:72ch}
.lead{font-size:clamp(1.5rem,4.4vw,2.3rem);line-height:1.2;font-weight:700;margin:0 0 1rem;
max-width:26ch}
.faint{color:var(--faint)}
.small{font-size:.85rem}
.warning{color:var(--wrong);font-weight:700}
section{background:var(--card);border:1px solid var(--line);border-radius:12px;
padding:22px 24px;margin:22px 0}
nav{display:flex;flex-wrap:wrap;gap:6px 16px;font-size:.9rem;margin:18px 0 0}
a{color:var(--accent)}
.bars{display:grid;grid-template-columns:auto 1fr;gap:8px 12px;align-items:center;
max-width:640px;margin:0 0 .8rem}
.bars .track{display:flex;align-items:center;gap:8px}
.bars .fill{height:22px;border-radius:4px;background:var(--low);min-width:2px}
.bars .fill.trained{background:var(--accent)}
.bars .fill.untrained{background:var(--bar)}
.bars b{font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-size:.92rem}
th,td{text-align:left;padding:5px 18px 5px 0;border-bottom:1px solid var(--line)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
pre{background:var(--paper);border:1px solid var(--line);border-radius:8px;padding:12px 14px;
overflow-x:auto;font:13px/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;margin:.4rem 0}
summary{cursor:pointer;color:var(--accent)}
details{margin:.5rem 0}
svg{width:100%;height:auto;display:block}
svg text{font-family:inherit!important}
.grid{display:grid;gap:18px;grid-template-columns:repeat(auto-fit,minmax(min(280px,100%),1fr))}
.narrow{max-width:540px;margin-top:18px}
.grid>div{min-width:0}
.tables{grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr))}
figure{margin:0}
figcaption{font-size:.78rem;line-height:1.3;margin-top:3px;overflow-wrap:anywhere}
.search{display:grid;grid-template-columns:minmax(84px,132px) 1fr;gap:4px 20px;
padding:14px 0;border-top:1px solid var(--line)}
.search:first-of-type{border-top:0}
.found{display:grid;grid-template-columns:repeat(5,minmax(0,1fr));gap:8px;max-width:760px}
.row{margin-bottom:8px}
.row>span{font-size:.78rem;color:var(--faint)}
img{width:100%;height:auto;display:block;border-radius:6px;border:3px solid var(--line)}
.right img{border-color:var(--right)}.wrong img{border-color:var(--wrong)}
.right figcaption{color:var(--right)}.wrong figcaption{color:var(--wrong)}
.pairs{display:grid;gap:18px;grid-template-columns:repeat(auto-fill,minmax(min(230px,100%),1fr))}
.pair{display:grid;grid-template-columns:1fr 1fr;gap:6px}
.pair figcaption{grid-column:1/-1}
.legend{display:flex;flex-wrap:wrap;gap:4px 14px;font-size:.82rem}
.legend i{display:inline-block;width:.75em;height:.75em;border-radius:50%;margin-right:.4em}
footer{max-width:1060px;margin:0 auto;padding:4px 20px 40px;color:var(--faint);font-size:.85rem}
@media(max-width:620px){section{padding:16px 14px}main,header{padding:0 12px}
header{padding-top:24px}.search{grid-template-columns:1fr}.search>figure{max-width:120px}
.found{gap:5px}.found figcaption{font-size:.62rem}img{border-width:2px}}
"""


def document(title: str, head: str, sections: Iterable[str], foot: str) -> str:
    """A whole page that asks for nothing from elsewhere.

    Args:
        title: of the window, plain text.
        head: markup above the sections.
        sections: markup of each.
        foot: markup below.
    """
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header>\n{head}\n</header>\n<main>\n" + "\n".join(sections) + "\n</main>\n"
        f"<footer>{foot}</footer>\n</body>\n</html>\n"
    )


def section(anchor: str, title: str, *parts: str) -> str:
    """A titled part of the page.

    Args:
        anchor: its id.
        title: plain text.
        parts: markup, in order; empty ones are left out.

    Example:
        >>> section("data", "Data", paragraph("12 videos")).count("<p>")
        1
    """
    inner = "\n".join(part for part in parts if part)
    return f'<section id="{escape(anchor)}">\n<h2>{escape(title)}</h2>\n{inner}\n</section>'


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text.

    Example:
        >>> paragraph("a < b", "faint")
        '<p class="faint">a &lt; b</p>'
    """
    return f"<p{_class(kind)}>{escape(text)}</p>"


def table(head: Sequence[str], rows: Iterable[Sequence[str]], numeric: int = 0) -> str:
    """A table of plain texts that scrolls sideways where it does not fit.

    Args:
        head: column titles.
        rows: of cells.
        numeric: so many columns at the right hold numbers.
    """
    first = len(head) - numeric

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(
            f"<{tag}{_class('n' if place >= first else '')}>{escape(cell)}</{tag}>"
            for place, cell in enumerate(cells)
        )

    body = "".join(f"<tr>{line(row, 'td')}</tr>\n" for row in rows)
    return f'<div class="wide"><table>\n<tr>{line(head, "th")}</tr>\n{body}</table></div>'


def bars(shares: Iterable[tuple[str, float]]) -> str:
    """Horizontal bars of shares in [0, 1], each with its name and its percentage.

    Example:
        >>> "12.5 %" in bars([("chance", 0.125)])
        True
    """
    lines = [
        f"<span>{escape(name)}</span>"
        f'<span class="track"><span class="fill {escape(name)}" style="width:{78 * share:.1f}%">'
        f"</span><b>{percent(share)}</b></span>"
        for name, share in shares
    ]
    return f'<div class="bars">\n{"".join(lines)}\n</div>'


def details(title: str, inner: str) -> str:
    """Markup folded away under a title.

    Example:
        >>> details("more", "<p>x</p>")
        '<details><summary>more</summary><p>x</p></details>'
    """
    return f"<details><summary>{escape(title)}</summary>{inner}</details>"


def code(text: str) -> str:
    """Text as it stands, in a frame.

    Example:
        >>> code("a <b>")
        '<pre>a &lt;b&gt;</pre>'
    """
    return f"<pre>{escape(text.rstrip())}</pre>"


def figure(source: str, caption: str, kind: str = "", alternative: str = "") -> str:
    """A picture with a caption.

    Args:
        source: a data address.
        caption: plain text below it.
        kind: class of the element: right, wrong or none.
        alternative: text instead of the picture; the caption where left out.
    """
    return (
        f'<figure{_class(kind)}><img loading="lazy" src="{escape(source)}" '
        f'alt="{escape(alternative or caption)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def percent(share: float | None) -> str:
    """A share as a percentage.

    Example:
        >>> percent(0.4167), percent(None)
        ('41.7 %', '-')
    """
    return "-" if share is None else f"{100 * share:.1f} %"


def _class(kind: str) -> str:
    return f' class="{escape(kind)}"' if kind else ""
