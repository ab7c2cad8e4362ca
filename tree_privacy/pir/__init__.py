"""Private information retrieval: fetch a row of a table without saying which."""
