"The client's side: an owner who writes indexes, users who search them, what a key remembers, and how bytes travel."
