"""The examples of a step, made ahead in threads while the step before is computed.

Threads suffice: decoding, reading and the encoders' arithmetic all run outside Python's lock. Only media are prepared
there; tokenising stays in the main thread, because tokenizers must not be shared between threads.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

from video_salmonn.errors import ContextError, MediaError
from video_salmonn.training.batching import PreparedExample
from video_salmonn.training.examples import Example, ExampleMaker
from video_salmonn.training.recipe import Recipe


class BatchPlan:
    """Which items an optimiser step takes: a pure function, so a resumed run continues at the same sample.

    An epoch is a permutation; its last batch is filled up from the next epoch's.

    Args:
        count: items.
        batch: items a step.
        seed: of the shuffles.
        lengths: of the items, in any unit, to put items of like length into one batch; None not to.
        group: batches whose items are sorted by length together before they are cut.
    """

    def __init__(
        self, count: int, batch: int, seed: int, lengths: Sequence[float] | None = None, group: int = 0
    ) -> None:
        self.count, self.batch, self.seed = count, batch, seed
        self.lengths, self.group = (lengths, group) if group else (None, 0)
        self._orders: dict[int, list[int]] = {}

    def __call__(self, step: int) -> list[tuple[int, int]]:
        """(epoch, item index) of each place in a step counted from 0; a step may reach into the next epoch."""
        first = step * self.batch
        places = [divmod(position, self.count) for position in range(first, first + self.batch)]
        return [(epoch, self._order(epoch)[place]) for epoch, place in places]

    def _order(self, epoch: int) -> list[int]:
        if epoch not in self._orders:
            if len(self._orders) > 1:
                self._orders.pop(min(self._orders))
            rng = random.Random(f"{self.seed}/order/{epoch}")
            order = list(range(self.count))
            rng.shuffle(order)
            self._orders[epoch] = order if self.lengths is None else self._grouped(order, epoch, self.lengths, rng)
        return self._orders[epoch]

    def _grouped(self, order: list[int], epoch: int, lengths: Sequence[float], rng: random.Random) -> list[int]:
        """The order in batches of like length; batches begin where steps do, also in the middle of an epoch."""
        head = -epoch * self.count % self.batch
        sorted_together = self.batch * self.group
        batches: list[list[int]] = []
        for start in range(head, self.count, sorted_together):
            near = sorted(order[start : start + sorted_together], key=lambda index: lengths[index])
            batches += [near[i : i + self.batch] for i in range(0, len(near), self.batch)]
        last = [batches.pop()] if batches and len(batches[-1]) < self.batch else []
        rng.shuffle(batches)
        return order[:head] + [index for batch in batches + last for index in batch]


Made = Callable[[], PreparedExample]


@dataclass
class StepExamples:
    """One process's share of a step.

    Attributes:
        rows: examples that can be used, short ones first: neighbours of like length share a pass with little padding.
        broken: reasons by id of those that cannot.
    """

    rows: list[PreparedExample] = field(default_factory=list)
    broken: dict[str, str] = field(default_factory=dict)


class Loader:
    """Loads the examples of optimiser steps.

    Args:
        recipe: sizes, seed, policy for broken items, number of threads.
        maker: of examples.
        prepare: makes an example ready for a batch; ContextError where it cannot be used.
        rank, world: this process, and how many there are.
    """

    def __init__(
        self, recipe: Recipe, maker: ExampleMaker, prepare: Callable[[Example], PreparedExample], rank: int, world: int
    ) -> None:
        self.recipe, self.maker, self.prepare = recipe, maker, prepare
        self.rank, self.world = rank, world
        lengths = maker.lengths() if recipe.length_group else None
        self._batches = BatchPlan(len(maker.items), recipe.batch_size, recipe.seed, lengths, recipe.length_group)
        self._threads = ThreadPoolExecutor(recipe.data.workers, "examples") if recipe.data.workers else None
        self._ahead: tuple[int, list[Future[PreparedExample]]] | None = None

    def load(self, step: int, *, more: bool = True) -> StepExamples:
        """This process's examples of a step; with ``more`` the next step's are begun.

        Raises:
            MediaError, ContextError: where the recipe says ``on_broken: raise``.
        """
        indices, makes = self._makes(step)
        self._ahead = None
        if more and self._threads is not None:
            self._ahead = (step + 1, self._submit(step + 1))
        loaded = StepExamples()
        for index, make in zip(indices, makes):
            try:
                loaded.rows.append(make())
            except (MediaError, ContextError) as error:
                if self.recipe.data.on_broken == "raise":
                    raise
                loaded.broken[self.maker.items[index].id] = str(error)
        loaded.rows.sort(key=lambda row: row.length)
        return loaded

    def any_row(self) -> PreparedExample | None:
        """Some usable example, for a process that has none of its own in a step; None where there is none at all."""
        for index in range(len(self.maker.items)):
            try:
                return self.prepare(self.maker.plain(index))
            except (MediaError, ContextError):
                continue
        return None

    def close(self) -> None:
        """End the threads; what is being made is waited for, what is not begun is dropped."""
        if self._threads is not None:
            self._threads.shutdown(wait=True, cancel_futures=True)

    def _plan(self, step: int) -> list[tuple[int, int]]:
        return self._batches(step)[self.rank :: self.world]

    def _submit(self, step: int) -> list[Future[PreparedExample]]:
        assert self._threads is not None
        return [self._threads.submit(self._make, index, epoch) for epoch, index in self._plan(step)]

    def _make(self, index: int, epoch: int) -> PreparedExample:
        """An example, tokenised: both in the threads, since the main one has a device to keep busy."""
        return self.prepare(self.maker.make(index, epoch))

    def _makes(self, step: int) -> tuple[list[int], list[Made]]:
        """Indices of a step, and what gives each example: begun before, or made on the spot."""
        plan = self._plan(step)
        indices = [index for _, index in plan]
        if self._ahead is not None and self._ahead[0] == step:
            return indices, [future.result for future in self._ahead[1]]
        return indices, [partial(self._make, index, epoch) for epoch, index in plan]


def first_of(reasons: dict[str, str], count: int = 3) -> str:
    """The first few of the broken items, with their reasons."""
    shown = "; ".join(f"{name} ({reason})" for name, reason in list(reasons.items())[:count])
    return shown + (f"; and {len(reasons) - count} more" if len(reasons) > count else "") if reasons else "none"
