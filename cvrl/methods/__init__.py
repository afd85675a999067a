"""How views are compared: one file a method.

A file holds one :class:`cvrl.task.Task`, named at its end as ``METHOD``. Its constructor takes the
encoder and its own keywords; a keyword named after a fact of the run (``classes``, ``videos``,
``total_steps``) is filled in from the data.
"""
