"""The folder of an index: manifest, sealed records and photographs, a reader and a writer."""
