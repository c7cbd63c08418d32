//go:build !nocuda

package kernels

import "embed"

//go:embed *.ptx
var files embed.FS
