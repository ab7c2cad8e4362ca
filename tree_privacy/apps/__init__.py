"Explorers to look at, in a notebook or a page of their own."
