"The face of the package: an album that is made, searched, changed and shared."
