"""How views are compared: one file a method.

A file holds one :class:`cvrl.task.Task`, named at its end as ``METHOD``. Its constructor takes the
encoder and its own keywords; a keyword named after a fact of the run is filled in: ``classes``,
``class_names`` and ``videos`` of the data, ``steps_per_epoch`` and ``total_steps`` of the schedule,
``order_classes``, ``clips``, ``negatives`` and ``predict`` of the views.
"""
