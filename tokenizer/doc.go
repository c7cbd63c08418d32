// Package tokenizer turns log text into token ids and back: byte-level BPE that is trained here, reads and writes HuggingFace's
// tokenizer.json, and gives the ids that HuggingFace's tokenizers 0.23.3 gives.
//
// Begin with Load (or Train), then NewEncoder, one per goroutine:
//
//	tok, err := tokenizer.Load("tokenizer.json")
//	enc := tok.NewEncoder()
//	ids := enc.Append(nil, []byte("sshd[4867]: Accepted publickey for root"))
//	text := tok.AppendDecode(nil, ids) // the same bytes again, whatever they were
//
// Text is cut into pieces by byte classes (see Scanner), never by Unicode tables, so every byte string has one encoding and comes
// back unchanged, valid UTF-8 or not. Each piece is then merged by rank. Ids: 0-4 are the special tokens [PAD] [CLS] [SEP] [UNK]
// [MASK], 5-260 the bytes in HuggingFace's order, from 261 the merges by rank.
//
// A special string inside text is plain text to Append, because logs are written by strangers; AppendSpecial alone parses it.
//
// The package does not frame ([CLS] … [SEP]), cut, pad or batch: data/batch and model do. It imports nothing but the standard
// library and small internal packages. Tokenizers of other kinds (WordPiece, Unigram) are refused with ErrUnsupported;
// tokenizer/foreign adapts a library that reads them.
package tokenizer
