package model

// arena is one float32 arena of the parameters.
type arena struct{ data []float32 }

func newArena(elements int) (*arena, error) { return &arena{data: make([]float32, elements)}, nil }

func (a *arena) all() []float32 {
	if a == nil {
		return nil
	}
	return a.data
}

func (a *arena) free() error {
	a.data = nil
	return nil
}
