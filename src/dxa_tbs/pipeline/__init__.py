"""The verbs: prepare, train, test, predict. The only room that imports all others."""
