"""What holds for all tests: a property is not wrong because a busy machine took its time with one example."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("patient", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
