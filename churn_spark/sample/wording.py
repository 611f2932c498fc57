"""Support notes for the sample table: word banks, and the one function that writes a note from its topics.

A note says what it is about, and how badly; it never says how the story ended. Templates hold slots: `{I}`,
`{i}`, `{my}` and `{me}` depend on the voice, the others are drawn from `WORDS` once a note, so that a note
keeps to one city, one bill and one amount.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any


@dataclass(frozen=True)
class Topic:
    """What a note can be about: sentences for a mild case, for a strong one, and details fit for both."""

    name: str
    mild: tuple[str, ...]
    strong: tuple[str, ...]
    detail: tuple[str, ...]


TOPICS = (
    Topic(
        "billing dispute",
        mild=(
            "{I} found a small {charge} of {amount} on {my} {month} {bill} and calmly asked what it was for.",
            "A minor {bill} question about {amount} was explained and settled {quickly}.",
            "{I} noticed that {my} {bill} for {month} was slightly off because of a {charge}.",
            "A small rounding difference on the {month} {bill} was corrected {quickly}.",
            "{I} asked politely for one {charge} on {my} {bill} to be looked at again.",
        ),
        strong=(
            "{I} was charged {times} for the same {month} {bill} and was {furious} about this billing error.",
            "{my} {bill} was wrong for {nth} month, and {i} was {furious} about the disputed charges.",
            "{I} was {furious}: {amount} of wrong charges on the {month} {bill} and no refund.",
            "{I} was {furious} because a bogus {charge} of {amount} came back on every single {bill}.",
            "{I} called the overcharging on {my} {bill} {unacceptable} and disputed all {amount} of it.",
            "{my} bank account was debited {amount} too much for the {bill}, which was {unacceptable}.",
        ),
        detail=(
            "The {charge} of {amount} stood on the {bill} dated {day} {month}.",
            "{my} payment for the {bill} went out by {method} on {day} {month}.",
            "Billing was asked to check the {charge} against the {bill} for {month}.",
            "{I} compared the {bill} for {month} with the one before and listed each charge.",
            "A corrected {bill} with the {charge} taken off was requested from the billing team.",
            "The billing system showed a {charge} of {amount} under {my} {month} {bill}.",
        ),
    ),
    Topic(
        "outage",
        mild=(
            "{my} {connection} was a little slow on {weekday} {daytime} but came back after a restart.",
            "There was a short {connection} dropout on {weekday}, and it was fixed {quickly}.",
            "{I} reported a brief loss of {connection} that lasted only {minutes} minutes.",
            "{I} noticed a small hiccup in {my} {connection}, gone again by the {daytime}.",
            "A short planned outage of {my} {connection} on {weekday} was explained in advance.",
        ),
        strong=(
            "{my} {connection} was down for {days} days and {i} was {furious} about yet another outage.",
            "{I} had {nth} complete {connection} outage this month and called it {unacceptable}.",
            "{my} {connection} kept dropping all day, and {i} was {furious} that {i} could not {work}.",
            "{I} was {furious} that the {connection} outage in {city} had lasted {days} days by now.",
            "Constant {connection} failures made the service useless to {me}, which was {unacceptable}.",
            "{I} lost {my} {connection} again for {hours} hours and complained that this was {unacceptable}.",
        ),
        detail=(
            "The {connection} fault was first seen on {weekday} {daytime} in {city}.",
            "{I} restarted the router and checked the cables, and the {connection} light was {colour}.",
            "A line test on the {connection} showed a fault between {city} and the exchange.",
            "A technician was asked to look at the {connection} outage on {weekday}.",
            "The {connection} status page listed an outage in {city} since {weekday}.",
            "The {connection} speed was measured again after the outage on {weekday} {daytime}.",
        ),
    ),
    Topic(
        "slow support",
        mild=(
            "{I} waited {minutes} minutes for a {support} reply, a little longer than usual.",
            "The answer from {support} took a day more than promised, but {i} was understanding.",
            "{I} was passed on once by {support} before the question was answered.",
            "{I} mentioned that the hold time for {support} was slightly long on {weekday}.",
            "{support} called back a bit late on {weekday}, and {i} did not mind much.",
        ),
        strong=(
            "{I} waited {days} days for {support} and was {furious} that nobody ever called back.",
            "{I} explained it all to {nth} support agent, still without an answer: {unacceptable}.",
            "{I} was {furious} after {hours} hours on hold with {support} and a dropped line.",
            "{I} was {furious} about being ignored by {support} after {number} unanswered messages.",
            "{I} called the slow and rude replies from {support} {unacceptable}.",
            "After {number} calls to {support}, {i} was {furious}: passed from agent to agent, no help.",
        ),
        detail=(
            "The first message to {support} was sent on {day} {month}.",
            "{I} gave {support} the case number and the names of the agents from earlier calls.",
            "The {support} queue showed a waiting time of {minutes} minutes on {weekday} {daytime}.",
            "A call back from {support} was promised for {weekday} {daytime}.",
            "{I} asked for one contact person at {support} for this case.",
            "The support case was passed on to a senior agent on {weekday}.",
        ),
    ),
    Topic(
        "competitor offer",
        mild=(
            "{I} mentioned in passing an advert by {rival} and asked whether we had a similar deal.",
            "{I} had seen a leaflet from {rival} and was curious how our plans compared.",
            "{I} asked if we could come near the price of {rival}, without any hurry.",
            "A friend had told {me} about {rival}, so {i} wanted to compare the two offers.",
            "{I} asked casually whether we match promotions by {rival}.",
        ),
        strong=(
            "{I} was {furious} that {rival} offered the same at {cheaper}.",
            "{rival} had offered {me} the same service at {cheaper}, so our price was {unacceptable}.",
            "{I} was {furious} to learn that {rival} was {cheaper} for twice the speed.",
            "{I} was seriously weighing an offer from {rival} at {cheaper}, being {furious} with us.",
            "{I} read out an offer by {rival} and complained that our price was {unacceptable}.",
            "All of {my} neighbours were with {rival} at {cheaper}, and {i} was {furious}.",
        ),
        detail=(
            "The offer from {rival} was said to be valid until {day} {month}.",
            "The competing offer by {rival} came with {perk}.",
            "{I} sent a photo of the offer from {rival} for comparison.",
            "The offer was compared with our own rates for {city}.",
            "A sales person of {rival} had called {me} on {weekday} {daytime} with that offer.",
            "{I} asked which of our plans came closest to the offer from {rival}.",
        ),
    ),
    Topic(
        "price increase",
        mild=(
            "{I} asked what was behind the small price change announced for {month}.",
            "{I} found the new price a little higher but still fair.",
            "{I} wanted to know from which day the slightly higher price would apply.",
            "A modest price adjustment of {amount} was explained, and {i} took it calmly.",
            "{I} asked whether the price change in {month} could be spread over the year.",
        ),
        strong=(
            "{I} was {furious} about the price increase of {percent} percent announced for {month}.",
            "{I} called {nth} price hike within a year {unacceptable} and far too expensive.",
            "{I} could not afford the new price and was {furious} about the sudden increase.",
            "{my} monthly price had jumped by {amount} without any warning, which was {unacceptable}.",
            "{I} was {furious}, since the price increase made the service much too expensive.",
            "{I} demanded the old price back, since {percent} percent more was {unacceptable}.",
        ),
        detail=(
            "The letter about the new price was dated {day} {month}.",
            "The new price was {amount} above the old price from {month} on.",
            "{I} asked for the price list and the terms that allow a price increase.",
            "The price increase was checked against the price agreed when the contract began.",
            "{I} compared the new monthly price with what was paid last {month}.",
            "The reasons for the price increase were read out from the notice.",
        ),
    ),
    Topic(
        "moving house",
        mild=(
            "{I} was planning a move to {city} in {month} and asked how to take the service along.",
            "{I} gave a new address in {city}, valid from {day} {month}.",
            "{I} asked whether {my} plan was available at a new flat in {city}.",
            "{I} was moving house on {weekday} and wanted the router set up there.",
            "{I} wanted to know how long a relocation to {city} would take.",
        ),
        strong=(
            "{I} was moving to {city} within {days} days and urgently needed the service at the new house.",
            "The relocation to {city} had been booked for the wrong day and {i} asked for another one.",
            "{I} was moving house for the second time this year, now to {city}.",
            "{I} needed the line moved to the new address in {city} before {weekday}.",
            "{I} had boxes packed for {city} and wanted the relocation confirmed in writing.",
        ),
        detail=(
            "The new address in {city} was checked for availability.",
            "The move to the new house was planned for {day} {month}.",
            "A technician appointment at the new address in {city} was offered for {weekday} {daytime}.",
            "The relocation form for the new house in {city} was sent by post.",
            "{I} asked to keep the same phone number after the move to {city}.",
            "The landlord of the new flat in {city} agreed to the installation.",
        ),
    ),
    Topic(
        "feature question",
        mild=(
            "{I} asked how to set up {feature} on a new device and was thankful for the steps.",
            "{I} was happy to learn that {my} plan includes {feature}.",
            "{I} had a simple question about {feature} and thanked us for the answer.",
            "{I} liked {feature} and asked for the manual.",
            "{I} asked where to find {feature} in the app and found it quite useful.",
        ),
        strong=(
            "{I} loved {feature}, used it every day and had many questions.",
            "{I} was {delighted} with {feature} and asked for advanced settings.",
            "{I} was {delighted} with {feature} and asked how to share it with the family.",
            "{I} liked the app and asked for a guide to {feature} with many thanks.",
            "{I} was excited about the new version of {feature} and glad to test it.",
        ),
        detail=(
            "The steps for {feature} were sent as a link to the help pages.",
            "{I} used the app on a {device} to set up {feature}.",
            "The settings for {feature} were found in the app under {menu}.",
            "{I} asked if {feature} also works on a {device}.",
            "A short guide to {feature} on a {device} was sent.",
            "The setup of {feature} in the app was shown step by step.",
        ),
    ),
    Topic(
        "praise",
        mild=(
            "{I} was satisfied with the service and thanked the team.",
            "{I} thanked the team for a friendly answer.",
            "{I} was happy to say that everything had been working well since {month}.",
            "{I} was happy that the request had been handled {quickly} and said thanks.",
            "{I} gave friendly feedback on the {praised}.",
        ),
        strong=(
            "{I} was {delighted} with the {praised} and praised the whole team.",
            "{I} thanked {agent} warmly for the {great} help and the {praised}.",
            "{I} had recommended us to friends because of the {great} {praised}.",
            "{I} was {delighted} and called it the best service of the past {number} years.",
            "{I} praised the {great} {praised} and gave us top marks in the survey.",
            "{I} was a happy and loyal fan of our service, {delighted} with the {praised}.",
        ),
        detail=(
            "{I} wanted the kind words passed on to {agent} and the team.",
            "The thanks for the {praised} were shared with the team on {weekday}.",
            "{I} gave {stars} out of five stars for the {praised} and the friendly service.",
            "The happy feedback was about the {praised} in {month}.",
            "{I} was glad that the friendly {agent} had taken the time on {weekday}.",
            "The positive feedback and the thanks were entered in the survey for {month}.",
        ),
    ),
    Topic(
        "upgrade interest",
        mild=(
            "{I} was happy with the plan and asked about {upgrade} on top.",
            "{I} thanked us for the tip and was thinking about adding {upgrade}.",
            "{I} was pleased to hear what {upgrade} would bring.",
            "{I} liked {upgrade} and asked if it could be tried for a month.",
            "{I} was glad to get information about adding {upgrade}.",
        ),
        strong=(
            "{I} was happy to order {upgrade} and wanted it activated at once.",
            "{I} gladly signed up for {upgrade} for {term} months and said thanks.",
            "{I} was happy to upgrade the plan and add {upgrade} for the whole family.",
            "{I} was excited to add {upgrade} and happy with the {term} month contract.",
            "{I} renewed for another {term} months and added {upgrade}, thanking the team.",
        ),
        detail=(
            "The order form for {upgrade} was filled in on {weekday}.",
            "The upgrade to {upgrade} was shown on the website in {month}.",
            "The activation of {upgrade} was planned for {day} {month}.",
            "A welcome message for {upgrade} was sent after the upgrade.",
            "{I} asked to have {upgrade} added to the same contract.",
            "The upgrade and the new contract term for {upgrade} were read out.",
        ),
    ),
    Topic(
        "account admin",
        mild=(
            "{I} asked for a copy of {my} contract and an up-to-date address on file.",
            "{I} needed a new password for the online account.",
            "{I} changed the login name of the online account.",
            "{I} updated {my} phone number and e-mail address in the account.",
            "{I} asked how to change the language of the online account.",
        ),
        strong=(
            "{I} was locked out of the online account after entering the password {times}.",
            "{I} needed the account name corrected after a wedding and sent the papers.",
            "{I} asked to add a second user to the online account and to change the password.",
            "{I} wanted all account data updated: address, password and phone number.",
            "{I} asked for a full copy of the personal data held in the account.",
        ),
        detail=(
            "The account details were checked and the address was updated.",
            "A password link for the online account was sent on {weekday}.",
            "The form to change the account data was sent on {day} {month}.",
            "{I} confirmed the account data with the date of birth and the address.",
            "The online account showed the changed data after {minutes} minutes.",
            "The account password and the contact data were changed on {weekday} {daytime}.",
        ),
    ),
)

WORDS: dict[str, tuple[str, ...]] = {
    "amount": ("$4.90", "$7.50", "$12.40", "$18", "$23.99", "$31.20", "$45", "$59.80", "$87.15", "$120"),
    "agent": ("Amir", "Beth", "Carlos", "Dana", "Elif", "Femi", "Grace", "Hugo"),
    "bill": ("bill", "invoice", "billing statement"),
    "charge": ("late fee", "roaming charge", "service fee", "setup fee", "data charge", "handling charge"),
    "cheaper": ("half the price", "a third less", "$15 a month less", "a quarter less", "20 percent less"),
    "city": ("Leeds", "Austin", "Cork", "Denver", "Graz", "Porto", "Tampa", "Utrecht", "Lyon", "Bergen"),
    "colour": ("red", "orange", "off", "blinking"),
    "connection": ("internet", "broadband", "mobile network", "fibre line", "wifi"),
    "day": ("1", "3", "5", "8", "11", "14", "17", "20", "22", "26"),
    "days": ("four", "five", "six", "eight", "nine", "ten", "twelve"),
    "daytime": ("morning", "afternoon", "evening"),
    "delighted": ("delighted", "extremely happy", "thrilled", "very pleased"),
    "device": ("tablet", "smart TV", "laptop", "new phone", "smart watch"),
    "feature": ("call forwarding", "the data usage meter", "parental controls", "voicemail to text",
                "the family calendar", "cloud backup", "guest wifi", "the spam filter"),
    "furious": ("furious", "extremely frustrated", "very angry", "deeply disappointed", "really upset"),
    "great": ("excellent", "outstanding", "wonderful", "fantastic"),
    "hours": ("two", "three", "four", "five", "six"),
    "menu": ("settings", "my services", "extras", "profile"),
    "method": ("direct debit", "credit card", "bank transfer", "online payment"),
    "minutes": ("ten", "fifteen", "twenty", "twenty-five", "thirty"),
    "month": ("January", "February", "March", "April", "May", "June", "July", "August", "September",
              "October", "November", "December"),
    "nth": ("the third", "the fourth", "the fifth", "yet another"),
    "number": ("four", "five", "six", "seven"),
    "percent": ("8", "12", "15", "18", "25"),
    "perk": ("a free router", "a welcome bonus", "three free months", "a new phone"),
    "praised": ("reliable network", "quick repair", "friendly staff", "clear advice", "fast delivery"),
    "quickly": ("quickly", "within an hour", "the same day", "without any fuss"),
    "rival": ("another provider", "a competitor", "a rival company", "a cheaper competitor"),
    "support": ("support", "customer support", "phone support", "technical support"),
    "stars": ("four", "four and a half", "five"),
    "term": ("12", "18", "24"),
    "times": ("twice", "three times", "four times"),
    "unacceptable": ("unacceptable", "a disgrace", "outrageous", "simply not good enough"),
    "upgrade": ("the premium package", "a second line", "faster fibre", "the sports channel",
                "a family data bundle", "the music option"),
    "weekday": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"),
    "work": ("work from home", "make a single call", "run the business", "use it for school"),
}  # fmt: skip

CUSTOMER = {"I": ("I",), "i": ("I",), "my": ("my",), "me": ("me",)}
AGENT = {"I": ("Customer", "The customer", "Client"), "i": ("the customer",), "my": ("their",),
         "me": ("the customer",)}  # fmt: skip

AGENT_FILLERS = (
    "Verified identity with postcode and date of birth.",
    "Line was noisy, so repeated the main points once more.",
    "Explained the next steps and the usual handling time.",
    "Offered to send a summary by post.",
    "Checked the knowledge base and found the matching article.",
    "Read back the notes and got a yes.",
    "Tagged the ticket for the morning shift.",
    "Placed on hold for a moment while looking things up.",
    "Second language speaker, spoke slowly.",
    "Promised an update within three working days.",
    "No other open tickets found.",
    "Transferred from the web form, all fields filled in.",
    "Asked whether there was anything else, there was not.",
    "Colleague from the evening shift was informed.",
    "Handed over to the back office with all documents.",
    "Small talk about the weather, friendly tone.",
)
CUSTOMER_FILLERS = (
    "I hope this message reaches the right department.",
    "Please let me know if you need anything else from me.",
    "I am usually at home after six.",
    "Sorry for the long message.",
    "My English is not perfect, thank you for your patience.",
    "I tried the website first, but the form kept loading.",
    "My partner can answer as well if I am busy.",
    "I have attached two screenshots.",
    "It would be nice to hear from you before the weekend.",
    "As I said to your colleague, any time slot is fine.",
    'The recording said "your call is important to us", and then music played.',
    "I am writing from my phone, so please excuse typos.",
)
AGENT_REPLIES = (
    "Thanks for reaching out, let me have a look.",
    "I see, one moment please.",
    "Could you confirm your postcode for me?",
    "Thank you for your patience.",
    "I have noted everything for the team.",
    "Understood, I am checking the system now.",
    "Let me read that back to you.",
    "Is there anything else I can help with today?",
    "I will pass that on right away.",
    "Got it, thanks for the details.",
)
REMARK_TAILS = (
    "Noted for the file and passed on to the team in charge.",
    "Logged by the front desk, nothing else was said.",
    "Short call, details are in the ticket history.",
    "Contact came in through the web form.",
    "Handled on first contact by the day shift.",
    "Follow-up planned for next week by the same agent.",
)
GREETINGS = ("Hello,", "Hi there,", "Dear team,", "Good morning,", "Good evening,")
SIGN_OFFS = ("Kind regards,", "Best wishes,", "Thank you,", "Many thanks,", "Sincerely,", "Regards,")
FIRST_NAMES = ("Alex", "Bianca", "Chen", "Deepa", "Erik", "Fatima", "Giulia", "Hana", "Ivan", "Jonas",
               "Kemal", "Lucia", "Marta", "Noor", "Olga", "Pavel", "Rosa", "Samir",
               "Tariq", "Yuki")  # fmt: skip
LAST_NAMES = ("Adler", "Baker", "Costa", "Dubois", "Eriksen", "Fischer", "Garcia", "Hughes", "Ito", "Jansen",
              "Kowalski", "Lopez", "Meyer", "Novak", "Okafor", "Patel", "Rossi", "Silva", "Tanaka",
              "Weber")  # fmt: skip
CONTACTS = ("Best reached at {email}.", "Call back number is {phone}.", "Contact: {email}, {phone}.",
            "IBAN on file: {iban}.", "Card on file: {card}.", "Order number {order}.",
            "The reference is {order}, mail {email}.")  # fmt: skip
CANNED_OPENINGS = ("Web form received, subject chosen from the list by the customer.",
                   "Automatic entry from the voice menu of the service line.",
                   "Imported from the partner shop, standard wording was used.")  # fmt: skip
CANNED_TAILS = ("Confirmation sent to {email}.", "Order {order} attached.", "Call back requested on {phone}.")
SHORTHAND = {
    "the customer": "cust", "customer": "cust", "client": "cust", "because": "bc", "and": "&", "with": "w/",
    "without": "w/o", "about": "re", "the": "", "a": "", "an": "", "was": "", "were": "", "had been": "",
    "account": "acct", "message": "msg", "number": "no.", "technician": "tech", "minutes": "min",
    "hours": "hrs", "percent": "pct", "please": "pls", "before": "b4", "agreed": "agr", "requested": "req",
    "appointment": "appt", "information": "info", "address": "addr", "payment": "pymt", "service": "svc",
}  # fmt: skip
SHORTHAND_TAILS = ("adv 3-5 wd", "f/u next wk", "no further q", "tkt to L2", "info sent", "see prev tkt")


# -- notes ---------------------------------------------------------------------------------------------

Say = Callable[[Sequence[Any]], Any]  # draws one of the options
Topics = Sequence[tuple[int, bool]]  # index into TOPICS, and whether the case is strong


def write_note(topics: Topics, seed: int) -> str:
    """Write one support note of 12 to 300 words, a pure function of its topics and a seed.

    The style (remark, shorthand, e-mail, call log, chat, boilerplate) and the length are drawn, too.
    """
    random = Random(seed).random

    def say(options: Sequence[Any]) -> Any:
        return options[int(random() * len(options))]

    return str(say(_STYLES)(say, topics))


class _Words(dict[str, str]):
    """The slots of one note, each drawn when it is first needed and kept from then on."""

    def __init__(self, say: Say, voice: Mapping[str, tuple[str, ...]]) -> None:
        super().__init__()
        self.say, self.voice = say, voice

    def __missing__(self, slot: str) -> str:
        make = _IDENTIFIERS.get(slot)
        word: str = make(self.say) if make else self.say(self.voice.get(slot) or WORDS[slot])
        self[slot] = word
        return word

    def fill(self, templates: Iterable[str]) -> list[str]:
        sentences = (template.format_map(self) for template in templates)
        return [sentence[0].upper() + sentence[1:] for sentence in sentences]


def _story(say: Say, topics: Topics, size: int) -> list[str]:
    """Templates that tell of the topics; the larger the size, the more of them."""
    templates: list[str] = []
    for topic, strong in topics:
        templates += _some(say, _core(topic, strong), 1 + min(size, 2) // len(topics))
        templates += _some(say, TOPICS[topic].detail, min(size, 4) // len(topics))
    return templates


def _core(topic: int, strong: bool) -> tuple[str, ...]:
    return TOPICS[topic].strong if strong else TOPICS[topic].mild


def _some(say: Say, options: Sequence[str], count: int) -> list[str]:
    """Some different options, from a random one on."""
    first = say(range(len(options)))
    return [options[(first + k) % len(options)] for k in range(min(count, len(options)))]


def _long_story(say: Say, topics: Topics, fillers: Sequence[str]) -> list[str]:
    """A story of any length, with small talk before and after, and sometimes an identifier at the end."""
    size = say(_SIZES)
    talk = _some(say, fillers, size // 2)
    contact = [say(CONTACTS)] if say(_SOMETIMES) else []
    return [*talk[::2], *_story(say, topics, size), *talk[1::2], *contact]


def _remark(say: Say, topics: Topics) -> str:
    core = [say(_core(topic, strong)) for topic, strong in topics]
    return " ".join(_Words(say, AGENT).fill([*core, say(REMARK_TAILS)]))


def _agent_shorthand(say: Say, topics: Topics) -> str:
    lines = _Words(say, AGENT).fill(_story(say, topics, say((1, 2, 3))))
    short = _ABBREVIATED.sub(lambda found: SHORTHAND[found[0].lower()], " ".join(lines))
    initials = say(FIRST_NAMES)[0] + say(LAST_NAMES)[0]
    return f"{' '.join(short.lower().split())} {say(SHORTHAND_TAILS)} - {initials}"


def _email(say: Say, topics: Topics) -> str:
    body = " ".join(_Words(say, CUSTOMER).fill(_long_story(say, topics, CUSTOMER_FILLERS)))
    name = f"{say(FIRST_NAMES)} {say(LAST_NAMES)}"
    return str(say(_GAPS)).join([say(GREETINGS), body, say(SIGN_OFFS), name])


def _call_log(say: Say, topics: Topics) -> str:
    lines = _Words(say, AGENT).fill(_long_story(say, topics, AGENT_FILLERS))
    quote = _Words(say, CUSTOMER).fill([say(_core(*topics[0]))])[0]
    head = f"Call log {say(range(8, 20))}:{say(range(10, 60))}, agent {say(FIRST_NAMES)}"
    return f"{say(_GAPS)}- ".join([head, *lines, f'Customer said: "{quote}"'])


def _chat(say: Say, topics: Topics) -> str:
    lines = []
    for sentence in _Words(say, CUSTOMER).fill(_long_story(say, topics, CUSTOMER_FILLERS))[:12]:
        lines += [f"Customer: {sentence}", f"Agent: {say(AGENT_REPLIES)}"]
    return str(say(_GAPS)).join(lines)


def _canned(say: Say, topics: Topics) -> str:
    """Boilerplate that many customers share, character for character."""
    fixed = [t for topic, strong in topics for t in (_core(topic, strong)[0], TOPICS[topic].detail[0])]
    return " ".join([say(CANNED_OPENINGS), *_Words(_first, AGENT).fill(fixed)])


def _canned_with_identifier(say: Say, topics: Topics) -> str:
    """Boilerplate that is equal but for an e-mail address, a phone or an order number."""
    return " ".join([_canned(say, topics), *_Words(say, AGENT).fill([say(CANNED_TAILS)])])


def _first(options: Sequence[Any]) -> Any:
    return options[0]


_ABBREVIATED = re.compile(r"\b(" + "|".join(sorted(SHORTHAND, key=len, reverse=True)) + r")\b", re.I)
_SIZES = (0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 8, 10, 14)
_SOMETIMES = (True, True, False, False, False)
_GAPS = (" ", " ", " ", " ", "\n")
_STYLES = (
    *(_remark,) * 11,
    *(_agent_shorthand,) * 8,
    *(_email,) * 10,
    *(_call_log,) * 7,
    *(_chat,) * 7,
    *(_canned,) * 4,
    *(_canned_with_identifier,) * 3,
)


# -- identifiers: made up, but valid by their check digits -----------------------------------------------


def _digits(say: Say, count: int) -> str:
    return "".join(say("0123456789") for _ in range(count))


def _email_address(say: Say) -> str:
    domain = say(("example.com", "example.org", "example.net"))  # reserved by RFC 2606
    return f"{say(FIRST_NAMES)}.{say(LAST_NAMES)}{_digits(say, 2)}@{domain}".lower()


def _phone(say: Say) -> str:
    # Ranges reserved for fiction: 555-0100..0199 in North America, 020 7946 0xxx in London.
    prefix = say(("+1 202 555 01", "(312) 555-01", "415-555-01", "+44 20 7946 09"))
    return f"{prefix}{_digits(say, 2)}"


def _order(say: Say) -> str:
    return f"SO-{_digits(say, 7)}"


def _iban(say: Say) -> str:
    account = "00000000" + _digits(say, 10)  # no bank has this code
    check = 98 - int(account + "131400") % 97  # ISO 7064 mod 97-10, DE = 1314
    iban = f"DE{check:02d}{account}"
    return " ".join(iban[k : k + 4] for k in range(0, 22, 4))


def _card(say: Say) -> str:
    digits = "400000" + _digits(say, 9)  # a prefix of test cards
    doubled = (2 * int(d) for d in digits[::2])
    total = sum(d - 9 if d > 9 else d for d in doubled) + sum(int(d) for d in digits[1::2])
    digits += str(-total % 10)
    return str(say((" ", "-", ""))).join(digits[k : k + 4] for k in range(0, 16, 4))


_IDENTIFIERS: dict[str, Callable[[Say], str]] = {
    "email": _email_address, "phone": _phone, "order": _order, "iban": _iban, "card": _card,
}  # fmt: skip
