"""From probabilities to money: whom to contact, what it is worth, and how risky each customer is.

The campaign is that of Neslin et al. (2006) and Verbraken, Verbeke & Baesens (2013). Contacting costs
`contact_cost` (f). A churner accepts the offer with `accept_rate` (g) and stays, bringing `customer_value`
(V) less `offer_cost` (d); one who refuses costs nothing more. A customer who would have stayed anyway always
takes the offer, or does so with `stayer_accept_rate` (s). So a contacted churner brings g(V - d) - f, and any other
contacted customer costs s d + f. Where there are several offers, or rows have amounts of their own, each customer is
made the offer that is worth most (see `offers`), and the policy's own amounts are the typical ones.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from hashlib import blake2b
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit, roots_jacobi

from churn_spark.arrays import Columns, Floats
from churn_spark.errors import ConfigError, InputError, ResourceError
from churn_spark.model.offers import Amount, Best, Offer, Only, Terms, best_offers, terms_of
from churn_spark.settings import decision as settings

BANDS = ("low", "medium", "high", "very_high")
VERY_HIGH_ODDS = 3.0  # very_high begins at this many times the odds at which high begins
BETA_ROWS = 20.0  # accept_rate ~ Beta(20 g, 20 (1 - g)): Verbraken's Beta(6, 14) at the default of 0.3
BETA_NODES = 20  # Gauss-Jacobi nodes over that distribution
# An offer's amounts, and the settings in `decision` that they are where the offer does not say.
INHERITED = {
    "cost": "offer_cost", "accept_rate": "accept_rate", "stayer_accept_rate": "stayer_accept_rate",
    "contact_cost": "contact_cost",
}  # fmt: skip


@dataclass(frozen=True)
class Policy:
    """The campaign's money, and the cut-offs that `fit_policy` derives from it.

    `capacity` is the number of customers that can be contacted per scoring run and `capacity_share` the share
    of them that it covers. `bands` are the probabilities at which medium, high and very_high begin. `offers` and
    `value_column` are there only where offers differ, or rows have amounts of their own.
    """

    contact_cost: float = 1.0
    offer_cost: float = 10.0
    accept_rate: float = 0.3
    stayer_accept_rate: float = 1.0
    customer_value: float = 200.0
    capacity: int | None = None
    holdout_share: float = 0.0
    capacity_share: float = 1.0
    threshold: float = 0.5
    bands: tuple[float, float, float] = (0.25, 0.5, 0.75)
    offers: tuple[Offer, ...] = ()
    value_column: str | None = None

    def __post_init__(self) -> None:
        amounts = (self.contact_cost, self.offer_cost, self.customer_value)
        rates = (self.accept_rate, self.stayer_accept_rate, self.holdout_share, self.capacity_share)
        if not all(0 <= amount < math.inf for amount in amounts):
            _refuse("contact_cost, offer_cost and customer_value must be finite and not negative")
        if not all(0 <= share <= 1 for share in (*rates, self.threshold, *self.bands)):
            _refuse(
                "accept_rate, stayer_accept_rate, holdout_share and every cut-off must lie between 0 and 1"
            )
        if len(self.bands) != len(BANDS) - 1 or list(self.bands) != sorted(self.bands):
            _refuse("bands must be three rising cut-offs")
        if self.capacity is not None and self.capacity < 1:
            _refuse("capacity must be at least 1, or null for no limit")

    @property
    def break_even(self) -> float:
        """The probability at which contacting a customer brings exactly nothing; 1 where none is enough.

        p (g(V - d) - f) = (1 - p)(s d + f), so p = (s d + f) / (g(V - d) + s d).
        """
        given = self.stayer_accept_rate * self.offer_cost
        cost = self.contact_cost + given
        gain = self.accept_rate * (self.customer_value - self.offer_cost) + given
        return cost / gain if cost < gain else 1.0

    @property
    def typical(self) -> Terms:
        """What contacting a customer of typical terms means."""
        saved = self.accept_rate * (self.customer_value - self.offer_cost)
        given = self.stayer_accept_rate * self.offer_cost
        return Terms(*map(np.asarray, (saved, given, self.contact_cost)))

    @property
    def has_own_terms(self) -> bool:
        """Whether customers differ in what contacting them means."""
        return bool(self.offers) or self.value_column is not None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the terms are read from."""
        own = [self.value_column] if self.value_column else []
        return tuple(dict.fromkeys([*own, *(column for offer in self.offers for column in offer.columns)]))

    def values(self, frame: Columns, rows: int) -> Floats:
        """What keeping each customer is worth."""
        return Amount(self.customer_value, self.value_column).of(frame, rows)

    def terms(self, frame: Columns, rows: int) -> Terms:
        """What contacting each customer means, by offer: (rows, offers)."""
        value = Amount(self.customer_value, self.value_column)
        return terms_of(self.offers or (self._one_offer,), value, frame, rows)

    def offered(self, frame: Columns, probability: Floats) -> Best:
        """The best offer to each customer."""
        return best_offers(self.terms(frame, len(probability)), probability)

    @property
    def _one_offer(self) -> Offer:
        return Offer(
            name="",
            cost=Amount(self.offer_cost),
            accept_rate=Amount(self.accept_rate),
            stayer_accept_rate=Amount(self.stayer_accept_rate),
            contact_cost=Amount(self.contact_cost),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the policy as JSON-ready values."""
        return {**asdict(self), "bands": list(self.bands)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Policy:
        """Rebuild a policy; ResourceError when keys are missing or unknown."""
        try:
            # what packages from before these meant
            values = {"stayer_accept_rate": 1.0, "offers": [], "value_column": None, **values}
            every_field = {field.name: values[field.name] for field in fields(cls)}  # nothing may be missing
            lists = {"bands": tuple(values["bands"]), "offers": tuple(map(Offer.from_dict, values["offers"]))}
            return cls(**{**values, **every_field, **lists})
        except (KeyError, TypeError):
            raise ResourceError(
                "the decision policy has missing or unknown entries",
                where="manifest.json: policy",
                fix="train again, or load another model package",
            ) from None


def campaign_policy(
    decision: settings.Decision, offers: Sequence[settings.Offer], *, typical: Mapping[str, float]
) -> Policy:
    """The policy that the settings describe; `typical` has the medians of the columns that amounts are read from.

    The typical terms are those of the offer that pays from the lowest probability on.
    """

    def amount(value: float | str) -> Amount:
        return Amount(typical[value], value) if isinstance(value, str) else Amount(float(value))

    def made(offer: settings.Offer) -> Offer:
        said = {name: getattr(offer, name) for name in INHERITED}
        own = {n: getattr(decision, INHERITED[n]) if value is None else value for n, value in said.items()}
        who = tuple(Only(column, rule.among, rule.min, rule.max) for column, rule in offer.who.items())
        return Offer(name=offer.name, who=who, **{n: amount(value) for n, value in own.items()})

    value = amount(decision.customer_value)
    every = [made(offer) for offer in offers or (settings.Offer(name=""),)]
    own: dict[str, Any] = {
        "offers": tuple(every) if offers or any(o.columns for o in every) else (),
        "value_column": value.column,
        "customer_value": value.typical,
        "capacity": decision.capacity,
        "holdout_share": decision.holdout_share,
    }
    policies = [
        Policy(**{inherited: getattr(offer, name).typical for name, inherited in INHERITED.items()}, **own)
        for offer in every
    ]
    return min(policies, key=lambda policy: policy.break_even)


def fit_policy(
    probability: ArrayLike, policy: Policy, *, weight: ArrayLike = 1.0, population: int | None = None
) -> Policy:
    """Choose threshold and risk bands for customers like those with these calibrated probabilities.

    The threshold is where contacting breaks even, or higher where the capacity is reached first. `weight` is
    how many customers a probability stands for, `population` how many a scoring run holds; by default as many.
    Where the customer value is a column, `policy.customer_value` is its typical value.
    """
    every = np.asarray(probability, np.float64)
    known = ~np.isnan(every)
    p, customers = every[known], np.broadcast_to(np.asarray(weight, np.float64), every.shape)[known]
    if not len(p):
        raise InputError("there are no probabilities to choose a threshold from", fix="check the split sizes")
    share = 1.0 if policy.capacity is None else min(1.0, policy.capacity / (population or customers.sum()))
    threshold = min(1.0, max(policy.break_even, capacity_cutoff(p, share=share, weight=customers)))
    bands = band_cutoffs(threshold, base_rate=float(np.average(p, weights=customers)))
    return replace(policy, capacity_share=share, threshold=threshold, bands=bands)


def moved_policy(policy: Policy, *, trained: float, target: float) -> Policy:
    """Return the policy for a population of another base rate (see `Calibrator.moved`).

    What pays does not change; the cut-off at which the capacity was reached moves with the probabilities.
    """
    reached = policy.threshold if policy.threshold > policy.break_even else 0.0
    cutoff = float(expit(logit(reached) + logit(target) - logit(trained)))
    threshold = max(policy.break_even, cutoff)
    return replace(policy, threshold=threshold, bands=band_cutoffs(threshold, base_rate=target))


def capacity_cutoff(score: ArrayLike, *, share: float, weight: ArrayLike = 1.0) -> float:
    """Return the lowest cut-off that at most this share of the customers reach.

    -inf where everybody fits; inf where not even the customers tied for the first place do. `weight` is how
    many customers a score stands for.
    """
    distinct, place = np.unique(-np.asarray(score, np.float64), return_inverse=True)
    reached = np.cumsum(np.bincount(place, np.broadcast_to(weight, place.shape)))
    fitting = reached <= share * reached[-1:] + 1e-9  # 0.29 x 100 is 28.999...
    return -math.inf if fitting.all() else float(np.min(-distinct[fitting], initial=math.inf))


def expected_value(probability: ArrayLike, terms: Terms) -> Floats:
    """Return the money expected from contacting customers of these probabilities, on these terms."""
    return terms.expected(np.asarray(probability, np.float64))


class Campaign(NamedTuple):
    """What contacting these customers brings in all: what is `saved` of those who would leave, and what is `spent`."""

    saved: Floats
    spent: Floats
    customers: Floats

    @classmethod
    def typical(cls, churners: Floats, stayers: Floats, policy: Policy) -> Campaign:
        """Of so many churners and stayers, all of typical terms."""
        saved, given, contact = policy.typical
        customers = churners + stayers
        return cls(churners * saved, stayers * given + customers * contact, customers)

    @property
    def profit(self) -> Floats:
        return self.saved - self.spent


def maximum_profit(campaign: Campaign) -> tuple[Floats, Floats]:
    """Return the highest profit per customer over all cut-offs (MPC) and the share to contact for it.

    The arrays sum up those at or above each cut-off, best first, along the last axis, whose last entry is
    everybody; leading axes are resamples. Contacting nobody (0, 0) is always possible.
    """
    profit = campaign.profit
    best = np.argmax(profit, axis=-1)[..., None]
    contacted = campaign.customers
    with np.errstate(invalid="ignore"):
        money, share = (
            (np.take_along_axis(x, best, -1) / contacted[..., -1:])[..., 0] for x in (profit, contacted)
        )
    return np.maximum(money, 0.0), np.where(money < 0, 0.0, share)


def expected_maximum_profit(campaign: Campaign, *, accept_rate: float) -> tuple[Floats, Floats]:
    """Return the maximum profit and share averaged over an uncertain accept_rate (EMPC).

    It follows a beta distribution of this mean (Verbraken et al. 2013); where customers have rates of their own,
    all are higher or lower together.
    """
    mean = min(max(accept_rate, 0.01), 0.99)
    nodes, weights = roots_jacobi(BETA_NODES, BETA_ROWS * (1 - mean) - 1, BETA_ROWS * mean - 1)
    parts = [
        maximum_profit(campaign._replace(saved=campaign.saved * ((1 + node) / 2 / mean))) for node in nodes
    ]
    weights = weights / weights.sum()
    money, share = (np.tensordot(weights, np.array(column), axes=1) for column in zip(*parts, strict=True))
    return money, share


def band_cutoffs(threshold: float, *, base_rate: float) -> tuple[float, float, float]:
    """Return the probabilities at which medium, high and very_high begin.

    medium: above the threshold or above the average risk; high: above both; very_high: three times the odds
    at which high begins. Where the threshold separates nobody (0 or 1), the average risk stands in for it.
    """
    base_rate = base_rate if 0 < base_rate < 1 else 0.5
    threshold = threshold if 0 < threshold < 1 else base_rate
    high = max(threshold, base_rate)
    return min(threshold, base_rate), high, float(expit(logit(high) + math.log(VERY_HIGH_ODDS)))


def risk_band(probability: ArrayLike, policy: Policy) -> NDArray[np.object_]:
    """Return each customer's band, one of BANDS; None where there is no probability."""
    probability = np.asarray(probability, np.float64)
    names = np.array([*BANDS, None], dtype=object)  # NaN sorts behind everything
    return names[np.searchsorted([*policy.bands, math.inf], probability, side="right")]


def in_holdout(customer_id: Iterable[str], *, share: float, salt: str = "holdout") -> NDArray[np.bool_]:
    """Tell which customers are never contacted: those whose hash, as a number in [0, 1), is below `share`.

    BLAKE2b of salt and id: the same customer gets the same answer in every run, on every machine, and a
    larger share keeps the smaller one's customers.
    """
    ids = list(customer_id)
    if share == 0:
        return np.zeros(len(ids), bool)
    salted = blake2b(f"{salt}\0".encode(), digest_size=8)

    def digest(text: str) -> bytes:
        hashed = salted.copy()
        hashed.update(text.encode("utf-8", "surrogatepass"))
        return hashed.digest()

    hashes = np.frombuffer(b"".join(map(digest, ids)), dtype=">u8")
    return (hashes >> np.uint64(11)) * 2.0**-53 < share  # 53 bits: what a float holds exactly, so never 1


def _refuse(rule: str) -> NoReturn:
    raise ConfigError(rule, where="decision", fix="correct the setting")
