"""Notes in Chinese, German and Spanish, made up: what customers who leave say, and what the others say."""

from __future__ import annotations

import random

LEAVING = {
    "zh": "网络从上周开始一直断线|客服打了五次电话都没人接|账单又多收了三十块钱|竞争对手的价格便宜很多|技术员没有按时上门|我对服务非常失望"
    "|合同到期后不想续约了|退款等了两个月还没到|手机信号在家里几乎没有|投诉之后没有任何回应|速度比承诺的慢一半|考虑换到别的公司",
    "de": "Seit letzter Woche bricht die Verbindung ständig ab|Beim Kundendienst geht niemand ans Telefon|Die Rechnung war schon"
    " wieder zu hoch|Die Konkurrenz ist deutlich günstiger|Der Techniker kam nicht zum Termin|Ich bin vom Service sehr enttäuscht"
    "|Nach Vertragsende möchte ich nicht verlängern|Auf die Erstattung warte ich seit zwei Monaten|Zuhause habe ich kaum Empfang"
    "|Auf meine Beschwerde kam keine Antwort|Die Leitung ist halb so schnell wie versprochen|Ich überlege, den Anbieter zu wechseln",
    "es": "Desde la semana pasada se corta la conexión|Nadie contesta en atención al cliente|La factura volvió a salir más alta"
    "|La competencia es mucho más barata|El técnico no vino a la cita|Estoy muy decepcionado con el servicio"
    "|Al terminar el contrato no quiero renovar|Llevo dos meses esperando el reembolso|En casa apenas tengo cobertura"
    "|No respondieron a mi reclamación|La velocidad es la mitad de lo prometido|Estoy pensando en cambiar de compañía",
}
STAYING = {
    "zh": "问题很快就解决了|客服态度非常好|新的套餐很划算|网速一直很稳定|感谢你们的耐心帮助|已经推荐给朋友了|续约的优惠让我满意|安装师傅很专业"
    "|账单清楚易懂|信号比以前好多了|我会继续使用|一切都很顺利",
    "de": "Das Problem wurde schnell gelöst|Die Beraterin war sehr freundlich|Der neue Tarif lohnt sich|Die Leitung läuft stabil"
    "|Danke für die geduldige Hilfe|Ich habe Sie schon weiterempfohlen|Mit dem Angebot zur Verlängerung bin ich zufrieden"
    "|Der Monteur war sehr kompetent|Die Rechnung ist klar und verständlich|Der Empfang ist viel besser geworden"
    "|Ich bleibe gerne Kunde|Alles hat gut geklappt",
    "es": "El problema se resolvió rápido|La asesora fue muy amable|El nuevo plan me conviene|La conexión es estable"
    "|Gracias por la ayuda y la paciencia|Ya los recomendé a unos amigos|Estoy contento con la oferta de renovación"
    "|El instalador fue muy profesional|La factura es clara y fácil de entender|La cobertura ha mejorado mucho"
    "|Seguiré con ustedes|Todo salió muy bien",
}
NEUTRAL = {
    "zh": "客户询问了营业时间|地址变更已登记|想了解国际漫游|要求重发发票|更新了付款方式|询问如何修改密码|预约在周二上午|家里有两台设备",
    "de": "Der Kunde fragt nach den Öffnungszeiten|Die neue Adresse wurde eingetragen|Frage zu Roaming im Ausland|Bitte um eine Kopie"
    " der Rechnung|Die Zahlungsart wurde geändert|Frage zum Passwort|Der Termin ist am Dienstag Vormittag|Im Haushalt sind zwei Geräte",
    "es": "El cliente pregunta por el horario|Se registró la nueva dirección|Pregunta por la itinerancia|Pide una copia de la factura"
    "|Se cambió la forma de pago|Pregunta cómo cambiar la clave|La cita es el martes por la mañana|En casa hay dos equipos",
}


def notes_in(language: str, n: int, *, seed: int = 7) -> tuple[list[str], list[int]]:
    """n notes of three or four sentences, and whether the customer left; one in eight goes against its words."""
    random_ = random.Random(f"{language}{seed}")
    end = "。" if language == "zh" else "."
    notes, labels = [], []
    for _ in range(n):
        label = random_.random() < 0.4
        likely, other = (LEAVING, STAYING) if label != (random_.random() < 0.125) else (STAYING, LEAVING)
        said = random_.sample(likely[language].split("|"), 2 if random_.random() < 0.6 else 1)
        said += random_.sample(other[language].split("|"), 1 if random_.random() < 0.3 else 0)
        said += random_.sample(NEUTRAL[language].split("|"), random_.choice((1, 2)))
        random_.shuffle(said)
        notes.append("".join(f"{s}{end}" if end == "。" else f"{s}{end} " for s in said).strip())
        labels.append(int(label))
    return notes, labels
