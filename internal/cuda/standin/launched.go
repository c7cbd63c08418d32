package standin

// Launched returns and forgets the names of the kernels that were launched since the last call, at most a hundred. No
// other goroutine may launch meanwhile.
func (l *Library) Launched() []string { return lines(l.ask("standin_launched")) }
