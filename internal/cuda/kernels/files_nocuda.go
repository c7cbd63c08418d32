//go:build nocuda

package kernels

import "embed"

// files is empty: a binary without GPU support carries no kernels.
var files embed.FS
