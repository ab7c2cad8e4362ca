"The cloud's side: a service that answers requests from an index it cannot read, and its limits."
