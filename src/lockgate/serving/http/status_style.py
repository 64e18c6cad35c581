"""How the status page looks, in light and in dark."""

from typing import Final

STYLE: Final = """
:root{--bg:#f6f7f9;--card:#fff;--ink:#1b1f27;--soft:#5a6472;--line:#dfe3e9;--plot:#3a6ea5;--good:#1a7f4b;--bad:#b3261e;
color-scheme:light dark}
@media(prefers-color-scheme:dark){:root{--bg:#12151a;--card:#1a1f27;--ink:#e7eaef;--soft:#98a3b3;--line:#2c333e;
--plot:#7fb0e6;--good:#5bd198;--bad:#ff8a80}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.45 system-ui,-apple-system,"Segoe UI",sans-serif}
header,main,footer{max-width:1180px;margin:0 auto;padding:0 20px}
header{display:flex;flex-wrap:wrap;align-items:center;gap:4px 14px;padding-top:24px}
h1{font-size:22px;margin:0}h1 span{color:var(--soft);font-weight:400}
h2{font-size:17px;margin:0 0 2px}h3{font-size:13px;margin:0 0 6px;color:var(--soft);font-weight:600}
p{margin:0;color:var(--soft);font-size:13px}
section{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:16px 18px;margin:16px 0}
section>p{margin-bottom:10px}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:7px 14px 7px 0;vertical-align:middle;font-weight:400;white-space:nowrap}
thead th{color:var(--soft);font-size:12px;padding-bottom:4px}
tbody tr{border-top:1px solid var(--line)}
section>.scroll tbody th{font-weight:600}
.n{text-align:right}th:last-child,td:last-child{padding-right:0}
.scroll{overflow-x:auto}
code{font:13px ui-monospace,SFMono-Regular,Menlo,monospace}
.badge{border:1px solid;border-radius:999px;padding:1px 10px;font-size:13px;font-weight:600}
.good{color:var(--good)}.bad{color:var(--bad)}.idle{color:var(--soft)}
.reasons{flex-basis:100%;margin:6px 0 0;padding-left:18px;color:var(--bad);overflow-wrap:anywhere}
.share{display:block;height:3px;border-radius:2px;background:var(--line);margin-top:2px;min-width:56px}
.share span{display:block;height:3px;border-radius:2px;background:var(--plot)}
svg{display:block;margin-left:auto}svg rect{fill:var(--plot)}
small{display:flex;justify-content:space-between;color:var(--soft);font-size:11px;width:124px;margin-left:auto}
small i{font-style:normal}
.cards{display:grid;grid-template-columns:repeat(auto-fill,minmax(230px,1fr));gap:16px 28px;margin-top:10px}
.card th,.card td{padding-top:3px;padding-bottom:3px;font-size:13px}
.card th{white-space:normal;overflow-wrap:anywhere}
.arms th{overflow-wrap:anywhere;white-space:normal;min-width:110px}
.arms thead th{white-space:nowrap;min-width:0}
.arms .why{border:0}.arms .why td{white-space:normal;overflow-wrap:anywhere;font-size:13px;padding-top:0}
@media(max-width:900px){
header,main,footer{padding-left:12px;padding-right:12px}
.arms thead{display:none}
.arms tbody tr{display:grid;grid-template-columns:repeat(auto-fit,minmax(128px,1fr));gap:6px 16px;padding:10px 0}
.arms th,.arms td{padding:0;text-align:left}
.arms tbody th,.arms td:nth-child(2),.arms .why td{grid-column:1/-1}
.arms tbody .why{padding-top:0}
.arms td[data-of]::before{content:attr(data-of);display:block;color:var(--soft);font-size:11px}
.arms td:empty{display:none}
.arms svg,.arms small{margin-left:0}
}
footer{padding:4px 20px 32px}a{color:var(--plot);margin-right:14px}
"""
