"""Personal data and secrets: what is found, and what only looks like them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.intake import personal

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmU\n-----END OPENSSH PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("email", "write to grace.hopper+cobol@navy.mil today"),
        ("phone", "call +49 30 901820 after six"),
        ("phone", "call +1 (212) 736-5000"),
        ("payment_card", "the card 4929 4212 3460 0821 is mine"),
        ("payment_card", "card 371144371144376, Amex"),
        ("payment_card", "3711 443711 44376"),
        ("iban", "pay to DE89 3704 0044 0532 0130 00, please"),
        ("iban", "GB82WEST12345698765432"),
        ("public_ip", "the server is 93.184.216.34 now"),
        ("email", "write to ada.lovelace [at] engines [dot] org"),
        ("email", "ada dot lovelace at gmail dot com"),
        ("email", "ada.lovelace&#64;engines.org"),
        ("phone", "call me at 212-736-5000"),
        ("phone", "(212) 736-5000"),
        ("phone", "0049 30 901820 from abroad"),
        ("phone", "Tel.: 030 901820"),
        ("national_id", "her SSN is 536-22-8741"),
        ("national_id", "CPF 529.982.247-25"),
        ("national_id", "RSSMRA85T10A562S"),
        ("national_id", "Steuer-ID 86 095 742 719"),
        ("national_id", "DNI 12345678Z"),
        ("national_id", "JG 12 13 16 A"),
        ("secret", KEY),
        ("secret", "password = 'q9!Lmz0#Tw'"),
        ("secret", "Authorization: Bearer 8fK2mQ0zLw7RtYx4VbN1cD5e"),
        ("secret", "aws_secret_access_key = qJalr9UtnFEMIoK7MDENGabPxRfiCYzTp3w8Qs5L"),
        ("secret", "AKIAQWERTZUIOPLKJHGF"),
        ("secret", "ghp_16C7e42F292c6912E7710c838347Ae178B4a"),
        ("secret", "export OPENAI_API_KEY=sk-proj-Ab3dEf6hIj9lMn2pQr5t"),
        ("secret", "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"),
        ("secret", "postgres://ada:tr0ub4dor@db.internal/x"),
        ("secret", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"),
    ],
)
def test_personal_data_and_secrets_are_found(code: str, text: str) -> None:
    assert [span[0] for span in personal.spans(text)] == [code]


@pytest.mark.parametrize(
    "text",
    [
        "mail user@example.com or root@localhost or me@my.test",
        "git clone git@github.com:ada/engine.git",
        "4929 4212 3460 0822 fails the check digit",
        "1699999999999999999 nanoseconds since 1970",
        "0000 0000 0000 0000",
        "2024 1999 2031 2047 2013 2022 2009 2018",
        "version 1.2.3.4, 127.0.0.1, 192.168.0.10, 10.0.0.1, 192.0.2.1, 999.1.1.1",
        "GB83 WEST 1234 5698 7654 32",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx and sk-proj-................",
        "https://user:password@host/ and https://$USER:$PASSWORD@host/",
        "1 + 2 + 3 = 6, and 555-0100 is nobody",
        "@property decorates; a@b is a matrix product; x@y.z",
        "3.14159265358979323846",
        "4242 4242 4242 4242 and 378282246310005 are published for tests",
        "+44 20 7946 0123 and (212) 555-0123 are kept for drama",
        "we stay at home and connect the dots; meet me at noon on the dot",
        "123-45-6789 is how a social security number looks",
        "ISBN 978-3-1611-4841-0, ISBN 9780306406157",
        "password = os.environ['DB_PASSWORD'] and api_key = 'YOUR_API_KEY_GOES_HERE_12'",
        "AKIAIOSFODNN7EXAMPLE",
        '"integrity": "sha512-dGhpcyBpcyBub3QgYSBzZWNyZXQgYXQgYWxsLCBqdXN0IGEgaGFzaA=="',
        "BSN 123456789, order 123-4567890-1234567",
    ],
)
def test_what_only_looks_personal_is_left_alone(text: str) -> None:
    assert personal.spans(text) == []


def test_blotting_out_keeps_every_place() -> None:
    text = "mail ada@lovelace.org, pay DE89 3704 0044 0532 0130 00."
    blotted = personal.masked(text, personal.spans(text))
    assert len(blotted) == len(text)
    assert "lovelace" not in blotted
    assert "3704" not in blotted
    assert blotted.startswith("mail ")
    assert personal.spans(blotted) == []


@given(st.text(max_size=300))
def test_spans_lie_in_the_text_and_do_not_overlap(text: str) -> None:
    end = 0
    for _, _, start, stop in personal.spans(text):
        assert end <= start < stop <= len(text)
        end = stop
