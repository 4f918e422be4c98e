"""The verbs: prepare, train, test, predict. The only room that knows the others."""
