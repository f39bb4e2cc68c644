"""What a member asks or bids: P3's first quotes (§3.2.1, eqs 1 and 2), reserve prices, and others.

All of it in integers, rounded half to even once, and between the grid's two prices: below the
feed-in price no seller, above the retail price no buyer does better here than at the grid. Chance
comes from outside as a share of a million, so that this room has none of its own.

Eq (1) is printed with λ₀ − λ₀ in its bracket, which would make it λ₀ always; λ_grid − λ₀ is what
its legend and eq (2) say, and what is done here. Both equations divide by the member's own
generation; with none, the quotient grows beyond all bounds and the quote is at its bound.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple, get_args

from vppd.market.auction import Side
from vppd.market.money import div_half_even
from vppd.types import PPM, Micro, MicroPerKwh, Ppm, Wh

PREFERENCE: Final[Ppm] = 500_000
"""μ of eq (1): how much a buyer minds being short; the paper takes 0.5."""
STEPS: Final = 4
"""Orders that a supply function is cut into."""

Strategy = Literal["p3", "zero-intelligence", "supply-function", "grid-only"]
"""How an agent quotes; ``grid-only`` never does, and is what the others are compared with."""
STRATEGIES: Final[tuple[Strategy, ...]] = get_args(Strategy)


class Prices(NamedTuple):
    """The grid's, in one slot, micro-currency per kWh."""

    retail: MicroPerKwh
    """λ_grid: what the grid charges."""
    feed_in: MicroPerKwh
    """λ₀: what the grid pays."""

    def clamp(self, price: MicroPerKwh) -> MicroPerKwh:
        """The price in ``[feed_in, retail]`` nearest to ``price``."""
        return max(self.feed_in, min(self.retail, price))


class Quote(NamedTuple):
    """One order to be."""

    quantity_wh: Wh
    price: MicroPerKwh
    reserve_price: MicroPerKwh
    """The worst that is still accepted: at most ``price`` in an offer, at least in a bid."""


class Position(NamedTuple):
    """What a member expects of a slot."""

    generation_wh: Wh
    """P^pre: of all it generates."""
    load_wh: Wh
    """P^load: of all it uses."""
    limit: MicroPerKwh | None = None
    """A seller's cost or a buyer's utility per kWh (:func:`unit_price`); none: the grid's price."""

    @property
    def side(self) -> Side | None:
        """Seller, buyer, or neither (P3, Fig 2, stage 1)."""
        if self.generation_wh == self.load_wh:
            return None
        return Side.OFFER if self.generation_wh > self.load_wh else Side.BID

    @property
    def quantity_wh(self) -> Wh:
        """What is over or missing."""
        return abs(self.generation_wh - self.load_wh)


def check_prices(prices: Prices) -> None:
    """That there is something between the grid's prices.

    Raises:
        ValueError: the feed-in price is above the retail price, or one is below zero.
    """
    if not 0 <= prices.feed_in <= prices.retail:
        raise ValueError(
            f"feed-in price {prices.feed_in} and retail price {prices.retail} are not in order"
        )


def buyer_price(position: Position, prices: Prices, preference: Ppm = PREFERENCE) -> MicroPerKwh:
    """P3, eq (1): λ₀ + μ·(L − P)/P·(λ_grid − λ₀), within the grid's prices.

    Args:
        position: of one who buys; without generation the quotient is without bound.
        prices: the grid's.
        preference: μ, 0 … 1,000,000 ppm.

    Raises:
        ValueError: prices out of order, a preference outside its range, energy below zero.
    """
    _check(position, prices)
    if not 0 <= preference <= PPM:
        raise ValueError(f"a preference of {preference} ppm is not within 0 to {PPM}")
    generation, load = position.generation_wh, position.load_wh
    if generation == 0:
        return prices.retail if load > 0 and preference > 0 else prices.feed_in
    spread = prices.retail - prices.feed_in
    rise = div_half_even(preference * (load - generation) * spread, PPM * generation)
    return prices.clamp(prices.feed_in + rise)


def seller_price(position: Position, prices: Prices) -> MicroPerKwh:
    """P3, eq (2): λ_grid − (P − L)/P·|λ_grid − max(λ₀, c)|, within the grid's prices.

    ``c`` is the position's limit, the cost of its generation. One that costs more than the grid
    asks lowers the equation's quote all the same (the bars take the sign away); the reserve price
    is what keeps it from selling at a loss.

    Args:
        position: of one who sells; without generation there is nothing to sell, and the price is
            the highest.
        prices: the grid's.

    Raises:
        ValueError: prices out of order, or energy below zero.
    """
    _check(position, prices)
    generation, load = position.generation_wh, position.load_wh
    if generation == 0:
        return prices.retail
    cost = prices.feed_in if position.limit is None else max(prices.feed_in, position.limit)
    fall = div_half_even((generation - load) * abs(prices.retail - cost), generation)
    return prices.clamp(prices.retail - fall)


def unit_price(total: Micro, energy_wh: Wh, efficiency: Ppm = PPM) -> MicroPerKwh | None:
    """What each kWh costs its seller or is worth to its buyer (P3, §3.2.1, in words there).

    A seller's reserve comes from generation cost over generation; a buyer's from the utility of its
    net load, weighed with how well a unit of energy is used.

    Args:
        total: cost or utility of the slot, micro-currency, none below zero.
        energy_wh: generated, or net load.
        efficiency: of use, 1,000,000 ppm for a seller.

    Returns:
        Micro-currency per kWh; ``None`` without energy.

    Raises:
        ValueError: any of them below zero.
    """
    if min(total, energy_wh, efficiency) < 0:
        raise ValueError("cost, energy and efficiency are not below zero")
    if energy_wh == 0:
        return None
    return div_half_even(total * 1_000 * efficiency, energy_wh * PPM)


def reserve_price(
    side: Side, price: MicroPerKwh, limit: MicroPerKwh | None, prices: Prices
) -> MicroPerKwh:
    """How far a member goes at gate closure: to its limit, and not beyond the grid's price.

    An offer may come down to its cost but not below the feed-in price, and never stands above its
    own first price; a bid may rise to its utility but not above the retail price, and never stands
    below its first price. Without a limit the grid's price is one.

    Raises:
        ValueError: prices out of order.
    """
    check_prices(prices)
    if side is Side.OFFER:
        return min(price, prices.feed_in if limit is None else prices.clamp(limit))
    return max(price, prices.retail if limit is None else prices.clamp(limit))


def quote_p3(position: Position, prices: Prices) -> tuple[Quote, ...]:
    """All of it at eq (1) or (2), down or up to the reserve price.

    A seller whose cost is above its quote asks its cost: an offer stands at its reserve or above.
    """
    side = position.side
    if side is None:
        return ()
    if side is Side.BID:
        price = buyer_price(position, prices)
        if position.limit is not None:
            price = min(price, prices.clamp(position.limit))
    else:
        price = seller_price(position, prices)
        if position.limit is not None:
            price = max(price, prices.clamp(position.limit))
    reserve = reserve_price(side, price, position.limit, prices)
    return (Quote(position.quantity_wh, price, reserve),)


def quote_zero_intelligence(position: Position, prices: Prices, chance: Ppm) -> tuple[Quote, ...]:
    """Anywhere between the own limit and the grid's far price, never at a loss.

    The constrained trader of Gode and Sunder (1993): what an auction achieves with it is the
    auction's merit, which is why every better strategy is measured against it.

    Args:
        position: the member's.
        prices: the grid's.
        chance: drawn evenly from 0 … 999,999 by the caller.

    Raises:
        ValueError: prices out of order, or a chance outside its range.
    """
    if not 0 <= chance < PPM:
        raise ValueError(f"a chance of {chance} ppm is not within 0 to {PPM - 1}")
    _check(position, prices)
    side = position.side
    if side is None:
        return ()
    limit = _limit(side, position.limit, prices)
    low, high = (limit, prices.retail) if side is Side.OFFER else (prices.feed_in, limit)
    price = low + (high - low + 1) * chance // PPM
    return (Quote(position.quantity_wh, price, limit),)


def quote_supply_function(
    position: Position, prices: Prices, steps: int = STEPS
) -> tuple[Quote, ...]:
    """A rising supply, or falling demand, cut into steps of equal energy (P1, §3.4).

    The supply function is linear from the own limit for the first Wh to the grid's far price for
    the last; step ``k`` of ``K`` stands at its middle, ``(2k + 1)/2K`` of the way. Each step's
    price is the function's own, so none concedes further: price and reserve are one.

    Args:
        position: the member's.
        prices: the grid's.
        steps: ``K``, at least 1; fewer where there are fewer Wh.

    Raises:
        ValueError: prices out of order, or no step.
    """
    if steps < 1:
        raise ValueError(f"a supply function of {steps} steps is none")
    _check(position, prices)
    side = position.side
    if side is None:
        return ()
    limit = _limit(side, position.limit, prices)
    far = prices.retail if side is Side.OFFER else prices.feed_in
    quantity = position.quantity_wh
    steps = min(steps, quantity)
    each, more = divmod(quantity, steps)
    quotes = []
    for k in range(steps):
        price = div_half_even(limit * (2 * steps - 2 * k - 1) + far * (2 * k + 1), 2 * steps)
        quotes.append(Quote(each + (k < more), price, price))
    return tuple(quotes)


def quotes_of(
    strategy: Strategy, position: Position, prices: Prices, chance: Ppm
) -> tuple[Quote, ...]:
    """What a member with that strategy sends for a slot.

    Raises:
        ValueError: prices out of order, or a chance outside 0 … 999,999.
    """
    match strategy:
        case "p3":
            return quote_p3(position, prices)
        case "zero-intelligence":
            return quote_zero_intelligence(position, prices, chance)
        case "supply-function":
            return quote_supply_function(position, prices)
        case "grid-only":
            return ()


def _limit(side: Side, limit: MicroPerKwh | None, prices: Prices) -> MicroPerKwh:
    if limit is None:
        return prices.feed_in if side is Side.OFFER else prices.retail
    return prices.clamp(limit)


def _check(position: Position, prices: Prices) -> None:
    check_prices(prices)
    if min(position.generation_wh, position.load_wh) < 0:
        raise ValueError("generation and load are not below zero")
