//go:build !amd64 || noasm

package blocked_test

var probes map[string]probe
