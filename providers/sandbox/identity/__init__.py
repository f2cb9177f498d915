"""Services that give out what proves an account: STS and metadata services of AWS, and those of Google.

A dialect that takes what they give out has their routes among its own, and asks a desk whose a key or a token is.
"""
