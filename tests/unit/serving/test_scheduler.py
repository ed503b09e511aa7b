"""Batches of requests, ranks that are late or lost."""

import asyncio

import numpy as np
import pytest

from mpitrain.serving.jobs import END, Cancel, Continuation, Reply
from mpitrain.serving.waiting import Failed, Full
from tests.unit.serving.ranks import rows, scheduled, turn


def test_what_has_come_is_computed_together():
    async def test(scheduler, items):
        waiting = [scheduler.predict(rows(count, 10 * count)) for count in (1, 2, 2, 9)]
        await turn()
        assert [job.x[:, 0].tolist() for job in items] == [[10, 20, 21]]
        assert scheduler.queued == 11
        while len(items) < 5 and not all(one.future.done() for one in waiting):
            scheduler.take_reply(Reply(items[-1].number, -items[-1].x))
            await turn()
        assert [len(job.x) for job in items] == [3, 2, 4, 4, 1]
        scheduler.take_reply(Reply(items[-1].number, -items[-1].x))
        for one, count in zip(waiting, (1, 2, 2, 9), strict=True):
            np.testing.assert_array_equal(await one.future, -rows(count, 10 * count))
        assert scheduler.is_idle
        assert scheduler.queued == 0

    scheduled(test, max_queue=100)


def test_other_dtypes_and_texts_are_computed_apart():
    async def test(scheduler, items):
        scheduler.predict(rows(1))
        scheduler.predict(rows(1).astype(np.uint8))
        scheduler.write(Continuation(prompt="a"))
        scheduler.predict(rows(1))
        for number in range(4):
            await turn()
            assert len(items) == number + 1
            scheduler.take_reply(Reply(items[number].number, np.zeros((1, 1))))
        assert items[2].request.prompt == "a"

    scheduled(test)


def test_a_full_queue_and_a_large_request():
    async def test(scheduler, items):
        scheduler.predict(rows(30))  # the first one is taken however large it is
        with pytest.raises(Full):
            scheduler.predict(rows(1))

    scheduled(test)


def test_what_nobody_waits_for_is_dropped():
    async def test(scheduler, items):
        first, second, third = (scheduler.predict(rows(3, k)) for k in (0, 10, 20))
        await turn()
        scheduler.drop(second)
        scheduler.drop(first)  # which is being computed
        assert scheduler.queued == 3
        scheduler.take_reply(Reply(items[0].number, items[0].x))
        await turn()
        assert [job.x[0, 0] for job in items] == [0, 20]
        text = scheduler.write(Continuation(prompt="a"))
        scheduler.take_reply(Reply(items[1].number, items[1].x))
        np.testing.assert_array_equal(await third.future, rows(3, 20))
        await turn()
        scheduler.drop(text)
        assert items[-1] == Cancel(items[2].number)
        scheduler.replicas.end()
        assert items[-1] == END

    scheduled(test)


def test_a_delay_collects_a_batch():
    async def test(scheduler, items):
        scheduler.predict(rows(1))
        await turn()
        assert not items
        scheduler.predict(rows(3))  # a whole batch
        await turn()
        assert [len(job.x) for job in items] == [4]
        scheduler.take_reply(Reply(items[0].number, items[0].x))
        scheduler.predict(rows(1))
        await turn()
        assert len(items) == 1
        await asyncio.sleep(0.1)
        assert len(items) == 2

    scheduled(test, max_delay=0.05)


def test_a_late_rank_is_replaced_and_comes_back(capsys, monkeypatch):
    monkeypatch.setattr("mpitrain.serving.scheduler.CHECK", 0.01)
    lost = []

    async def test(scheduler, items):
        scheduler.on_lost = lambda: lost.append(1)
        waiting = scheduler.predict(rows(1))
        await asyncio.sleep(0.02)
        first, second = scheduler.replicas.all
        assert (first.job, second.job) == (0, None)
        await asyncio.sleep(0.15)
        assert first.is_late
        assert second.job == 1
        scheduler.take_reply(Reply(1, items[1].x))
        np.testing.assert_array_equal(await waiting.future, rows(1))
        assert not lost
        scheduler.take_reply(Reply(0, items[0].x))
        assert first.is_free
        assert not first.is_late
        waiting = scheduler.predict(rows(1))
        await asyncio.sleep(0.4)
        assert lost
        with pytest.raises(Failed, match="do not reply"):
            await waiting.future

    scheduled(test, [0, 0], patience=0.1)
    said = capsys.readouterr().err
    assert said.startswith("mpitrain: rank 0 has not replied for 0 s (--rank-timeout)")
    assert "mpitrain: rank 0 replied after all" in said


def test_the_work_of_a_lost_rank_is_done_by_another(capsys):
    async def test(scheduler, items):
        waiting = scheduler.predict(rows(1))
        await turn()
        scheduler.lose(frozenset([1]))
        assert [replica.is_free for replica in scheduler.replicas.all] == [False, False]
        assert items[1].number == 1
        scheduler.take_reply(Reply(1, items[1].x))
        np.testing.assert_array_equal(await waiting.future, rows(1))
        scheduler.lose(frozenset([1]))
        assert [replica.is_free for replica in scheduler.replicas.all] == [False, True]

    scheduled(test, [0, 1])
    assert capsys.readouterr().err == "mpitrain: rank 1 is lost; the others continue\n"


def test_an_error_is_that_of_all_requests_of_the_batch():
    async def test(scheduler, items):
        waiting = [scheduler.predict(rows(1)) for _ in range(2)]
        await turn()
        scheduler.take_reply(Reply(items[0].number, error="no memory"))
        for one in waiting:
            with pytest.raises(Failed, match="no memory"):
                await one.future

    scheduled(test)
