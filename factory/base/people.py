"""Accounts, roles, signing in and API tokens.

Permission, rule and action are three things: `need` says who may, the module of the action says what is right, and
pages only hide what would be refused anyway.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from typing import Any

from itsdangerous import BadSignature, URLSafeTimedSerializer
from sqlite_utils import Database

from factory.base import attempts, links, passwords, store
from factory.base.errors import Conflict, Invalid, NotAllowed, NotFound
from factory.base.settings import Settings, secret_key

ROLES = {
    "contributor": "offers examples",
    "reviewer": "judges other people's examples",
    "curator": "opens datasets, sets their rules, freezes versions",
    "builder": "trains, evaluates and exports adapters",
    "admin": "looks after people and the machine",
}
NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{1,38}[a-z0-9]")
TOKEN_SECONDS = 365 * 24 * 3600
PAUSED = (
    "select id, date(ends_at, 'unixepoch') as until from sanction_states"
    " where person_id = ? and kind = 'paused' and state = 'active' order by ends_at desc limit 1"
)
PAUSE = "This account is paused until {until}; the page Sanctions says why (number {id}), and there you can appeal."


@dataclass(frozen=True)
class Person:
    """Somebody with an account. `roles` is a subset of the keys of ROLES.

    While an account is paused it has no role, and `paused` is the sentence that says why and until when.
    """

    id: int
    name: str
    display_name: str
    is_demo: bool = False
    roles: frozenset[str] = field(default_factory=frozenset)
    paused: str = ""

    def may(self, *roles: str) -> bool:
        """True when the person holds one of `roles`, or is an admin."""
        return "admin" in self.roles or not self.roles.isdisjoint(roles)


def need(person: Person | None, *roles: str) -> Person:
    """The person, if they hold one of `roles` (an admin holds all of them).

    Raises NotAllowed, saying which role is missing and who can give it.
    """
    if person is None:
        raise NotAllowed("Sign in first; this cannot be done as a guest.")
    if roles and person.paused:
        raise NotAllowed(person.paused)
    if roles and not person.may(*roles):
        raise NotAllowed(f"This needs the role {' or '.join(roles)}; ask an admin of this workshop to give it to you.")
    return person


def create(
    db: Database,
    name: str,
    *,
    display_name: str = "",
    password: str | None = None,
    email: str | None = None,
    roles: tuple[str, ...] = ("contributor",),
    is_demo: bool = False,
    oidc_subject: str | None = None,
    by: Person | None = None,
) -> Person:
    """Open an account.

    `by` is the admin who does it; None means the program itself, on behalf of the maintainer at this machine.
    Raises Invalid with every problem of the name, the password and the roles; Conflict when the name is taken.
    """
    if by is not None:
        need(by, "admin")
    name = name.strip().lower()
    problems = []
    if not NAME.fullmatch(name):
        problems.append(
            "A name has 3 to 40 letters a-z, digits, dots, dashes or underscores, and no dot or dash at its ends."
        )
    if password is not None:
        problems += passwords.problems(password, name)
    problems += [f"There is no role {role!r}; the roles are {', '.join(ROLES)}." for role in roles if role not in ROLES]
    if len(display_name) > 80:
        problems.append("A display name has at most 80 characters.")
    if problems:
        raise Invalid(problems)
    with store.writing(db):
        if store.value(db, "select 1 from people where name = ?", name):
            raise Conflict(f"The name {name!r} is taken; choose another.")
        person_id = store.insert(
            db,
            "people",
            {
                "name": name,
                "display_name": " ".join(display_name.split()) or name,
                "email": email,
                "password_hash": passwords.hashed(password) if password else None,
                "oidc_subject": oidc_subject,
                "is_demo": int(is_demo),
                "created_at": store.now(),
            },
        )
        for role in sorted(set(roles)):
            _grant(db, person_id, role, by)
    return get(db, person_id)


def _grant(db: Database, person_id: int, role: str, by: Person | None) -> None:
    db.execute(
        "insert or ignore into roles (person_id, role, granted_by, granted_at) values (?, ?, ?, ?)",
        [person_id, role, by.id if by else None, store.now()],
    )


def find(db: Database, who: int | str) -> Person | None:
    """The person with this id or name, or None. Disabled accounts are not found."""
    column = "id" if isinstance(who, int) else "name"
    record = store.row(db, f"select * from people where {column} = ? and disabled_at is null", who)
    if record is None:
        return None
    paused = store.row(db, PAUSED, record["id"])
    roles = frozenset(r["role"] for r in store.rows(db, "select role from roles where person_id = ?", record["id"]))
    about = (record["id"], record["name"], record["display_name"], bool(record["is_demo"]))
    return Person(*about, frozenset(), PAUSE.format(**paused)) if paused else Person(*about, roles)


def get(db: Database, who: int | str) -> Person:
    """The person with this id or name. Raises NotFound."""
    person = find(db, who)
    if person is None:
        raise NotFound(f"There is no person {who!r} here; `people list` shows who there is.")
    return person


def everyone(db: Database, *, search: str = "", limit: int = 200, offset: int = 0) -> list[dict[str, Any]]:
    """Accounts, newest first: id, name, display_name, is_demo, roles (comma-separated), created_at, disabled_at."""
    return store.rows(
        db,
        "select p.id, p.name, p.display_name, p.is_demo, p.created_at, p.disabled_at,"
        " (select group_concat(role, ', ') from (select role from roles where person_id = p.id order by role)) as roles"
        " from people p where p.name like :like or p.display_name like :like order by p.id desc limit :limit offset :offset",
        like=f"%{search}%",
        limit=limit,
        offset=offset,
    )


def set_roles(db: Database, who: int | str, roles: tuple[str, ...], *, by: Person | None) -> Person:
    """Give a person exactly these roles. The last admin cannot lose that role.

    Raises Invalid for an unknown role, NotAllowed unless `by` is an admin, Conflict for the last admin.
    """
    if by is not None:
        need(by, "admin")
    unknown = [role for role in roles if role not in ROLES]
    if unknown:
        raise Invalid(f"There is no role {', '.join(unknown)}; the roles are {', '.join(ROLES)}.")
    with store.writing(db):
        person = get(db, who)
        if "admin" in person.roles and "admin" not in roles:
            admins = "select count(*) from roles join people on id = person_id where role = 'admin' and disabled_at is null"
            if store.value(db, admins) == 1:
                raise Conflict(f"{person.name} is the only admin; make somebody else an admin first.")
        db.execute(
            f"delete from roles where person_id = ? and role not in ({', '.join('?' * len(roles))})",
            [person.id, *roles],
        )
        for role in roles:
            _grant(db, person.id, role, by)
    return get(db, person.id)


def set_password(db: Database, who: int | str, password: str, *, by: Person | None) -> None:
    """Set a password, sign the person out everywhere else and make their API tokens void: whoever had the old one may
    have made some. One's own, or anybody's for an admin."""
    person = get(db, who)
    if by is not None and by.id != person.id:
        need(by, "admin")
    problems = passwords.problems(password, person.name)
    if problems:
        raise Invalid(problems)
    with store.writing(db):
        db.execute(
            "update people set password_hash = ?, session_epoch = session_epoch + 1 where id = ?",
            [passwords.hashed(password), person.id],
        )
        _revoke_tokens(db, person.id)


def _revoke_tokens(db: Database, person_id: int) -> None:
    db.execute("update tokens set revoked_at = ? where person_id = ? and revoked_at is null", [store.now(), person_id])


def disable(db: Database, who: int | str, *, by: Person) -> None:
    """Close somebody's account: no sign-in, no tokens; what it gave and earned stays. One's own is closed by `close_own`."""
    need(by, "admin")
    person = get(db, who)
    if person.id == by.id:
        raise Conflict("You close your own account on your account page.")
    with store.writing(db):
        _close(db, person.id)


def close_own(db: Database, person: Person, *, forget_name: bool) -> None:
    """Close one's own account for good: password, e-mail, tokens and links go, perhaps the name too; rows and credits stay.

    What an OpenID provider calls the person stays, so that the account stays closed. Raises Conflict for the only admin.
    """
    with store.writing(db):
        others = "select 1 from roles join people on id = person_id where role = 'admin' and disabled_at is null and id <> ?"
        if _is_admin(db, person.id) and not store.value(db, others, person.id):
            raise Conflict("You are the only admin here; make somebody else an admin first, then close your account.")
        _close(db, person.id)
        db.execute("update people set email = null, password_hash = null where id = ?", [person.id])
        links.forget(db, person.id)
        attempts.forget(db, person.name)
        if forget_name:
            names = [f"closed-{person.id}", f"Closed account {person.id}", person.id]
            db.execute("update people set name = ?, display_name = ? where id = ?", names)


def _is_admin(db: Database, person_id: int) -> bool:
    return bool(store.value(db, "select 1 from roles where person_id = ? and role = 'admin'", person_id))


def _close(db: Database, person_id: int) -> None:
    closed = "update people set disabled_at = ?, session_epoch = session_epoch + 1 where id = ?"
    db.execute(closed, [store.now(), person_id])
    _revoke_tokens(db, person_id)


def authenticate(db: Database, name: str, password: str, *, address: str) -> Person:
    """The person with this name and password.

    After 8 failures for a name, or 30 from an address, within 15 minutes every try is refused unread, the right one too.
    Raises NotAllowed, in the same words and after the same work whether or not the name exists.
    """
    name = name.strip()[:80]
    attempt = attempts.begin(db, name, address)
    record = store.row(db, "select id, password_hash from people where name = ? and disabled_at is null", name)
    stored = (record or {}).get("password_hash")
    if not passwords.matches(stored, password) or record is None:
        raise NotAllowed("That name and password do not fit together; check both and try again.")
    with store.writing(db):
        attempts.succeed(db, attempt)
        if passwords.wants_rehash(str(stored)):
            db.execute("update people set password_hash = ? where id = ?", [passwords.hashed(password), record["id"]])
    return get(db, record["id"])


def from_oidc(db: Database, *, subject: str, name: str, email: str | None) -> Person:
    """The account of somebody an OpenID provider vouches for, opened at the first visit as a contributor."""
    found = store.value(db, "select id from people where oidc_subject = ? and disabled_at is null", subject)
    if found:
        return get(db, found)
    if store.value(db, "select 1 from people where oidc_subject = ?", subject):
        raise NotAllowed("This account was closed; ask an admin of this workshop.")
    stem = re.sub(r"[^a-z0-9_.-]+", "-", (email or name or "person").split("@")[0].lower()).strip("-._")[:30]
    stem = stem if NAME.fullmatch(stem) else "person"
    taken = {r["name"] for r in store.rows(db, "select name from people where name like ?", stem + "%")}
    free = next(n for n in [stem, *(f"{stem}-{i}" for i in range(2, len(taken) + 3))] if n not in taken)
    return create(db, free, display_name=name[:80], email=email, oidc_subject=subject)


def issue_session(db: Database, settings: Settings, person: Person) -> str:
    """The text of a signed session cookie, good for `settings.session_seconds`."""
    epoch = store.value(db, "select session_epoch from people where id = ?", person.id)
    return _signer(settings).dumps([person.id, epoch])


def from_session(db: Database, settings: Settings, cookie: str | None) -> Person | None:
    """Whose session cookie this is; None when it is missing, forged, expired or signed out."""
    if not cookie:
        return None
    try:
        person_id, epoch = _signer(settings).loads(cookie, max_age=settings.session_seconds)
    except (BadSignature, ValueError, TypeError):
        return None
    if store.value(db, "select session_epoch from people where id = ?", person_id) != epoch:
        return None
    return find(db, int(person_id))


def _signer(settings: Settings) -> URLSafeTimedSerializer:
    return URLSafeTimedSerializer(secret_key(settings), salt="session")


def sign_out_everywhere(db: Database, person: Person) -> None:
    """Make every session cookie of this person void."""
    with store.writing(db):
        db.execute("update people set session_epoch = session_epoch + 1 where id = ?", [person.id])


def issue_link(db: Database, person: Person) -> str:
    """A one-time sign-in token, good for 30 minutes, for somebody at this machine's terminal."""
    return links.issue(db, person.id)


def use_link(db: Database, token: str) -> Person:
    """Whoever a one-time sign-in token was made for; it works once. Raises NotAllowed."""
    person_id = links.use(db, token)
    person = find(db, person_id) if person_id is not None else None
    if person is None:
        raise NotAllowed(
            "This sign-in link was used or is too old; start the program again for a new one, or use a password."
        )
    return person


def issue_token(db: Database, person: Person, name: str, *, seconds: float = TOKEN_SECONDS) -> str:
    """A new API token in clear, the only time it is seen; the database keeps its hash."""
    if not name.strip() or len(name) > 80:
        raise Invalid("Give the token a name of 1 to 80 characters, so that you know later what uses it.")
    token = "mf_" + secrets.token_urlsafe(32)
    moment = store.now()
    with store.writing(db):
        record = {"person_id": person.id, "name": name.strip(), "token_hash": links.digest(token)}
        store.insert(db, "tokens", record | {"created_at": moment, "expires_at": moment + seconds})
    return token


def from_token(db: Database, token: str) -> Person:
    """Whose API token this is. Raises NotAllowed when it is unknown, revoked or expired."""
    record = store.row(
        db,
        "select id, person_id, last_used_at from tokens where token_hash = ? and revoked_at is null and expires_at > ?",
        links.digest(token),
        store.now(),
    )
    person = find(db, record["person_id"]) if record else None
    if record is None or person is None:
        raise NotAllowed("This token is not known, was revoked or has expired; make a new one on your account page.")
    if store.now() - (record["last_used_at"] or 0) > 60:
        with store.writing(db):
            db.execute("update tokens set last_used_at = ? where id = ?", [store.now(), record["id"]])
    return person


def tokens(db: Database, person: Person) -> list[dict[str, Any]]:
    """A person's API tokens without the secret: id, name, created_at, expires_at, last_used_at, revoked_at."""
    return store.rows(
        db,
        "select id, name, created_at, expires_at, last_used_at, revoked_at from tokens where person_id = ? order by id desc",
        person.id,
    )


def token_state(token: dict[str, Any]) -> str:
    """What a token of `tokens` is: valid, revoked or expired."""
    if token["revoked_at"]:
        return "revoked"
    return "valid" if token["expires_at"] > store.now() else "expired"


def revoke_token(db: Database, person: Person, token_id: int) -> None:
    """Make one of one's own tokens void. Raises NotFound."""
    with store.writing(db):
        changed = db.execute(
            "update tokens set revoked_at = ? where id = ? and person_id = ? and revoked_at is null",
            [store.now(), token_id, person.id],
        ).rowcount
    if not changed:
        raise NotFound("You have no such token; it may have been revoked already.")


def maintainer(db: Database) -> Person:
    """The first admin, made at the first start of an installation: whoever runs the program on this machine."""
    found = store.value(
        db,
        "select p.id from people p join roles r on r.person_id = p.id"
        " where r.role = 'admin' and p.disabled_at is null and p.is_demo = 0 "
        " order by exists (select 1 from sanction_states s where s.person_id = p.id and s.kind = 'paused'"
        " and s.state = 'active'), p.id limit 1",
    )
    if found:
        return get(db, found)
    with store.writing(db):
        return find(db, "maintainer") or create(db, "maintainer", display_name="Maintainer", roles=tuple(ROLES))
