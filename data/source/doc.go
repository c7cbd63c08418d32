// Package source finds log files and reads records from them.
//
// List finds the files below files and folders and names their sources; Open and NewReader read one file, packed with
// gzip or zstd or not, as plain lines, JSON lines or CSV. What a file is, is found out by its content, never by its name.
//
// The text of a record is the original bytes of its line without the line end. A row of a CSV file with a header becomes
// one JSON object: header order, no spaces, every value a string. Options.Render changes that. A byte order mark is
// removed and UTF-16 (with its mark) becomes UTF-8; one CR before LF belongs to the line end; NUL bytes around a record
// (padding of a crashed logger) are removed; everything else is kept, invalid UTF-8 included. Lines of white space alone
// are no records. All of it is counted.
//
// Memory is bounded whatever a file holds: a record over Options.MaxRecord is cut into several. Errors of a file are a
// *ReadError with the place up to which records came out.
package source
