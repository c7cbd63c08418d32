//go:build !amd64

package device

// vectorised returns the families for this architecture, best first. The names of other processors' families are known
// everywhere, so that asking for one says why it is not there.
func vectorised() []family {
	amd64 := []feature{{name: "an amd64 instruction set"}}
	return []family{
		{name: "amx", needs: amd64},
		{name: "avx512", needs: amd64},
		{name: "avx2", needs: amd64},
	}
}
