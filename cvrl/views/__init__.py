"""Which views of a video belong together: one file a pretext task.

A file holds one :class:`cvrl.data.view_base.Views`, named at its end as ``VIEWS``. It takes the
:class:`ClipSpec` and its own keywords, states its ``kinds`` (what methods ask for) and the number
of ``clips``, plans which frames a visit shows, ``plan(length, fps, rng) -> Plan``, and may
rearrange their pixels after the augmentation, ``arrange(clips_VCTHW, plan, rng)``.
"""
