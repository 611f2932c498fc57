"""The page that a report is poured into: one file, no script, nothing loaded from anywhere."""

from __future__ import annotations

from string import Template

PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>$title</title>
<style>$style</style>
</head>
<body>
<header>
<p class="eyebrow">Churn model <b>$model_id</b> · $date</p>
<div class="hero $state">
<div class="say"><p class="pill $state">$short</p><h1>$headline</h1><p class="lead">$evidence</p></div>
$keys
</div>
</header>
<main>
<section class="answers" aria-label="Verdict">$answers</section>
$sections
</main>
<footer>$footer</footer>
</body>
</html>
""")

STYLE = """
:root{--sans:system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;
--page:#f4f6f8;--paper:#ffffff;--ink:#1b2733;--muted:#5d6b7e;--grid:#e4e9ef;--faint:#a3b5c4;
--model:#0f766e;--leave:#c2500d;--ok:#0f766e;--warn:#a85b00;--fail:#b3261e;--unknown:#5d6b7e}
@media (prefers-color-scheme:dark){:root{--page:#0e141a;--paper:#161e27;--ink:#e7edf3;--muted:#9aa9b9;
--grid:#2a3643;--faint:#5c7083;--model:#3cc9b9;--leave:#f59a5c;--ok:#3cc9b9;--warn:#f0b35a;--fail:#ff8a80;
--unknown:#9aa9b9}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:16px/1.5 var(--sans);-webkit-text-size-adjust:100%}
header,main,footer{max-width:1120px;margin:0 auto;padding:0 24px}
p,h1,h2,h3,dl,dd,table,figure,ul{margin:0}
.eyebrow{padding:28px 0 14px;color:var(--muted);font-size:14px;overflow-wrap:anywhere}
.eyebrow b{color:var(--ink);font-weight:600}
.hero,.card{background:var(--paper);border:1px solid var(--grid);border-radius:14px}
.hero{padding:32px;border-top:5px solid var(--tone);display:grid;gap:28px 48px;grid-template-columns:1fr auto;
align-items:center}
.ok{--tone:var(--ok)}.warn{--tone:var(--warn)}.fail{--tone:var(--fail)}.unknown{--tone:var(--unknown)}
.pill{display:inline-block;padding:3px 12px;border-radius:99px;font-size:14px;font-weight:600;
color:var(--tone);border:1px solid var(--tone)}
.pill::before,.mark::before{content:"✓";margin-right:.45em;font-weight:700}
.pill.warn::before,.mark.warn::before{content:"!"}.pill.fail::before,.mark.fail::before{content:"✕"}
.pill.unknown::before,.mark.unknown::before{content:"?"}
h1{font-size:clamp(26px,3.6vw,38px);line-height:1.15;letter-spacing:-.02em;margin:14px 0 10px;
text-wrap:balance}
.lead{font-size:18px;color:var(--muted);max-width:56ch;text-wrap:pretty}
.keys{display:grid;gap:18px;margin:0;min-width:250px}
.keys div{border-left:3px solid var(--grid);padding-left:16px}
.keys dd{font-size:30px;font-weight:650;line-height:1.15;letter-spacing:-.02em;
font-variant-numeric:tabular-nums}
.keys dt,.small{font-size:14px;color:var(--muted)}
.answers{display:grid;grid-template-columns:repeat(3,1fr);gap:16px;margin-top:16px}
.answers .card{padding:20px 22px}
.answers h3{font-size:15px;font-weight:500;color:var(--muted)}
.mark{font-size:20px;font-weight:650;color:var(--tone);margin:2px 0 6px;line-height:1.3}
.answers p:last-child{font-size:14px;overflow-wrap:anywhere}
.part{margin-top:40px}
h2{font-size:24px;letter-spacing:-.01em;line-height:1.25}
.grid{columns:2;column-gap:16px;margin-top:16px}.grid .card{margin-bottom:16px}
.card{padding:22px 24px;min-width:0;break-inside:avoid}
.part .card h3{font-size:17px;line-height:1.3}
.part .card h3+p{font-size:15px;color:var(--muted);margin-top:2px}
.card figure{margin-top:14px}
svg{display:block;width:100%;height:auto}
.grid:has(>.card:only-child){columns:1}.grid>.card:only-child figure{max-width:640px}
table{width:100%;border-collapse:collapse;font-size:14px;margin-top:12px;font-variant-numeric:tabular-nums}
th{font-weight:500;color:var(--muted);text-align:left}
th,td{padding:6px 12px 6px 0;border-bottom:1px solid var(--grid);vertical-align:top;overflow-wrap:anywhere}
tbody tr:last-child>*{border-bottom:0}
.pairs th{width:50%}.pairs td{text-align:right}
td.n,th.n{text-align:right;white-space:nowrap;overflow-wrap:normal}
td:last-child,th:last-child{padding-right:0}
.four{display:grid;grid-template-columns:1fr 1fr;gap:10px;margin-top:16px}
.four div{border:1px solid var(--grid);border-radius:10px;padding:14px 16px}
.four b{display:block;font-size:28px;line-height:1.2;letter-spacing:-.02em}
.four .good b{color:var(--model)}.four .miss b{color:var(--leave)}
.flow{display:flex;gap:3px;height:14px;margin:16px 0 4px}
.flow i{border-radius:4px;min-width:4px;background:var(--faint)}
.flow i:first-child{background:var(--model)}.flow i:last-child{background:var(--leave)}
ul{list-style:none;padding:0}
.findings li{display:grid;grid-template-columns:110px 1fr;gap:4px 16px;padding:12px 0;
border-bottom:1px solid var(--grid)}
.findings li:last-child{border:0}.findings .mark{font-size:15px;margin:0}
.findings span{overflow-wrap:anywhere}
.quotes li{padding:10px 0 10px 14px;border-left:3px solid var(--tone);margin-top:10px;font-size:15px;
overflow-wrap:anywhere}
.up{--tone:var(--leave)}.down{--tone:var(--model)}
.quotes small{display:block;color:var(--muted);font-size:13px}
.bar{display:inline-block;height:8px;border-radius:4px;background:var(--tone);vertical-align:middle}
footer{padding-top:40px;padding-bottom:56px;color:var(--muted);font-size:14px;overflow-wrap:anywhere}
@media (max-width:820px){.hero{grid-template-columns:1fr;padding:24px}.answers{grid-template-columns:1fr 1fr}
.grid{columns:1}.keys{grid-template-columns:repeat(3,1fr);min-width:0;gap:12px}
.keys dd{font-size:24px}}
@media (max-width:560px){header,main,footer{padding-left:14px;padding-right:14px}
.answers{grid-template-columns:1fr}
.keys{grid-template-columns:1fr}.card{padding:18px 16px}.findings li{grid-template-columns:1fr}}
@media print{:root{--page:#fff;--paper:#fff;--ink:#1b2733;--muted:#5d6b7e;--grid:#dfe5eb;--faint:#a3b5c4;
--model:#0f766e;--leave:#c2500d;--ok:#0f766e;--warn:#a85b00;--fail:#b3261e;--unknown:#5d6b7e}
@page{margin:13mm}body{zoom:.68;print-color-adjust:exact;-webkit-print-color-adjust:exact}
header,main,footer{max-width:none;padding:0}.part{margin-top:28px}h2{break-after:avoid}
.hero,.answers .card{break-inside:avoid}.answers{grid-template-columns:repeat(3,1fr)}
.grid{columns:2}
.hero{grid-template-columns:1fr auto}.keys{grid-template-columns:1fr}.four div{break-inside:avoid}}
"""
