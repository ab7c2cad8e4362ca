"""Locks: how codes are hidden and searched, one module a lock with its client half and its cloud half."""
