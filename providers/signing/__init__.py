"""What accounts prove themselves with where a key in a header is not enough, for the lanes of all clouds.

signer   what an `Origin` asks for headers before each call
tokens   bearer tokens: kept, renewed before they end, fetched by one call at a time
entra    Microsoft Entra: client secret, federated token file, managed identity
google   Google: service accounts; google_defaults   whatever else Google's tools find
aws      AWS: Signature Version 4; aws_keys   keys that are given out for a while
remedies what an operator can do about a refusal, by its code
"""
