"""The password hasher of the tests: Django's own with fewer rounds, for there is nobody to keep out."""

from django.contrib.auth.hashers import PBKDF2PasswordHasher


class QuickHasher(PBKDF2PasswordHasher):
    """A thousandth of the rounds; a full hash takes a quarter of a second of a core, and each log-in of a test one."""

    iterations = 1_000
