"Trees of binary codes: structure, building, growing, walking, drawing, and search in the clear."
