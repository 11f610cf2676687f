"""Builds examples/corpus from examples/corpus_source: txt, Markdown, HTML, PDF and DOCX, and one broken PDF.

    python -m pip install "reportlab==4.*" "python-docx==1.*"
    python examples/build_corpus.py

The results are committed, so the demo needs neither library. Same sources, same bytes: no clock, no random ids.
"""

from __future__ import annotations

import datetime
import html
import io
import re
import textwrap
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = HERE / "corpus_source"
CORPUS = HERE / "corpus"
BANK = "Nordhaven Bank"
BUILT = datetime.datetime(2025, 9, 1, 9, 0, 0)


@dataclass
class Block:
    """One heading, paragraph, list or table of a document."""

    kind: str
    text: str = ""
    level: int = 0
    rows: list[list[str]] = field(default_factory=list)
    items: list[str] = field(default_factory=list)


def parse(source: str) -> list[Block]:
    """Reads the small part of Markdown that the sources use."""
    blocks: list[Block] = []
    for part in re.split(r"\n\s*\n", source.strip()):
        lines = part.splitlines()
        heading = re.match(r"(#+) (.*)", part)
        if heading:
            blocks.append(Block("heading", heading.group(2), len(heading.group(1))))
        elif lines[0].startswith("|"):
            rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
            blocks.append(Block("table", rows=[rows[0], *rows[2:]]))
        elif lines[0].startswith("- "):
            blocks.append(Block("list", items=[line[2:] for line in lines]))
        else:
            blocks.append(Block("paragraph", " ".join(lines)))
    return blocks


def as_text(blocks: list[Block]) -> str:
    """Plain text as an old text editor would hold it: wrapped lines, underlined headings, aligned columns."""
    out: list[str] = []
    for block in blocks:
        if block.kind == "heading":
            title = block.text.upper() if block.level == 1 else block.text
            out.append(title + "\n" + ("=" if block.level == 1 else "-") * len(title))
        elif block.kind == "paragraph":
            out.append(textwrap.fill(block.text, 92, break_on_hyphens=False))
        elif block.kind == "list":
            out.append("\n".join(textwrap.fill(item, 92, initial_indent="* ", subsequent_indent="  ") for item in block.items))
        else:
            widths = [max(map(len, column)) for column in zip(*block.rows)]
            lines = ["   ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in block.rows]
            lines.insert(1, "   ".join("-" * width for width in widths))
            out.append("\n".join(lines))
    return "\n\n".join(out) + "\n"


def as_html(blocks: list[Block]) -> str:
    """An intranet page: navigation, style and script round the text, as such pages have."""
    title = html.escape(blocks[0].text)
    body: list[str] = []
    for block in blocks:
        if block.kind == "heading":
            body.append(f"<h{block.level}>{html.escape(block.text)}</h{block.level}>")
        elif block.kind == "paragraph":
            body.append(f"<p>{html.escape(block.text)}</p>")
        elif block.kind == "list":
            body.append("<ul>\n" + "\n".join(f"  <li>{html.escape(item)}</li>" for item in block.items) + "\n</ul>")
        else:
            head = "".join(f"<th>{html.escape(cell)}</th>" for cell in block.rows[0])
            rows = "\n".join(
                "  <tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in block.rows[1:]
            )
            body.append(f"<table>\n  <thead><tr>{head}</tr></thead>\n  <tbody>\n{rows}\n  </tbody>\n</table>")
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>{title} | {BANK} intranet</title>
<style>
  body {{ font-family: Georgia, serif; margin: 2rem auto; max-width: 48rem; }}
  table {{ border-collapse: collapse; }} td, th {{ border: 1px solid #999; padding: 0.2rem 0.6rem; }}
</style>
<script>window.addEventListener("load", () => document.body.classList.add("ready"));</script>
</head>
<body>
<nav><a href="/">Home</a> <a href="/policies">Policies</a> <a href="/people">People</a></nav>
<main>
{chr(10).join(body)}
</main>
<footer>{BANK} intranet. For internal use.</footer>
</body>
</html>
"""


def as_pdf(blocks: list[Block]) -> bytes:
    """An A4 PDF with headings, ruled tables and page numbers."""
    from reportlab.lib import colors
    from reportlab.lib.enums import TA_LEFT
    from reportlab.lib.pagesizes import A4
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.lib.units import cm
    from reportlab.platypus import (
        BaseDocTemplate, Frame, ListFlowable, PageTemplate, Paragraph, Spacer, Table, TableStyle,
    )

    navy = colors.HexColor("#12355b")
    text = ParagraphStyle("text", fontName="Times-Roman", fontSize=11, leading=15, spaceAfter=7, alignment=TA_LEFT)
    cell = ParagraphStyle("cell", parent=text, fontName="Helvetica", fontSize=9, leading=11.5, spaceAfter=0)
    head = ParagraphStyle("head", parent=cell, fontName="Helvetica-Bold", textColor=colors.white)
    titles = {
        level: ParagraphStyle(
            f"title{level}", fontName="Helvetica-Bold", fontSize=size, leading=size * 1.3, spaceBefore=before,
            spaceAfter=6, textColor=navy, keepWithNext=True,
        )
        for level, size, before in ((1, 20, 0), (2, 13, 10), (3, 11, 6))
    }
    width = A4[0] - 4.4 * cm
    flow = []
    for block in blocks:
        if block.kind == "heading":
            flow.append(Paragraph(html.escape(block.text), titles[block.level]))
        elif block.kind == "paragraph":
            flow.append(Paragraph(html.escape(block.text), text))
        elif block.kind == "list":
            items = [Paragraph(html.escape(item), text) for item in block.items]
            flow.append(ListFlowable(items, bulletType="bullet", leftIndent=14))
        else:
            rows = [
                [Paragraph(html.escape(value), head if number == 0 else cell) for value in row]
                for number, row in enumerate(block.rows)
            ]
            table = Table(rows, colWidths=[width / len(rows[0])] * len(rows[0]), repeatRows=1)
            table.setStyle(TableStyle([
                ("BACKGROUND", (0, 0), (-1, 0), navy),
                ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, colors.HexColor("#eef3f8")]),
                ("GRID", (0, 0), (-1, -1), 0.4, colors.HexColor("#9fb3c8")),
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ]))
            flow += [table, Spacer(1, 10)]

    title = blocks[0].text

    def footer(canvas, document):
        canvas.setFont("Helvetica", 8)
        canvas.setFillColor(colors.grey)
        canvas.drawString(2.2 * cm, 1.3 * cm, f"{BANK} | {title}")
        canvas.drawRightString(A4[0] - 2.2 * cm, 1.3 * cm, f"Page {document.page}")

    out = io.BytesIO()
    document = BaseDocTemplate(
        out, pagesize=A4, leftMargin=2.2 * cm, rightMargin=2.2 * cm, topMargin=2 * cm, bottomMargin=2.2 * cm,
        title=title, author=BANK, invariant=1,
    )
    frame = Frame(document.leftMargin, document.bottomMargin, document.width, document.height)
    document.addPageTemplates(PageTemplate(frames=[frame], onPageEnd=footer))
    document.build(flow)
    return out.getvalue()


def as_docx(blocks: list[Block]) -> bytes:
    """A Word document with real heading styles and tables."""
    import docx

    document = docx.Document()
    properties = document.core_properties
    properties.title, properties.author = blocks[0].text, BANK
    properties.created = properties.modified = BUILT
    for block in blocks:
        if block.kind == "heading":
            document.add_heading(block.text, level=block.level - 1)
        elif block.kind == "paragraph":
            document.add_paragraph(block.text)
        elif block.kind == "list":
            for item in block.items:
                document.add_paragraph(item, style="List Bullet")
        else:
            table = document.add_table(rows=0, cols=len(block.rows[0]), style="Light Grid Accent 1")
            for row in block.rows:
                for target, value in zip(table.add_row().cells, row):
                    target.text = value
            document.add_paragraph()
    out = io.BytesIO()
    document.save(out)
    return with_fixed_dates(out.getvalue())


def with_fixed_dates(archive: bytes) -> bytes:
    """The same zip archive with every member's date set to `BUILT`."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            info = zipfile.ZipInfo(member.filename, BUILT.timetuple()[:6])
            info.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(info, old.read(member))
    return out.getvalue()


def broken_pdf() -> bytes:
    """A PDF whose download stopped inside the first stream: a right header, no pages, no table of objects."""
    whole = as_pdf([
        Block("heading", "Treasury Circular", 1),
        Block("paragraph", "Liquidity buffers and limits for the trading book, for the treasury desk only."),
    ])
    return whole[: whole.index(b"/Type /Page") - 40]


def main() -> None:
    CORPUS.mkdir(exist_ok=True)
    for old in CORPUS.iterdir():
        old.unlink()
    total = 0
    for source in sorted(SOURCES.glob("*.*.md")):
        target = CORPUS / source.stem
        raw = source.read_text(encoding="utf-8")
        blocks = parse(raw)
        content = {
            ".md": lambda: raw, ".txt": lambda: as_text(blocks), ".html": lambda: as_html(blocks),
            ".pdf": lambda: as_pdf(blocks), ".docx": lambda: as_docx(blocks),
        }[target.suffix]()
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        total += target.stat().st_size
        print(f"{target.name:44} {target.stat().st_size:7} bytes")
    broken = CORPUS / "treasury-circular.pdf"
    broken.write_bytes(broken_pdf())
    print(f"{broken.name:44} {broken.stat().st_size:7} bytes, broken on purpose")
    print(f"{total} bytes in all")


if __name__ == "__main__":
    main()
