"""A table as an .xlsx file: text stays text, so that ids keep their zeros and nothing runs as a formula.

Office Open XML (ECMA-376), the few parts that a spreadsheet needs; strings stand in the cells themselves.
"""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

MAIN = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
RELATIONS = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
HEAD = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
TYPES = "application/vnd.openxmlformats-officedocument.spreadsheetml"
NOT_IN_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
EPOCH = dt.date(1899, 12, 30)
LONGEST = 32_767  # characters of a cell
STYLES = {"plain": 0, "head": 1, "percent": 2, "money": 3, "date": 4, "wrapped": 5}

PARTS = {
    "[Content_Types].xml": '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Default Extension="xml" ContentType="application/xml"/>'
    f'<Override PartName="/xl/workbook.xml" ContentType="{TYPES}.sheet.main+xml"/>'
    f'<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{TYPES}.worksheet+xml"/>'
    f'<Override PartName="/xl/styles.xml" ContentType="{TYPES}.styles+xml"/></Types>',
    "_rels/.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Id="rId1" Type="{RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>',
    "xl/_rels/workbook.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    f'<Relationship Id="rId1" Type="{RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/>'
    f'<Relationship Id="rId2" Type="{RELATIONS}/styles" Target="styles.xml"/></Relationships>',
    "xl/workbook.xml": f'<workbook {MAIN} xmlns:r="{RELATIONS}"><sheets>'
    '<sheet name="Call list" sheetId="1" r:id="rId1"/></sheets></workbook>',
    "xl/styles.xml": f'<styleSheet {MAIN}><numFmts count="3"><numFmt numFmtId="164" formatCode="0.0%"/>'
    '<numFmt numFmtId="165" formatCode="#,##0.00"/><numFmt numFmtId="166" formatCode="yyyy-mm-dd"/></numFmts>'
    '<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font>'
    '<font><b/><sz val="11"/><name val="Calibri"/></font></fonts>'
    '<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill>'
    '</fills><borders count="1"><border/></borders><cellStyleXfs count="1"><xf/></cellStyleXfs><cellXfs count="6">'
    '<xf applyAlignment="1"><alignment vertical="top"/></xf><xf fontId="1" applyFont="1"/>'
    + "".join(f'<xf numFmtId="{n}" applyNumberFormat="1" applyAlignment="1"><alignment vertical="top"/></xf>'
              for n in (164, 165, 166))
    + '<xf applyAlignment="1"><alignment vertical="top" wrapText="1"/></xf></cellXfs>'
    '<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>',
}  # fmt: skip


def write_workbook(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> None:
    """Write rows as a sheet with a frozen, filtered header; probabilities as per cent, money with two decimals."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in PARTS.items():
            archive.writestr(name, HEAD + part)
        archive.writestr("xl/worksheets/sheet1.xml", HEAD + _sheet(rows, columns))


def _sheet(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> str:
    lines = [[_text(name, "head") for name in columns]]
    lines += [[_cell(row[name], name) for name in columns] for row in rows]
    body = "".join(f"<row>{''.join(cells)}</row>" for cells in lines)
    widths = "".join(
        f'<col min="{n}" max="{n}" width="{48 if _is_long(name) else 18}" customWidth="1"/>'
        for n, name in enumerate(columns, 1)
    )
    pane = '<pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>'
    return (
        f'<worksheet {MAIN}><sheetViews><sheetView workbookViewId="0">{pane}</sheetView></sheetViews>'
        f"<cols>{widths}</cols><sheetData>{body}</sheetData>"
        f'<autoFilter ref="A1:{_letters(len(columns))}{len(rows) + 1}"/>'
        '<pageSetup orientation="landscape" fitToHeight="0"/></worksheet>'
    )


def _cell(value: Any, name: str) -> str:
    if value is None or value != value:
        return "<c/>"
    if isinstance(value, bool):
        return f'<c t="b" s="0"><v>{int(value)}</v></c>'
    if isinstance(value, int | float):
        style = "percent" if name == "churn_probability" else "money" if "value" in name else "plain"
        return f'<c s="{STYLES[style]}"><v>{value!r}</v></c>'
    if isinstance(value, dt.date):
        return f'<c s="{STYLES["date"]}"><v>{(value - EPOCH).days}</v></c>'
    return _text(str(value), "wrapped" if _is_long(name) else "plain")


def _text(text: str, style: str) -> str:
    plain = escape(NOT_IN_XML.sub("", text)[:LONGEST])
    return f'<c t="inlineStr" s="{STYLES[style]}"><is><t xml:space="preserve">{plain}</t></is></c>'


def _is_long(name: str) -> bool:
    return name.endswith(("_text", "_summary"))


def _letters(number: int) -> str:
    """A column's letters: 1 is A, 27 is AA."""
    letters = ""
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
