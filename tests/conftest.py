"""What holds for all tests: none of them fails by the time that a machine takes, which may be busy."""

from hypothesis import HealthCheck, settings

settings.register_profile("kwapi", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kwapi")


def pytest_collection_modifyitems(items):
    """Have the long tests first: of several workers that take file after file all are done at nearly the same time."""
    items.sort(key=lambda item: "integration" not in item.path.parts)
