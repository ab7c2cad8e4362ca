"Photographs, networks and codes: from files to features to bits."
