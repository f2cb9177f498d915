"""What an operator can do about a refusal of what proves an account, by the code of the refusal and by its words.

Sources: AWS, "Common errors" of STS, Bedrock and S3 ("Error responses"), "Troubleshoot Signature Version 4"; RFC 6749
5.2; Google, "Using OAuth 2.0 for server to server applications" (error codes), IAM credentials API. Words: as botocore
1.44.5 and google-auth 2.63.0 meet them in their own tests.
"""

from __future__ import annotations

_CLOCK = "set the clock of this machine: signatures and tokens are good for minutes"
_WRONG = "check aws_secret_access_key: it is not the one of this access key"
_UNKNOWN = "check aws_access_key_id; one that begins with ASIA needs its aws_session_token; AWS in China has its own"
_ENDED = "the session is over: give new keys with their aws_session_token, or aws_role_arn, which renews itself"
_TRUST = "let the trust policy of aws_role_arn name the user of these keys, with aws_external_id where it asks for one"
_ALLOW = "allow the action in the policy of this user or role, and in that of the bucket or key which it names"
_LEND = "grant roles/iam.serviceAccountTokenCreator on the impersonated account"
_REGION = "check the region of the account: the resource is in another one"
_PROVIDER = "check that the role trusts the identity provider of the token file, with this audience"

# Code ("" for any), a part of the words in lower case ("" for any), remedy. The first that fits counts.
_TABLE: tuple[tuple[str, str, str], ...] = (
    ("", "signature expired", _CLOCK),
    ("", "signature not yet current", _CLOCK),
    ("", "should be scoped to", _REGION),
    ("", "signature we calculated does not match", _WRONG),
    ("SignatureDoesNotMatch", "", _WRONG),
    ("InvalidSignatureException", "", _WRONG),
    ("RequestTimeTooSkewed", "", _CLOCK),
    ("RequestExpired", "", _CLOCK),
    ("ExpiredToken", "", _ENDED),
    ("ExpiredTokenException", "", _ENDED),
    ("TokenRefreshRequired", "", _ENDED),
    ("InvalidToken", "", _ENDED),
    ("UnrecognizedClientException", "", _UNKNOWN),
    ("InvalidClientTokenId", "", _UNKNOWN),
    ("InvalidAccessKeyId", "", _UNKNOWN),
    ("AccessDenied", "sts:assumerolewithwebidentity", _PROVIDER),
    ("AccessDenied", "sts:assumerole", _TRUST),
    ("AccessDenied", "", _ALLOW),
    ("AccessDeniedException", "", _ALLOW),
    ("InvalidIdentityToken", "", _PROVIDER),
    ("IDPRejectedClaim", "", _PROVIDER),
    ("RegionDisabledException", "", "enable STS for this region in the account, or set aws_sts_endpoint_url"),
    ("AuthorizationHeaderMalformed", "", _REGION),
    ("PermanentRedirect", "", _REGION),
    ("IllegalLocationConstraintException", "", _REGION),
    ("NoSuchBucket", "", "create the bucket, or check its name and region"),
    ("invalid_grant", "short-lived token", _CLOCK),
    ("invalid_grant", "invalid jwt signature", "check the private key: it is not, or no longer, one of this account"),
    ("invalid_grant", "account not found", "check client_email: there is no such service account, or it is disabled"),
    ("invalid_grant", "expired or revoked", "log in again: gcloud auth application-default login"),
    ("invalid_target", "", "check the audience of the external account: pool and provider must exist and be enabled"),
    ("invalid_client", "aadsts7000222", "the client secret has expired: make a new one"),
    ("unauthorized_client", "", "enable the account for this scope"),
    (
        "IAM_PERMISSION_DENIED",
        "getaccesstoken",
        "grant roles/iam.serviceAccountTokenCreator on the impersonated account",
    ),
    ("PERMISSION_DENIED", "getaccesstoken", "grant roles/iam.serviceAccountTokenCreator on the impersonated account"),
    ("SERVICE_DISABLED", "", "enable the API in the project of the account"),
    ("", "security token included in the request is invalid", _UNKNOWN),
    ("", "security token included in the request is expired", _ENDED),
    ("UNAUTHENTICATED", "", "check what proves the account, and the clock of this machine"),
)


def remedy(code: str, words: str) -> str:
    """Return what an operator can do about a refusal, "" for one that is not about what proves the account."""
    said = words.lower()
    return next((text for named, part, text in _TABLE if named in {code, ""} and part in said), "")
