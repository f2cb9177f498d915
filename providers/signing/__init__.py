"""What accounts prove themselves with where a key in a header is not enough, for the lanes of all clouds.

signer   what an `Origin` asks for headers before each call
tokens   bearer tokens: kept, renewed before they end, fetched by one call at a time
entra    Microsoft Entra: client secret, federated token file, managed identity
google   Google: service accounts
aws      AWS: Signature Version 4
"""
