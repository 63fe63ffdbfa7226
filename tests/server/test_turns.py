"""How much is begun in one turn of the loop, and by whom."""

import asyncio

from lockd.server.turns import BYTES_A_START, STARTS_A_TURN, Turns


def test_no_more_is_begun_in_a_turn_however_many_ask():
    async def run() -> list[int]:
        turns, begun = Turns(), 0

        async def begin() -> None:
            nonlocal begun
            await turns.take("greedy")
            begun += 1

        tasks = [asyncio.ensure_future(begin()) for _ in range(4 * STARTS_A_TURN)]
        counts = []
        for _ in range(20):
            await asyncio.sleep(0)
            counts.append(begun)
        await asyncio.gather(*tasks)
        return counts

    counts = asyncio.run(run())
    steps = [later - before for before, later in zip([0, *counts], counts, strict=False)]
    assert max(steps) <= STARTS_A_TURN
    assert counts[-1] == 4 * STARTS_A_TURN


def test_a_caller_with_much_to_begin_does_not_stand_before_another():
    async def run() -> list[str]:
        turns = Turns()
        order: list[str] = []

        async def begin(key: str) -> None:
            await turns.take(key)
            order.append(key)

        tasks = [asyncio.ensure_future(begin("greedy")) for _ in range(9 * STARTS_A_TURN)]
        await asyncio.sleep(0)
        tasks.append(asyncio.ensure_future(begin("modest")))
        await asyncio.gather(*tasks)
        return order

    assert asyncio.run(run()).index("modest") <= 2 * STARTS_A_TURN + 2


def test_an_answer_made_at_once_takes_turns_by_its_size():
    async def run() -> int:
        turns, waited = Turns(), 0
        await turns.take("a")
        turns.charge(3 * STARTS_A_TURN * BYTES_A_START)
        task = asyncio.ensure_future(turns.take("a"))
        while not task.done():
            waited += 1
            await asyncio.sleep(0)
        return waited

    assert asyncio.run(run()) >= 3


def test_who_left_takes_no_turn():
    async def run() -> None:
        turns = Turns()
        turns.charge(2 * STARTS_A_TURN * BYTES_A_START)
        gone = asyncio.ensure_future(turns.take("a"))
        await asyncio.sleep(0)
        gone.cancel()
        for _ in range(STARTS_A_TURN):
            await turns.take("a")

    asyncio.run(run())
