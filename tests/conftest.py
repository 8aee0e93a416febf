"""Settings of all tests: no time limits on examples, for machines are busy; the same examples in every run."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("house", deadline=None, derandomize=True)
settings.register_profile("long", deadline=None, max_examples=1000)
settings.load_profile("house")
