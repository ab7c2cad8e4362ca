"Experiments: measures, protocols, comparisons of trees, results on photographs, costs and benchmarks."
