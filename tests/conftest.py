"""What holds for all tests: none of them fails by the time that a machine takes, which may be busy."""

from hypothesis import settings

settings.register_profile("kwapi", deadline=None)
settings.load_profile("kwapi")
