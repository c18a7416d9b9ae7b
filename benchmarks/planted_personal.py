"""Made-up personal data, secrets, and what only looks like them, after the public specifications of their forms.

Nothing here is anybody's: numbers are drawn and given the check digits that their specification asks for. The forms were
written down from those specifications (ISO 7812, ISO 7064, ISO 13616, E.164, RFC 5322, each country's rule, each provider's
documentation of its tokens) before the rules were tuned, and know nothing of how the rules look for them.
"""

from __future__ import annotations

import base64
import json
import random
import string
from collections.abc import Callable

Draw = random.Random
ALNUM = string.ascii_letters + string.digits
URLSAFE = ALNUM + "-_"
HEX = "0123456789abcdef"
FIRST = [
    "maria",
    "james",
    "wei",
    "fatima",
    "lukas",
    "aisha",
    "pedro",
    "ingrid",
    "kenji",
    "olga",
    "samuel",
    "chloe",
    "tomasz",
    "priya",
    "noah",
]
LAST = [
    "smith",
    "mueller",
    "garcia",
    "okafor",
    "tanaka",
    "rossi",
    "dubois",
    "kowalski",
    "patel",
    "lindqvist",
    "novak",
    "jansen",
    "silva",
]
HOSTS = [
    "gmail.com",
    "outlook.com",
    "yahoo.co.uk",
    "web.de",
    "orange.fr",
    "uni-leipzig.de",
    "mail.ru",
    "acme-tools.io",
    "nhs.uk",
    "stanford.edu",
]


def drawn(draw: Draw, alphabet: str, count: int) -> str:
    return "".join(draw.choice(alphabet) for _ in range(count))


def digits(draw: Draw, count: int) -> str:
    return drawn(draw, string.digits, count)


def luhn_digit(body: str) -> str:
    total = 0
    for place, digit in enumerate(reversed(body)):
        doubled = int(digit) * (2 if place % 2 == 0 else 1)
        total += doubled // 10 + doubled % 10
    return str(-total % 10)


def weighted(body: str, weights: list[int]) -> int:
    return sum(int(digit) * weight for digit, weight in zip(body, weights, strict=True))


# ------------------------------------------------------------------ people


def email(draw: Draw) -> str:
    first, last = draw.choice(FIRST), draw.choice(LAST)
    local = draw.choice(
        [f"{first}.{last}", f"{first[0]}{last}{digits(draw, 2)}", f"{first}_{last}", f"{first}+{last}", last]
    )
    address = f"{local}@{draw.choice(HOSTS)}"
    return draw.choice([address, address, address.upper(), f"<{address}>", f"mailto:{address}"])


def hidden_email(draw: Draw) -> str:
    first, last, host = draw.choice(FIRST), draw.choice(LAST), draw.choice(HOSTS)
    at, dot = draw.choice([(" [at] ", " [dot] "), (" (at) ", " (dot) "), (" AT ", " DOT "), (" at ", " dot "), ("[at]", "."),
                           (" {at} ", " {dot} "), ("&#64;", "."), (" @ ", ".")])  # fmt: skip
    return f"{first}.{last}{at}{host.replace('.', dot)}"


def phone(draw: Draw) -> str:
    """With a country code, in ways it is written; ranges that the national plans give to subscribers."""
    d = lambda count: digits(draw, count)  # noqa: E731
    us = f"{draw.choice(['212', '415', '312', '617', '713', '206'])}"
    mid = draw.choice("23456789") + draw.choice("02346789") + draw.choice(string.digits)
    forms = [
        f"+1 {us} {mid} {d(4)}", f"+1 ({us}) {mid}-{d(4)}", f"+1-{us}-{mid}-{d(4)}", f"+1{us}{mid}{d(4)}",
        f"+44 7{draw.choice('45789')}{d(2)} {d(6)}", f"+44 20 7{draw.choice('1234568')}{d(2)} {d(4)}",
        f"+44 (0)20 8{draw.choice('123456')}{d(2)} {d(4)}", f"+49 30 {draw.choice('23456789')}{d(6)}",
        f"+49 17{draw.choice('01234567')} {draw.choice('23456789')}{d(6)}", f"0049 89 {draw.choice('2345678')}{d(6)}",
        f"+33 6 {d(2)} {d(2)} {d(2)} {d(2)}", f"+33 1 4{d(1)} {d(2)} {d(2)} {d(2)}", f"+34 6{d(2)} {d(3)} {d(3)}",
        f"+39 3{draw.choice('234')}{d(1)} {d(7)}", f"+31 6 {draw.choice('1234')}{d(7)}", f"+91 9{d(4)} {d(5)}",
        f"+55 11 9{draw.choice('6789')}{d(3)}-{d(4)}", f"+81 90-{draw.choice('123456789')}{d(3)}-{d(4)}",
        f"+61 4{draw.choice('0123')}{d(1)} {d(3)} {d(3)}", f"+48 5{draw.choice('0137')}{d(1)} {d(3)} {d(3)}",
        f"+46 70 {draw.choice('23456789')}{d(2)} {d(2)} {d(2)}", f"+27 82 {d(3)} {d(4)}",
    ]  # fmt: skip
    return draw.choice(forms)


def local_phone(draw: Draw) -> str:
    """Without a country code, with words that say what it is; North American ones also in brackets alone."""
    d = lambda count: digits(draw, count)  # noqa: E731
    us = draw.choice(["212", "415", "312", "617", "713", "206"])
    mid = draw.choice("23456789") + draw.choice("02346789") + draw.choice(string.digits)
    label = draw.choice(["Call me at ", "Phone: ", "Tel. ", "my number is ", "mobile: ", "Telephone "])
    forms = [
        f"({us}) {mid}-{d(4)}", f"{label}{us}-{mid}-{d(4)}", f"{label}{us}.{mid}.{d(4)}",
        f"{label}07{draw.choice('45789')}{d(2)} {d(6)}", f"Tel.: 030 {draw.choice('23456789')}{d(6)}",
        f"Tél. 06 {d(2)} {d(2)} {d(2)} {d(2)}",
    ]  # fmt: skip
    return draw.choice(forms)


IBANS = {  # country: the account part by ISO 13616's registry, n digit, a capital letter, c either
    "DE": "18n", "GB": "4a14n", "FR": "10n11c2n", "ES": "20n", "IT": "1a10n12c", "NL": "4a10n", "CH": "5n12c",
    "AT": "16n", "BE": "12n", "PL": "24n", "SE": "20n", "NO": "11n", "PT": "21n", "IE": "4a14n", "DK": "14n",
}  # fmt: skip


def iban(draw: Draw) -> str:
    country = draw.choice(list(IBANS))
    account, count = "", ""
    for character in IBANS[country]:
        if character.isdigit():
            count += character
            continue
        alphabet = {"n": string.digits, "a": string.ascii_uppercase, "c": string.digits + string.ascii_uppercase}[character]
        account, count = account + drawn(draw, alphabet, int(count)), ""
    number = int("".join(str(int(c, 36)) for c in f"{account}{country}00"))
    plain = f"{country}{98 - number % 97:02d}{account}"
    grouped = " ".join(plain[i : i + 4] for i in range(0, len(plain), 4))
    return draw.choice([plain, grouped, f"IBAN: {grouped}"])


def card(draw: Draw) -> str:
    start, length = draw.choice([
        ("4", 16), (str(draw.randint(51, 55)), 16), (str(draw.randint(2221, 2720)), 16), (draw.choice(["34", "37"]), 15),
        ("6011", 16), ("65", 16), (str(draw.randint(3528, 3589)), 16), (draw.choice(["36", "38"]), 14), ("62", 16),
    ])  # fmt: skip
    body = start + digits(draw, length - len(start) - 1)
    plain = body + luhn_digit(body)
    groups = {16: (4, 4, 4, 4), 15: (4, 6, 5), 14: (4, 6, 4)}[length]
    parts, at = [], 0
    for size in groups:
        parts.append(plain[at : at + size])
        at += size
    return draw.choice([plain, " ".join(parts), "-".join(parts)])


def national_id(draw: Draw) -> str:
    return draw.choice(NATIONAL)(draw)


def us_ssn(draw: Draw) -> str:
    area = draw.choice([n for n in range(1, 899) if n != 666])
    number = f"{area:03d}-{draw.randint(1, 99):02d}-{draw.randint(1, 9999):04d}"
    return draw.choice([f"SSN {number}", f"SSN: {number}", f"social security number is {number}"])


def uk_nino(draw: Draw) -> str:
    prefix = draw.choice("ABCEGHJKLMNPRSTWXYZ") + draw.choice("ABCEGHJKLMNPRSTWXYZ")
    prefix = "AB" if prefix in ("BG", "GB", "NK", "KN", "TN", "NT", "ZZ") else prefix
    n = digits(draw, 6)
    plain, suffix = f"{prefix}{n}", draw.choice("ABCD")
    return draw.choice([f"{plain}{suffix}", f"{prefix} {n[:2]} {n[2:4]} {n[4:]} {suffix}", f"NINO {plain}{suffix}"])


def fr_nir(draw: Draw) -> str:
    department, commune = draw.choice([*range(1, 19), *range(21, 96)]), draw.randint(1, 600)
    born = f"{draw.randint(40, 99):02d}{draw.randint(1, 12):02d}"
    body = f"{draw.choice('12')}{born}{department:02d}{commune:03d}{draw.randint(1, 900):03d}"
    key = 97 - int(body) % 97
    spaced = f"{body[0]} {body[1:3]} {body[3:5]} {body[5:7]} {body[7:10]} {body[10:]} {key:02d}"
    return draw.choice([f"{body}{key:02d}", spaced, f"numéro de sécurité sociale : {spaced}"])


def es_dni(draw: Draw) -> str:
    letters = "TRWAGMYFPDXBNJZSQVHLCKE"
    if draw.random() < 0.4:
        first, rest = draw.choice("XYZ"), digits(draw, 7)
        return f"NIE {first}{rest}{letters[int(str('XYZ'.index(first)) + rest) % 23]}"
    number = digits(draw, 8)
    return draw.choice(["", "DNI ", "DNI: "]) + number + draw.choice(["", "-"]) + letters[int(number) % 23]


def it_fiscal_code(draw: Draw) -> str:
    consonants = "BCDFGLMNPRSTVZ"
    body = drawn(draw, consonants, 6) + f"{draw.randint(40, 99):02d}" + draw.choice("ABCDEHLMPRST")
    body += f"{draw.randint(1, 28) + draw.choice([0, 40]):02d}" + draw.choice("ABCDEFGHIL") + f"{draw.randint(1, 999):03d}"
    odd = dict(zip(string.digits, (1, 0, 5, 7, 9, 13, 15, 17, 19, 21), strict=True)) | dict(zip(
        string.ascii_uppercase,
        (1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23), strict=True,
    ))  # fmt: skip
    total = sum(
        odd[c] if place % 2 == 0 else (int(c) if c.isdigit() else ord(c) - 65) for place, c in enumerate(body)
    )  # fmt: skip
    return body + chr(65 + total % 26)


def de_tax_id(draw: Draw) -> str:
    while True:  # ten digits of which exactly one comes twice
        once = draw.sample(string.digits, 9)
        body = [*once, draw.choice(once)]
        draw.shuffle(body)
        if body[0] != "0":
            break
    product = 10
    for digit in body:
        total = (int(digit) + product) % 10 or 10
        product = total * 2 % 11
    plain = "".join(body) + str((11 - product) % 10)
    return draw.choice(["Steuer-ID ", "Steueridentifikationsnummer: ", "IdNr. "]) + draw.choice(
        [plain, f"{plain[:2]} {plain[2:5]} {plain[5:8]} {plain[8:]}"]
    )


def nl_bsn(draw: Draw) -> str:
    while True:
        body = digits(draw, 8)
        last = weighted(body, [9, 8, 7, 6, 5, 4, 3, 2]) % 11
        if last < 10 and body[0] != "0":
            return draw.choice(["BSN ", "BSN: ", "burgerservicenummer "]) + f"{body}{last}"


def pl_pesel(draw: Draw) -> str:
    body = f"{draw.randint(40, 99):02d}{draw.randint(1, 12):02d}{draw.randint(1, 28):02d}{digits(draw, 4)}"
    return f"PESEL {body}{-weighted(body, [1, 3, 7, 9, 1, 3, 7, 9, 1, 3]) % 10}"


def br_cpf(draw: Draw) -> str:
    body = digits(draw, 9)
    for length in (9, 10):
        rest = weighted(body, list(range(length + 1, 1, -1))) * 10 % 11 % 10
        body += str(rest)
    return draw.choice(["", "CPF ", "CPF: "]) + f"{body[:3]}.{body[3:6]}.{body[6:9]}-{body[9:]}"


VERHOEFF_D = [
    [int(c) for c in row]
    for row in ("0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
                "5987604321", "6598710432", "7659821043", "8765932104", "9876543210")
]  # fmt: skip
VERHOEFF_P = [
    [int(c) for c in row]
    for row in (
        "0123456789",
        "1576283094",
        "5803796142",
        "8916043527",
        "9453126870",
        "4286573901",
        "2793806415",
        "7046913258",
    )
]
VERHOEFF_INVERSE = "0432156789"


def in_aadhaar(draw: Draw) -> str:
    body = draw.choice("23456789") + digits(draw, 10)
    check = 0
    for place, digit in enumerate(reversed(body)):
        check = VERHOEFF_D[check][VERHOEFF_P[(place + 1) % 8][int(digit)]]
    plain = body + VERHOEFF_INVERSE[check]
    return draw.choice(["Aadhaar ", "Aadhaar number: ", "my Aadhaar is "]) + f"{plain[:4]} {plain[4:8]} {plain[8:]}"


def se_personal_number(draw: Draw) -> str:
    body = f"{draw.randint(40, 99):02d}{draw.randint(1, 12):02d}{draw.randint(1, 28):02d}{digits(draw, 3)}"
    return f"personnummer {body[:6]}-{body[6:]}{luhn_digit(body)}"


def ca_sin(draw: Draw) -> str:
    body = draw.choice("1245679") + digits(draw, 7)
    plain = body + luhn_digit(body)
    return f"SIN {plain[:3]} {plain[3:6]} {plain[6:]}"


NATIONAL: list[Callable[[Draw], str]] = [
    us_ssn, uk_nino, fr_nir, es_dni, it_fiscal_code, de_tax_id, nl_bsn, pl_pesel, br_cpf, in_aadhaar, se_personal_number,
    ca_sin,
]  # fmt: skip

# ------------------------------------------------------------------ secrets


def private_key(draw: Draw) -> str:
    kind = draw.choice(["RSA ", "EC ", "OPENSSH ", "", "ENCRYPTED ", "DSA "])
    body = "\n".join(drawn(draw, ALNUM + "+/", 64) for _ in range(draw.randint(3, 12)))
    return f"-----BEGIN {kind}PRIVATE KEY-----\n{body}==\n-----END {kind}PRIVATE KEY-----"


def jwt(draw: Draw) -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    claims = {"sub": digits(draw, 8), "name": draw.choice(FIRST), "iat": draw.randint(10**9, 2 * 10**9)}
    return f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}.{drawn(draw, URLSAFE, 43)}"


def aws_secret(draw: Draw) -> str:
    name = draw.choice(["aws_secret_access_key = ", "AWS_SECRET_ACCESS_KEY=", 'aws_secret_access_key: "'])
    return name + drawn(draw, ALNUM + "/+", 40) + ('"' if name.endswith('"') else "")


def assigned(draw: Draw) -> str:
    """A value of high entropy under a name that says what it is."""
    name = draw.choice(["api_key", "API_KEY", "secret_key", "client_secret", "auth_token", "access_token", "SECRET_TOKEN"])
    value = draw.choice([drawn(draw, HEX, 32), drawn(draw, HEX, 64), drawn(draw, ALNUM, 32), drawn(draw, ALNUM + "+/", 44)])
    return draw.choice([f'{name} = "{value}"', f"{name}={value}", f'"{name}": "{value}"', f"{name}: '{value}'"])


def password(draw: Draw) -> str:
    value = drawn(draw, ALNUM + "!#%*_", draw.randint(10, 18)) + digits(draw, 1) + draw.choice("!#%")
    name = draw.choice(["password", "DB_PASSWORD", "passwd", "pwd", "MYSQL_PWD"])
    return draw.choice([f'{name} = "{value}"', f"{name}: '{value}'", f'"{name}": "{value}"', f"{name}={value}"])


SECRETS: dict[str, Callable[[Draw], str]] = {
    "AWS access key": lambda d: d.choice(["AKIA", "ASIA"]) + drawn(d, string.ascii_uppercase + "234567", 16),
    "AWS secret key": aws_secret,
    "GitHub token": lambda d: d.choice(["ghp_", "gho_", "ghs_", "ghu_", "ghr_"]) + drawn(d, ALNUM, 36),
    "GitHub fine-grained token": lambda d: f"github_pat_{drawn(d, ALNUM, 22)}_{drawn(d, ALNUM, 59)}",
    "GitLab token": lambda d: "glpat-" + drawn(d, URLSAFE, 20),
    "Slack token": lambda d: f"{d.choice(['xoxb', 'xoxp'])}-{digits(d, 12)}-{digits(d, 12)}-{drawn(d, ALNUM, 24)}",
    "Slack webhook": lambda d: "https://hooks.slack.com/services/T{}/B{}/{}".format(
        *(drawn(d, string.ascii_uppercase + string.digits, 8) for _ in range(2)), drawn(d, ALNUM, 24)),
    "Stripe key": lambda d: d.choice(["sk_live_", "rk_live_", "sk_test_"]) + drawn(d, ALNUM, d.choice([24, 99])),
    "Google API key": lambda d: "AIza" + drawn(d, URLSAFE, 34) + drawn(d, ALNUM, 1),
    "Google client secret": lambda d: "GOCSPX-" + drawn(d, URLSAFE, 27) + drawn(d, ALNUM, 1),
    "OpenAI key": lambda d: f"sk-proj-{drawn(d, URLSAFE, 74)}T3BlbkFJ{drawn(d, URLSAFE, 73)}{drawn(d, ALNUM, 1)}",
    "Anthropic key": lambda d: f"sk-ant-api03-{drawn(d, URLSAFE, 93)}AA",
    "Hugging Face token": lambda d: "hf_" + drawn(d, string.ascii_letters, 34),
    "npm token": lambda d: "npm_" + drawn(d, ALNUM, 36),
    "PyPI token": lambda d: "pypi-AgEIcHlwaS5vcmc" + drawn(d, URLSAFE, 150) + drawn(d, ALNUM, 1),
    "SendGrid key": lambda d: f"SG.{drawn(d, URLSAFE, 22)}.{drawn(d, URLSAFE, 42)}{drawn(d, ALNUM, 1)}",
    "Twilio key": lambda d: "SK" + drawn(d, HEX, 32),
    "Telegram bot token": lambda d: f"{digits(d, 10)}:AA{drawn(d, URLSAFE, 32)}{drawn(d, ALNUM, 1)}",
    "DigitalOcean token": lambda d: "dop_v1_" + drawn(d, HEX, 64),
    "Shopify token": lambda d: "shpat_" + drawn(d, HEX, 32),
    "Databricks token": lambda d: "dapi" + drawn(d, HEX, 32),
    "Azure storage key": lambda d: "AccountKey=" + base64.b64encode(d.randbytes(64)).decode(),
    "age secret key": lambda d: "AGE-SECRET-KEY-1" + drawn(d, "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L", 58),
    "Mailchimp key": lambda d: f"{drawn(d, HEX, 32)}-us{d.randint(1, 21)}",
    "bearer token": lambda d: f"Authorization: Bearer {drawn(d, ALNUM, d.choice([32, 48]))}",
    "JWT": jwt,
    "private key": private_key,
    "password in a URL": lambda d: d.choice(["postgres", "https", "mongodb+srv", "redis"])
    + f"://{d.choice(FIRST)}:{drawn(d, ALNUM, 12)}@db{digits(d, 2)}.acme-tools.io/main",
    "key under its name": assigned,
    "password under its name": password,
}  # fmt: skip

PERSONAL: dict[str, Callable[[Draw], str]] = {
    "e-mail": email, "obfuscated e-mail": hidden_email, "phone with country code": phone, "phone without": local_phone,
    "IBAN": iban, "payment card": card, "national number": national_id,
}  # fmt: skip
KINDS = PERSONAL | SECRETS

# ------------------------------------------------------------------ what only looks like them


def _isbn(d: Draw) -> str:
    body = "978" + digits(d, 9)
    check = -weighted(body, [1, 3] * 6) % 10
    return d.choice([f"ISBN {body}{check}", f"ISBN 978-{body[3]}-{body[4:8]}-{body[8:12]}-{check}"])


def _failing_card(d: Draw) -> str:
    plain = card(d).replace(" ", "").replace("-", "")
    return plain[:-1] + str((int(plain[-1]) + d.randint(1, 9)) % 10)


def _failing_iban(d: Draw) -> str:
    plain = iban(d).replace("IBAN: ", "").replace(" ", "")
    return plain[:2] + f"{(int(plain[2:4]) + d.randint(1, 40)) % 97:02d}" + plain[4:]


NEGATIVES: dict[str, Callable[[Draw], str]] = {
    "version": lambda d: f"version {d.randint(0, 30)}.{d.randint(0, 99)}.{d.randint(0, 99)}.{d.randint(0, 9)}",
    "git hash": lambda d: f"commit {drawn(d, HEX, 40)}",
    "checksum": lambda d: d.choice(["sha256: ", "SHA256(file)= ", "md5sum "]) + drawn(d, HEX, d.choice([32, 64])),
    "UUID": lambda d: "-".join(drawn(d, HEX, n) for n in (8, 4, 4, 4, 12)),
    "integrity hash": lambda d: '"integrity": "sha512-' + base64.b64encode(d.randbytes(64)).decode() + '"',
    "public ssh key": lambda d: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + drawn(d, ALNUM + "+/", 43) + " laptop",
    "embedded picture": lambda d: "data:image/png;base64,iVBORw0KGgo" + drawn(d, ALNUM + "+/", 120) + "==",
    "decimal expansion": lambda d: f"{d.randint(0, 9)}.{digits(d, d.randint(15, 40))}",
    "large integer": lambda d: f"{d.randint(2, 9)}{digits(d, d.choice([12, 17, 20, 25]))} is the product",
    "arithmetic": lambda d: f"{d.randint(100, 999)}-{d.randint(100, 999)}-{d.randint(1000, 9999)} = {-d.randint(1, 9999)}",
    "long arithmetic": lambda d: f"{d.randint(10**3, 10**6)} + {d.randint(10**3, 10**6)} = {d.randint(10**4, 10**7)}",
    "timestamp": lambda d: f"at {d.randint(1_000_000_000_000, 1_999_999_999_999)} ms",
    "date and time": lambda d: (
        f"20{digits(d, 2)}-{d.randint(1, 12):02d}-{d.randint(1, 28):02d}T12:00:{d.randint(10, 59)}+02:00"
    ),
    "years": lambda d: "the years " + " ".join(str(d.randint(1800, 2030)) for _ in range(5)),
    "ISBN": _isbn,
    "DOI": lambda d: f"doi:10.{digits(d, 4)}/{drawn(d, string.ascii_lowercase, 4)}.{digits(d, 8)}",
    "coordinates": lambda d: f"{d.uniform(-90, 90):.6f}, {d.uniform(-180, 180):.6f}",
    "reserved e-mail": lambda d: (
        f"{d.choice(FIRST)}@{d.choice(['example.com', 'example.org', 'mail.example.net', 'a.test'])}"
    ),
    "reserved phone": lambda d: d.choice([
        f"(212) 555-01{digits(d, 2)}", f"+1 415 555 01{digits(d, 2)}", f"+44 20 7946 0{digits(d, 3)}",
        f"call 555-{digits(d, 4)}", f"+44 7700 900{digits(d, 3)}"]),
    "documented test card": lambda d: d.choice(
        ["4111 1111 1111 1111", "4242424242424242", "5555 5555 5555 4444", "378282246310005", "4012888888881881"]),
    "card that fails its check": _failing_card,
    "IBAN that fails its check": _failing_iban,
    "local address": lambda d: d.choice([f"192.168.{d.randint(0, 255)}.{d.randint(1, 254)}", f"10.0.{d.randint(0, 255)}.7"]),
    "order number": lambda d: f"order {digits(d, 3)}-{digits(d, 7)}-{digits(d, 7)}",
    "part number": lambda d: f"part {digits(d, 5)}-{drawn(d, string.ascii_uppercase, 2)}-{digits(d, 3)}",
    "decorator": lambda d: f"@app.route('/{d.choice(FIRST)}') and x @ y.T",
    "git remote": lambda d: f"git@github.com:{d.choice(FIRST)}/{d.choice(LAST)}.git",
    "package of a scope": lambda d: f"npm install @types/node@{d.randint(10, 22)}.{d.randint(0, 20)}.{d.randint(0, 9)}",
    "at and dot in prose": lambda d: d.choice([
        "look at the dot product of both", "meet me at noon on the dot", "we stay at home and connect the dots",
        "the point at which dot com companies fell", "arrive at ten, dot the i and cross the t"]),
    "placeholder": lambda d: d.choice([
        "api_key = 'YOUR_API_KEY'", "OPENAI_API_KEY=sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 'password = "changeme"',
        "AKIAIOSFODNN7EXAMPLE", "token: <your-token-here>", 'api_key="..."', "secret_key = '********************'",
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "password=${DB_PASSWORD}"]),
    "password in code": lambda d: d.choice([
        'password = os.environ["DB_PASSWORD"]', "password = getpass.getpass()", "if password == stored_password:",
        "def login(user, password=None):", "password: str = Field(min_length=8)", "token = tokenizer.next_token()",
        "const apiKey = process.env.API_KEY;", "SELECT password FROM users", "api_key = load_settings().api_key"]),
    "URL without a password": lambda d: f"https://{d.choice(LAST)}.example.com:8443/{d.choice(FIRST)}?page={digits(d, 3)}",
    "long name": lambda d: "".join(w.title() for w in d.sample(FIRST + LAST, 5)) + "Factory",
    "CSS and colours": lambda d: f"color: #{drawn(d, HEX, 6)}; margin: 0 {digits(d, 2)}px",
    "binary": lambda d: drawn(d, "01", d.choice([16, 32])),
    "chess or music": lambda d: d.choice(["1. e4 e5 2. Nf3 Nc6 3. Bb5 a6", "C4 D4 E4 F4 G4 A4 B4 C5"]),
    "dollar sums": lambda d: f"${d.randint(1, 999)},{digits(d, 3)},{digits(d, 3)}.{digits(d, 2)}",
    "ZIP and house number": lambda d: f"ZIP {digits(d, 5)}-{digits(d, 4)}",
}  # fmt: skip
