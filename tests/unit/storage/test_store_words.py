"""What is said of a store that refuses: its own code and words, what to do, and no secret."""

from __future__ import annotations

import pytest

from proxy_plugin.storage.blobs.object_store import _said

ANSWER = "Generic S3 error: Error performing {} {} in 3ms - Server returned non-2xx status code: {}"
ERROR = '<?xml version="1.0"?>\n<Error>\n  <Code>{}</Code>\n  <Message>{}</Message></Error>'
PLACE = "http://127.0.0.1:9/bucket/key"
DEBUG = '\n\nDebug source:\nGeneric { store: "S3", source: RetryError { uri: Some(http://h/?sig=hidden-signature) } }'
KEYS = "see whether the keys in storage.blob_options are right, and may read, write, delete and list there"
PLACES = "make the bucket or container of storage.blob_url, or name one that is there"
CLOCK = "see whether this machine's clock is right, and the key valid still"


@pytest.mark.parametrize(
    ("status", "code", "words", "remedy"),
    [
        ("403 Forbidden", "SignatureDoesNotMatch", "The signature does not match.", KEYS),
        ("401 Unauthorized", "AuthenticationRequired", "Authentication required.", KEYS),
        ("404 Not Found", "NoSuchBucket", "The specified bucket does not exist.", PLACES),
        ("404 Not Found", "ContainerNotFound", "The specified container does not exist.\nRequestId:1", PLACES),
        ("403 Forbidden", "RequestTimeTooSkewed", "The difference is too large.", CLOCK),
        ("400 Bad Request", "ExpiredToken", "The provided token has expired.", CLOCK),
        ("503 Service Unavailable", "SlowDown", "Please reduce your request rate.", ""),
    ],
)
def test_a_store_is_quoted_with_what_to_do(status: str, code: str, words: str, remedy: str) -> None:
    text = ANSWER.format("PUT", PLACE, f"{status}: {ERROR.format(code, words)}") + DEBUG
    said = f"HTTP {status[:3]}, {code}: {words.splitlines()[0].rstrip('.')}"
    assert _said(ValueError(text)) == (f"{said}; {remedy}" if remedy else said)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            ANSWER.format("GET", "http://169.254.169.254/metadata/identity/oauth2/token", "404 Not Found: "),
            "; storage.blob_options has no key, and this machine no role",
        ),
        ("Generic MicrosoftAzure error: Account must be specified", "; set account_name in storage.blob_options"),
        (ANSWER.format("HEAD", PLACE, "403 Forbidden: "), f"403 Forbidden; {KEYS}"),
        (f"Bulk delete request failed for key k: The specified container does not exist. (code: 404){DEBUG}", PLACES),
        (ANSWER.format("GET", "http://127.0.0.1:9/NoSuchBucket/key", "404 Not Found: "), "404 Not Found"),
    ],
)
def test_where_it_has_no_code_its_words_are_kept(text: str, said: str) -> None:
    found = _said(ValueError(text))
    assert found.endswith(said)
    assert "hidden-signature" not in found
