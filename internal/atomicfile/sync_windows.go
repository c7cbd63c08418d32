package atomicfile

// canRenameLocked: Windows neither renames nor removes a folder while a file in it is open, so the lock is given back
// just before; in the moment between, another writer could take the folder for a leftover.
const canRenameLocked = false

// syncDir does nothing: Windows has no fsync of folders, NTFS journals names.
func syncDir(string) error { return nil }
