//go:build !amd64 || noasm

package bench

func loops(string) (fma, half loop) { return loop{}, loop{} }

func readStream(b []float32) { readPlain(b) }
