package cuda

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// systemFolders are where installers put libraries without telling the dynamic linker: the toolkit, older containers
// and Kubernetes, WSL, NixOS, Colab.
func systemFolders() []string {
	if runtime.GOOS != "windows" {
		return []string{"/usr/local/cuda/lib64", "/usr/local/nvidia/lib64", "/usr/lib/wsl/lib", "/run/opengl-driver/lib", "/usr/lib64-nvidia"}
	}
	if toolkit := os.Getenv("CUDA_PATH"); toolkit != "" {
		return []string{filepath.Join(toolkit, "bin"), filepath.Join(toolkit, "bin", "x64")}
	}
	return nil
}

// pathVariable names the environment variable that holds folders of libraries.
func pathVariable() string {
	if runtime.GOOS == "windows" {
		return "PATH"
	}
	return "LD_LIBRARY_PATH"
}

// wheelFolders returns where the wheels of NVIDIA keep their libraries, below a folder of Python packages.
func wheelFolders(site string) []string {
	below := []string{"nvidia/*/lib"}
	if runtime.GOOS == "windows" {
		below = []string{"nvidia/*/bin", "nvidia/*/bin/x86_64"}
	}
	return globs(site, below)
}

// pythonSites returns the folders of packages of VIRTUAL_ENV and of the python3 on PATH: beside the name as it is found
// (the python3 of a virtual environment is a link out of it), beside what it links to, and below pyenv, whose python3
// is a script.
func pythonSites() []string {
	var prefixes []string
	if env := os.Getenv("VIRTUAL_ENV"); env != "" {
		prefixes = append(prefixes, env)
	}
	for _, name := range []string{"python3", "python"} {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		prefixes = append(prefixes, prefixOf(path))
		if real, err := filepath.EvalSymlinks(path); err == nil {
			prefixes = append(prefixes, prefixOf(real))
		}
		if filepath.Base(filepath.Dir(path)) == "shims" {
			prefixes = append(prefixes, globs(filepath.Dir(filepath.Dir(path)), []string{"versions/*"})...)
		}
	}
	if slices.Contains(prefixes, "/usr") {
		prefixes = append(prefixes, "/usr/local")
	}
	if home, err := os.UserHomeDir(); err == nil {
		prefixes = append(prefixes, filepath.Join(home, ".local"))
	}
	var sites []string
	seen := map[string]bool{} // lib64 is a link to lib here and there
	for _, prefix := range prefixes {
		for _, dir := range globs(prefix, []string{"lib/python3*/site-packages", "lib64/python3*/site-packages", "lib/python3*/dist-packages", "Lib/site-packages"}) {
			real, err := filepath.EvalSymlinks(dir)
			if err == nil && !seen[real] {
				seen[real] = true
				sites = append(sites, dir)
			}
		}
	}
	return sites
}

// prefixOf returns the folder that an interpreter is installed below: the parent of bin, on windows its own folder.
func prefixOf(python string) string {
	dir := filepath.Dir(python)
	if base := filepath.Base(dir); base == "bin" || base == "Scripts" || base == "shims" {
		return filepath.Dir(dir)
	}
	return dir
}

// globs returns what is there below root by any of the patterns.
func globs(root string, patterns []string) []string {
	var found []string
	for _, pattern := range patterns {
		list, err := filepath.Glob(filepath.Join(literal(root), filepath.FromSlash(pattern)))
		if err != nil {
			panic("internal error: " + err.Error()) // the patterns are ours
		}
		found = append(found, list...)
	}
	return found
}

// literal quotes what a pattern of filepath.Glob would read as more than itself.
func literal(path string) string {
	if runtime.GOOS == "windows" {
		return path // a backslash parts folders there and quotes nothing
	}
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(path)
}
