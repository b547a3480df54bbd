"""Tells text that looks private: paths and file names, addresses, secrets. Better one name too many than one key."""

import re
import unicodedata

_LONGEST_WORD = 40
"""Letters and digits of one token as base64 or hex has it; people's words have dashes between them long before."""
_LONG_WITH_DIGITS = 20
_SIGNS = re.compile(
    "|".join(
        (
            r"[/\\\u2044\u2215\u29f5\u29f8\u29f9]",  # slashes: paths and URLs
            r"\b[a-z]:(?=\S)",  # a drive
            r"(?:^|[\s'\"(=:,;])~(?![~\s])",  # somebody's home
            r"(?:^|[\s'\"(=:,;])\.\w",  # .env
            r"\w\w\.[a-z]\b|\w\.[a-z]\w{1,9}\b|\w\.7z\b",  # books.jsonl, main.c, a host's name
            r"\S@\S",  # e-mail addresses, user:password@host
            r"\b\d{1,3}(?:\.\d{1,3}){3}\b",  # IPv4
            r"(?:[0-9a-f]{1,4}:){3,7}[0-9a-f]{1,4}|::[0-9a-f]|[0-9a-f]::",  # IPv6
            r"\blocalhost\b|\b[a-z][\w-]{0,60}:\d{2,5}\b",  # a host and its port
            r"\b(?:pass(?:word|wd|phrase|code)?|pwd|secret|token|key|credentials?|auth\w*|bearer|cookie)\W{0,3}[=:]",
            r"(?:password|passwd|secret|token|api_?key|access_?key)\w{0,20}\s{0,3}[=:]",
            r"\bbearer\s+\S{8,}|\bbasic\s+\S{8,}",
            r"-----\s*begin|\bssh-(?:rsa|ed25519|dss)\b",
            r"\b(?:sk|pk|rk)[-_]\w{6,}|\bsk-[\w-]{6,}",  # OpenAI, Anthropic, Stripe
            r"\b(?:akia|asia|agpa|aida|aroa)[0-9a-z]{12,}",  # AWS
            r"\bgh[oprsu]_\w{8,}|\bgithub_pat_\w+|\bglpat-\S{6,}|\bhf_\w{8,}|\bnpm_\w{8,}|\bpypi-\S{8,}",
            r"\bxox[a-z]-\S{4,}|\bxapp-\S+|\bya29\b|\baiza[\w-]{16,}|\bdop_v1_\w+|\bsg\.[\w-]{8,}",
            r"\beyj[\w-]{8,}",  # a JSON Web Token
            r"[\w-]{20,90}\.[\w-]{5,90}\.[\w-]{20}|\bmfa\.[\w-]{20,}",  # Discord's tokens, and most signed ones
            r"\b\d{15,}\b",  # ids of accounts, numbers of cards
        )
    ),
    re.IGNORECASE,
)
"""Every repetition in front of something has an end, so that no text takes long."""
_LONG_WORD = re.compile(r"[A-Za-z0-9+/=]{16,}")
_LONG_CHAIN = re.compile(r"[A-Za-z0-9+/=_-]{20,}")
_HEX = re.compile(r"[0-9a-fA-F]{16,}")
_CHANGES = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[a-z0-9])|(?<=[0-9])(?=[A-Za-z])")


def looks_private(text: str) -> bool:
    """Whether some of it looks like a path, a file's name, an address or a secret."""
    plain = unicodedata.normalize("NFKC", text)
    return any(_SIGNS.search(one) is not None or holds_a_key(one) for one in (text, plain))


def holds_a_key(text: str) -> bool:
    """Whether there is a word that only a machine would make."""
    words = (match.group() for match in _LONG_WORD.finditer(text))
    chains = (match.group() for match in _LONG_CHAIN.finditer(text))
    return any(map(_is_key_like, words)) or any(map(_is_restless, chains))


def _is_key_like(word: str) -> bool:
    has_digit = any(one.isdigit() for one in word)
    is_hex = _HEX.fullmatch(word) is not None
    return len(word) >= _LONGEST_WORD or (has_digit and (is_hex or len(word) >= _LONG_WITH_DIGITS))


def _is_restless(chain: str) -> bool:
    """Whether it changes between small letters, capitals and digits as random text does, and names do not."""
    return sum(1 for _ in _CHANGES.finditer(chain)) * 3 >= len(chain)
