from __future__ import annotations

import asyncio
import threading
import weakref

import pytest

from kraken.runtime.threads import FileThreads


async def test_a_function_runs_in_another_thread_and_its_result_comes_back() -> None:
    threads = FileThreads(workers=1)

    name = await threads.run(lambda: threading.current_thread().name)
    threads.close()

    assert name.startswith("files")


async def test_an_exception_of_the_function_reaches_the_caller() -> None:
    threads = FileThreads(workers=1)

    def fail(word: str) -> None:
        raise ValueError(word)

    with pytest.raises(ValueError, match="disk"):
        await threads.run(fail, "disk")
    threads.close()


async def test_submitted_functions_run_at_the_same_time_on_different_threads() -> None:
    threads = FileThreads(workers=2)
    both = threading.Barrier(2, timeout=10)

    first = threads.submit(both.wait)
    second = threads.submit(both.wait)

    assert sorted([await first, await second]) == [0, 1]
    threads.close()


async def test_a_job_that_is_cancelled_before_it_begins_never_runs() -> None:
    threads = FileThreads(workers=1)
    gate = threading.Event()
    ran: list[str] = []

    busy = threads.submit(gate.wait, 10)
    unwanted = threads.submit(ran.append, "unwanted")
    unwanted.cancel()
    gate.set()
    await busy
    await threads.run(ran.append, "later")
    threads.close()

    assert ran == ["later"]


async def test_close_drops_what_has_not_begun_and_takes_nothing_more() -> None:
    threads = FileThreads(workers=1)
    begun, gate = threading.Event(), threading.Event()

    def work() -> str:
        begun.set()
        gate.wait(10)
        return "done"

    running = threads.submit(work)
    dropped = threads.submit(work)
    await asyncio.to_thread(begun.wait, 10)
    asyncio.get_running_loop().run_in_executor(None, gate.set)
    threads.close()

    assert (await running, dropped.cancelled()) == ("done", True)
    with pytest.raises(RuntimeError, match="closed"):
        threads.submit(work)


async def test_a_thread_that_has_nothing_to_do_holds_on_to_nothing() -> None:
    class Thing:
        def use(self) -> None: ...

    threads, thing = FileThreads(workers=1), Thing()
    kept = weakref.ref(thing)

    await threads.run(thing.use)
    del thing

    assert kept() is None
    threads.close()
