"""Which views of a video belong together: one file a pretext task.

A file holds one class, named at its end as ``VIEWS``. The class takes the :class:`ClipSpec` and its
own keywords, states its ``kind`` (what methods ask for) and the number of ``clips``, and plans
which frames a visit shows: ``plan(length, fps, rng) -> Plan``.
"""
