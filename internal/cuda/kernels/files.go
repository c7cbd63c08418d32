//go:build !nocuda

package kernels

import "embed"

//go:embed RESOURCES.md
var files embed.FS
