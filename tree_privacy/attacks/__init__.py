"Attacks of a curious cloud: what it observes, what it can compute from that, and how much it recovers."
