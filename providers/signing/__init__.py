"""What accounts prove themselves with where a key in a header is not enough, for the lanes of all clouds.

signer   what an `Origin` asks for headers before each call
tokens   bearer tokens: kept, renewed before they end, fetched by one call at a time
entra    Microsoft Entra: client secret and certificate, federated token file, managed identity
google   Google: service accounts; google_defaults   whatever else Google's tools find; google_aws   workloads of AWS
aws      AWS: Signature Version 4; aws_keys   keys that are given out for a while; aws_files   profiles
assertions   what a private key signs for a token
remedies what an operator can do about a refusal, by its code
"""
