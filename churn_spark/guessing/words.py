"""What companies call their columns and what stands in a label, in several languages."""

from __future__ import annotations

import re

LABELS = (  # by how sure each is
    r"churn|attrition|attrited",
    r"abgewandert|gekundigt|kundigung|resili|desabonn|abandon|baja$|cancelado|evadido|opgezegd|disdetta|dimesso",
    r"(^|_)(exited|left|cancel(l?ed)?|terminated|quit|lapsed|lost)$",
    r"(^|_)(label|target|status|outcome)$",
)
ID = re.compile(
    r"(^|_)(id|key|number|no|nr|num|n|code|uuid|guid|ref|msisdn)(_|$)|(id|num|nummer|number)$", re.I
)
CUSTOMER = re.compile(
    r"customer|client|subscriber|account|member|user|cust|kund|cliente|abonn|employee|person|klant|patient",
    re.I,
)
SNAPSHOT = re.compile(r"snapshot|as_?of|observ|report(ing)?_?(date|day|month)|period|stichtag", re.I)
KEY = re.compile(
    r"(^|_)(id|key|number|nummer|num|nr|no|uuid|guid|ref|code)$"
    r"|(customer|client|subscriber|account|member|user|kunden?)(id|nr|no)$",
    re.I,
)
CODE = re.compile(r"(^|_)(code|zip|zip_?code|post_?code|postal|plz|cap|cep)$", re.I)
DATE_NAME = re.compile(r"date|datum|day$|since|fecha|data$|snapshot|tag$|_at$|_on$|(^|_)month$|period", re.I)

LEFT = frozenset(
    """1 yes true y t ja oui si sí sim да 是 はい tak ano evet churn churned attrited left exited gone cancelled
    canceled lost closed terminated quit lapsed former departed inactive abgewandert gekündigt résilié resilie parti
    baja cancelado opgezegd""".split()  # noqa: SIM905
) | {"attrited customer", "former customer", "lost customer", "churned customer", "left the company"}
SURE = frozenset(  # said of customers only, whatever the column is called
    "churned attrited abgewandert gekündigt résilié resilie cancelado opgezegd".split()  # noqa: SIM905
) | {"attrited customer", "former customer", "lost customer", "churned customer", "left the company"}
STAYED = frozenset(
    """0 no false n f nein non nao não нет 否 いいえ nie ne hayır stayed stay existing active current retained remained
    open aktiv actif activo ativo bleibt joined""".split()  # noqa: SIM905
) | {"existing customer", "active customer", "current customer"}
UNITS = ("%", "€", "$", "£", "EUR", "USD", "GBP", "CHF")  # that stand beside numbers
MARKS = ("?", "-", "--", ".", "unknown", "missing", "n.a.", "n/v", "k.a.", "k. a.", "#nv", "nil", "empty")
