"""The first admin of the demo."""

from __future__ import annotations

import secrets
from pathlib import Path

from django.contrib.auth import get_user_model

from yumna_panel.private_files import write_private

ADMIN = "admin"
ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789"  # 31 characters that nobody mixes up
GROUPS, GROUP_LENGTH = 5, 4  # 20 characters: 99 bits


def make_password() -> str:
    """Return a random password of 99 bits that can be read out and typed."""
    groups = ("".join(secrets.choice(ALPHABET) for _ in range(GROUP_LENGTH)) for _ in range(GROUPS))
    return "-".join(groups)


def ensure_admin(password_file: Path) -> str | None:
    """Make the superuser `admin` unless there is one; return the password if the file's still opens the account."""
    users = get_user_model()
    user = users.objects.filter(username=ADMIN).first()
    if user is None:
        password = make_password()
        write_private(password_file, password + "\n")
        users.objects.create_superuser(ADMIN, password=password)
        return password
    password = password_file.read_text(encoding="utf-8").strip() if password_file.exists() else ""
    return password if password and user.check_password(password) else None
