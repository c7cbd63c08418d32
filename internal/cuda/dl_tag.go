//go:build nocuda

package cuda

// absent says why no library can be opened in this build; empty where one can.
const absent = "this binary was built without CUDA (build tag nocuda); use the one built without the tag"
