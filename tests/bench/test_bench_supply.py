"""Waiting and memory: what is counted, and a report on a small film."""

import time

import psutil

from cvrl.bench import bench_supply as supply


def slow(seconds, count=4):
    for item in range(count):
        time.sleep(seconds)
        yield item


def test_time_between_batches_is_waiting():
    assert supply.waiting(slow(0.05), lambda batch: None) > 0.9
    assert supply.waiting(slow(0.0), lambda batch: time.sleep(0.05)) < 0.1
    half = supply.waiting(slow(0.05, count=8), lambda batch: time.sleep(0.05))
    assert 0.3 < half < 0.6


def test_the_first_batch_is_not_waited_for():
    def late():
        time.sleep(0.2)
        yield from range(3)

    assert supply.waiting(late(), lambda batch: time.sleep(0.02)) < 0.2


class Hoarder:
    """Samples that keep memory, or do not."""

    def __init__(self, size):
        self.size, self.kept = size, []

    def __len__(self):
        return 1

    def __getitem__(self, visit):
        self.kept.append(bytearray(b"x") * self.size)


def test_memory_that_is_kept_is_seen():
    held = psutil.Process().memory_info().rss  # other tests of this process may have left much
    assert supply.growth(Hoarder(held // 400), 100) > 0.1
    assert supply.growth(Hoarder(1), 100) < 0.05


def test_the_report():
    small = {"seconds": 1.0, "height": 48, "width": 64, "frames": 8, "size": 32}
    report = supply.measure(runs=1, batch=2, steps=4, visits=40, **small)
    workers = report.facts["workers that are enough"]
    samples, step = (report.timings[name].median_cpu for name in report.timings)
    assert workers == max(1, -int(-samples // step))
    assert 0 <= report.goals[0].ratio < 1 and report.goals[1].ratio < 0.5
    assert report.goals[0].what == f"data wait / step time with {workers} workers"
