"""Cryptography without networks or files of an index: randomness, keys, sealing, secret matrices, polynomial rings."""
